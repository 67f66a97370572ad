"""A fixture that connects a pool with a strict server."""

import contextlib

import pytest

from gatewayx_nb.testing import Server
from tests.conftest import Project
from tests.llm_engines.wire import KEY, Wire
from tests.tools.samples import TOOLS


class Connection:
    """A strict server, and the pool that calls it."""

    def __init__(self, wire, server):
        self.wire, self.server = wire, server

    def ask(self, **options):
        """Call the model, and check that the server refused nothing."""
        is_streamed = options.pop("is_streamed", False)
        options = {"tools": TOOLS, **options}
        model = f"{self.server.engine}:m"
        try:
            if not is_streamed:
                return self.wire.pool.ask("Hi", model, **options)
            stream = self.wire.pool.stream("Hi", model, **options)
            list(stream)
            return stream.reply
        finally:
            # The pool may send a refused request again in another form.
            assert self.server.faults == []

    def results(self, number=-1):
        """Return the text of each result in the last turn of a request, as the model sees it."""
        return self.server.results(self.server.bodies[number])


@pytest.fixture
def connect(tmp_path):
    """Return a function that starts a server and connects a pool with it."""
    with contextlib.ExitStack() as stack:

        def connect(kind, *turns, is_cut=False):
            server = kind(*turns, is_cut=is_cut)
            folder = tmp_path / str(len(list(tmp_path.iterdir())))
            wire = stack.enter_context(Wire(folder, kind.engine, kind.path, kind.settings))
            wire.respond_with(server)
            return Connection(wire, server)

        yield connect


@pytest.fixture
def connect_all(tmp_path):
    """Return a function that starts several servers and returns a pool that reaches all of them."""
    with contextlib.ExitStack() as stack:

        def connect_all(*servers):
            project = Project(tmp_path / "project")
            keys, settings = [], ["limits.retries = 0"]
            for server in servers:
                url = stack.enter_context(Server(server)).url
                variable = f"GATEWAYX_{server.engine.upper()}"
                keys += [f"{variable}_API_KEY={KEY}", f"{variable}_BASE_URL={url}{server.path}"]
                settings.append(server.settings)
            project.set_keys("\n".join(keys))
            project.settings("\n".join(settings))
            return stack.enter_context(project.pool())

        yield connect_all
