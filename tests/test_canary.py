"""A canary key through every fault and every surface: it never appears, in any form."""

import json
import logging
import pickle
import traceback
import warnings
from urllib.parse import quote

import pytest
from IPython.core.ultratb import VerboseTB

from gatewayx_nb.errors import GatewayError
from gatewayx_nb.secure_config import redact
from gatewayx_nb.testing import (
    CloseConnection,
    Reset,
    Send,
    Server,
    chunk,
    html,
    redirect,
    reply,
    stream_head,
)
from tests.canary import KEY, forms, leaks
from tests.conftest import Project
from tests.kernels import Kernel

ENGINES = ["openai", "anthropic", "google", "cohere", "grok", "mistral"]
QUOTED = "'" + KEY.replace("\\", "\\\\") + "'"
ERROR = json.dumps({"error": {"message": KEY}}).encode()


def _says(text, status):
    body = {"error": {"message": text, "code": text, "type": text}, "message": text}
    return [Send(reply(json.dumps(body).encode(), status))]


def _streams(event):
    return [Send(stream_head() + chunk(event + b"\n\n")), CloseConnection()]


FAULTS = {
    "401 with the key": _says(f"bad key {KEY}", 401),
    "401 with its ends": _says(f"bad key {KEY[:12]}***{KEY[-12:]}", 401),
    "401 with it in a URL": _says(f"https://x/?key={quote(KEY, safe='')}", 401),
    "400": _says(KEY, 400),
    "404": _says(f"no model {KEY}", 404),
    "429": _says(KEY, 429),
    "500": _says(KEY, 500),
    "200 with an error": _says(KEY, 200),
    "200 that is a page": [Send(html())],
    "200 that is the key": [Send(reply(KEY.encode()))],
    "no HTTP at all": [Send(f"{KEY}\r\n\r\n".encode()), CloseConnection()],
    "a request id": [Send(reply(b"{}", 500, x_request_id=KEY))],
    "a redirect": [Send(redirect(f"http://127.0.0.1:9/{quote(KEY)}"))],
    "an error in a stream": _streams(b"event: error\ndata: " + ERROR),
    "a stream that is the key": _streams(f"data: {KEY}".encode()),
    "a reset": [Reset()],
}


def _verbose(error):
    shown = VerboseTB(theme_name="nocolor", include_vars=True)
    return "".join(shown.structured_traceback(type(error), error, error.__traceback__))


def _locals(error):
    """Return the locals of every frame in the exception chain, as rich and pytest show them."""
    return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


SURFACES = {
    "text": lambda error: f"{error} {error!r} {error.args}",
    "fields": lambda error: repr(vars(error)),
    "traceback": lambda error: "".join(traceback.format_exception(error)),
    "notebook": lambda error: "".join(error._render_traceback_()),
    "verbose traceback": _verbose,
    "locals": _locals,
    "pickle": lambda error: pickle.dumps([str(error), error.args, error.hint]),
}


@pytest.fixture(scope="module")
def provider():
    """Yield a server that answers with the fault set last."""
    faults = []

    def answer(_):
        return FAULTS[faults[-1]]

    with Server(answer) as server:
        server.fault = faults.append
        yield server


@pytest.fixture(scope="module")
def pool(provider, tmp_path_factory):
    """Yield a pool whose engines all have the canary key and call the provider."""
    project = Project(tmp_path_factory.mktemp("canary") / "project")
    names = [f"GATEWAYX_{name.upper()}" for name in ENGINES]
    project.set_keys(
        "".join(f"{name}_API_KEY={QUOTED}\n{name}_BASE_URL={provider.url}\n" for name in names)
    )
    project.settings("limits.retries = 0")
    with project.pool() as pool:
        yield pool


@pytest.fixture
def besides(caplog, capfd):
    """Yield a function that returns the DEBUG log, the warnings and the output so far."""
    caplog.set_level(logging.DEBUG)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        yield lambda: "".join([caplog.text, *capfd.readouterr(), *(str(w.message) for w in warned)])


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("engine", ENGINES)
def test_no_error_shows_the_key_anywhere(pool, provider, engine, fault, besides):
    """No fault shows the key, whole or streamed, in logs, warnings or output."""
    provider.fault(fault)
    raised = []
    for call in (pool.ask, lambda *a, **k: list(pool.stream(*a, **k))):
        try:
            call("hi", model=f"{engine}:m")
        except GatewayError as error:
            raised.append(error)

    assert raised
    assert any(value.endswith(KEY) for value in provider.requests[-1].headers.values())
    found = {
        surface: shapes
        for error in raised
        for surface, show in SURFACES.items()
        if (shapes := leaks(show(error)))
    }
    assert not found
    assert not leaks(besides())


def test_the_status_of_a_pool_shows_no_key(pool):
    """The tables, attributes and pickle of a pool contain no key."""
    config = pool.config
    shown = [pool, pool.status(), pool.models(), config.keys.problems, config.key("grok")]
    shown += [vars(config), vars(config.keys), json.dumps(pool.security_status().to_json())]

    assert not leaks(repr(shown))
    assert not leaks(pickle.dumps(pool))


@pytest.mark.kernel
def test_a_kernel_neither_sends_nor_stores_a_key(pool, provider, tmp_path):
    """No message to the page and no file in the home contains the key."""
    (home := tmp_path / "home").mkdir()
    provider.fault("401 with the key")
    cells = [
        "%load_ext gatewayx_nb\nimport gatewayx_nb as gx",
        "%xmode Verbose",
        "%%gatewayx grok\nhi",
        "%tb",
        "%gatewayx ask cohere hi",
        "gx.ask('hi', model='mistral')",
        "await gx.aask('hi', model='openai')",
        "list(gx.stream('hi', model='anthropic'))",
        *(f"%gatewayx {line}" for line in ("", "status", "keys", "security", "models grok --live")),
        "gx.pool(), vars(gx.pool()), vars(gx.pool().config), vars(gx.pool().config.keys)",
        "import os, subprocess; subprocess.run(['env'], capture_output=True).stdout",
        "%history -g",
    ]
    with Kernel(pool.config.project.root, home) as kernel:
        failed = [kernel.run(cell).error for cell in cells]
        assert not leaks(json.dumps(kernel.messages, default=repr).replace("\\\\", "\\"))
        assert not leaks(json.dumps(kernel.messages, default=repr))
    assert failed.count("AuthenticationError") >= 5
    kept = [*home.rglob("*"), *home.with_name(f"{home.name}-jupyter").rglob("*")]
    assert any(path.name == "history.sqlite" for path in kept)
    assert not [path for path in kept if path.is_file() and leaks(path.read_bytes())]


def test_a_shown_key_would_be_detected():
    """The search and the masking find each form of the key, alone, within text and in bytes."""
    for shape in forms(KEY):
        assert shape in leaks(f"before {shape} after")
        assert shape in leaks(f"before {shape} after".encode())
        assert not leaks(redact(f"before {shape} after", [KEY]))
    assert not leaks("nothing")
