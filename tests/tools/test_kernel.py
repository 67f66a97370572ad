"""Tools in a real kernel: Stop, questions to the user, and where functions run."""

import time
from dataclasses import dataclass

import pytest

from gatewayx_nb.testing import Server, Stall
from tests.conftest import Project
from tests.kernels import Kernel
from tests.tools.providers import Chat
from tests.tools.strict_server import Turn

pytestmark = pytest.mark.kernel

STOP_SECONDS = 15.0
"""Maximum seconds from Stop to the end of a cell, generous because the machine may be busy."""

SETUP = '''
%load_ext gatewayx_nb
import sqlite3, threading, time
import gatewayx_nb as gx

database = sqlite3.connect(":memory:")

def wait(seconds: float) -> str:
    """Wait."""
    print("waiting")
    time.sleep(seconds)
    return "waited"

def query() -> int:
    """Query the database, which belongs to the main thread."""
    return database.execute("select 7").fetchone()[0]

@gx.tool(ask=True)
def send(to: str) -> str:
    """Send a mail."""
    return "sent"
'''


class Stalling(Chat):
    """A provider whose first call of a tool is followed by silence."""

    def __call__(self, request):
        """Return the script for a request."""
        if len(self.bodies) != 1:
            return super().__call__(request)
        self.bodies.append(None)
        self.issued.clear()  # the next request begins another conversation
        return [Stall()]


@pytest.fixture(scope="module")
def provider():
    """Yield a server that calls the function `query` and then stalls, once."""
    call = Turn(calls=(("query", {}),))
    with Server(Stalling(call, call, Turn("It is 7."))) as server:
        yield server


@pytest.fixture(scope="module")
def kernel(tmp_path_factory, provider):
    """Yield a kernel with the extension loaded and three functions defined."""
    folder = tmp_path_factory.mktemp("tools")
    project = Project(folder / "project")
    url = f"GATEWAYX_GROK_BASE_URL={provider.url}"
    project.set_keys(f"GATEWAYX_GROK_API_KEY=made-up-key\n{url}\n")
    home = folder / "home"
    home.mkdir()
    with Kernel(folder / "project", home) as kernel:
        assert not kernel.run(SETUP).error
        yield kernel


@dataclass(frozen=True)
class Syntax:
    """A way to make a call with tools; PROMPT and TOOLS stand for its parts."""

    name: str
    code: str

    def with_call(self, call, tool):
        """Return the code for the call of a tool."""
        return self.code.replace("PROMPT", f"call {call}").replace("TOOL", tool)


SYNTAXES = [
    Syntax("cell", "%%gatewayx mock --tools TOOL\nPROMPT"),
    Syntax("columns", "%%gatewayx mock mock --tools TOOL\nPROMPT"),
    Syntax("ask", "reply = gx.ask('PROMPT', 'mock', tools=TOOL)"),
    Syntax("aask", "reply = await gx.aask('PROMPT', 'mock', tools=TOOL)"),
    Syntax("acompare", "await gx.acompare('PROMPT', ['mock'], tools=TOOL)"),
    Syntax("stream", "for chunk in gx.stream('PROMPT', 'mock', tools=TOOL): pass"),
]


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
def test_stop_ends_a_function_at_once(kernel, syntax, report_metric):
    """A function that sleeps is interrupted, and the next cell works."""
    cell = kernel.start(syntax.with_call('wait {"seconds": 60}', "wait"))
    kernel.read_until(lambda outcome: "waiting" in outcome.text, cell)

    interrupted_at = kernel.interrupt()
    outcome = kernel.finish(cell, timeout=30)
    seconds = time.monotonic() - interrupted_at

    assert outcome.error == "KeyboardInterrupt"
    assert len(outcome.traceback) <= 1  # a longer one takes most of a second to format
    assert seconds < STOP_SECONDS
    report_metric(f"Stop in a tool, {syntax.name}", seconds)
    after = kernel.run("%%gatewayx mock --tools query -o r\ncall query")
    assert "query() → 7" in after.last_display["text/plain"]


def test_stop_between_turns_keeps_the_steps_and_no_socket(kernel, provider, report_metric):
    """Stop during the second request keeps the steps, and the next call works."""
    cell = kernel.start("%%gatewayx grok:m --tools query\nHow many?")
    kernel.wait(lambda: len(provider.requests) == 2)

    interrupted_at = kernel.interrupt()
    outcome = kernel.finish(cell, timeout=30)
    seconds = time.monotonic() - interrupted_at

    assert outcome.error == "KeyboardInterrupt"
    assert seconds < STOP_SECONDS
    report_metric("Stop between two turns", seconds)
    assert provider.requests[1].closed.wait(STOP_SECONDS)
    assert "query() → 7" in outcome.last_display["text/plain"]
    shown = kernel.run("print(_reply.interrupted, [step.result for step in _reply.steps])")
    assert shown.text == "True [7]\n"
    after = kernel.run("%%gatewayx grok:m --tools query\nHow many?")
    assert "It is 7." in after.last_display["text/plain"]


def test_a_stopped_cell_keeps_its_steps(kernel):
    """`_reply` has the steps so far."""
    cell = kernel.start('%%gatewayx mock --tools wait\ncall wait {"seconds": 60}')
    kernel.read_until(lambda outcome: "waiting" in outcome.text, cell)
    kernel.interrupt()
    outcome = kernel.finish(cell, timeout=30)

    assert "wait(seconds=60) ✗ stopped" in outcome.last_display["text/plain"]
    assert kernel.run("print(_reply.interrupted, len(_reply.steps))").text == "True 1\n"


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
def test_a_function_uses_what_belongs_to_the_main_thread(kernel, syntax):
    """An SQLite connection works only in the thread that opened it."""
    outcome = kernel.run(syntax.with_call("query", "query"))

    assert not outcome.error
    if syntax.name in ("ask", "aask"):
        assert kernel.run("print(reply.steps[0].result)").text == "7\n"


@pytest.mark.parametrize(
    ("answer", "line"),
    [("y", "send(to='me') → sent"), ("n", "send(to='me') ✗ the user refused the call")],
)
def test_the_front_end_is_asked(kernel, answer, line):
    """The question has the call; the cell goes on after the answer."""
    code = '%%gatewayx mock --tools send\ncall send {"to": "me"}'
    outcome = kernel.run(code, answers=(answer,))

    assert line in outcome.last_display["text/plain"]
    assert kernel.input_request["prompt"].startswith("mock:mock calls send(to='me'). Allow it?")


def test_a_front_end_without_input_refuses(kernel):
    """A notebook that is executed without a person goes on."""
    outcome = kernel.run('%%gatewayx mock --tools send\ncall send {"to": "me"}')

    assert "nobody can be asked" in outcome.last_display["text/plain"]


def test_a_call_is_shown_while_it_runs(kernel):
    """The line of a running function is displayed before its result."""
    cell = kernel.start('%%gatewayx mock --tools wait\ncall wait {"seconds": 1}')
    outcome = kernel.finish(cell)

    pages = [display["data"]["text/html"] for display in outcome.displays]
    assert any("wait(seconds=1) …" in page for page in pages)
    assert "wait(seconds=1.0) → waited" in pages[-1]
