"""A canary key, sent to servers with various faults, appears in no error, log or output."""

import gc
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
from tests.canary import KEY, key_encodings, leaks
from tests.conftest import Project
from tests.kernels import Kernel

ENGINES = ["openai", "anthropic", "google", "cohere", "grok", "mistral"]
QUOTED_KEY = "'" + KEY.replace("\\", "\\\\") + "'"
ERROR_BODY = json.dumps({"error": {"message": KEY}}).encode()


def _error_reply(text, status):
    body = {"error": {"message": text, "code": text, "type": text}, "message": text}
    return [Send(reply(json.dumps(body).encode(), status))]


def _event_stream(event):
    return [Send(stream_head() + chunk(event + b"\n\n")), CloseConnection()]


FAULTS = {
    "401 with the key": _error_reply(f"bad key {KEY}", 401),
    "401 with the ends of the key": _error_reply(f"bad key {KEY[:12]}***{KEY[-12:]}", 401),
    "401 with the key in a URL": _error_reply(f"https://x/?key={quote(KEY, safe='')}", 401),
    "400 with the key": _error_reply(KEY, 400),
    "404 with the key": _error_reply(f"no model {KEY}", 404),
    "429 with the key": _error_reply(KEY, 429),
    "500 with the key": _error_reply(KEY, 500),
    "200 with an error": _error_reply(KEY, 200),
    "200 with an HTML page": [Send(html())],
    "200 with only the key": [Send(reply(KEY.encode()))],
    "invalid HTTP": [Send(f"{KEY}\r\n\r\n".encode()), CloseConnection()],
    "request id": [Send(reply(b"{}", 500, x_request_id=KEY))],
    "redirect": [Send(redirect(f"http://127.0.0.1:9/{quote(KEY)}"))],
    "error in a stream": _event_stream(b"event: error\ndata: " + ERROR_BODY),
    "stream of only the key": _event_stream(f"data: {KEY}".encode()),
    "connection reset": [Reset()],
}


def _verbose_traceback(error):
    formatter = VerboseTB(theme_name="nocolor", include_vars=True)
    return "".join(formatter.structured_traceback(type(error), error, error.__traceback__))


def _traceback_with_locals(error):
    """Return a traceback with the locals of every frame, as rich and pytest show it."""
    return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


RENDERINGS = {
    "text": lambda error: f"{error} {error!r} {error.args}",
    "fields": lambda error: repr(vars(error)),
    "traceback": lambda error: "".join(traceback.format_exception(error)),
    "notebook": lambda error: "".join(error._render_traceback_()),
    "verbose traceback": _verbose_traceback,
    "locals": _traceback_with_locals,
    "pickle": lambda error: pickle.dumps([str(error), error.args, error.hint]),
}


@pytest.fixture(scope="module")
def provider():
    """Yield a server that answers with the fault last passed to `set_fault`."""
    faults = []

    def answer(_):
        return FAULTS[faults[-1]]

    with Server(answer) as server:
        server.set_fault = faults.append
        yield server


@pytest.fixture(scope="module")
def pool(provider, tmp_path_factory):
    """Yield a pool whose engines all have the canary key and call the provider."""
    project = Project(tmp_path_factory.mktemp("canary") / "project")
    names = [f"GATEWAYX_{name.upper()}" for name in ENGINES]
    project.set_keys(
        "".join(f"{name}_API_KEY={QUOTED_KEY}\n{name}_BASE_URL={provider.url}\n" for name in names)
    )
    project.settings("limits.retries = 0")
    with project.pool() as pool:
        yield pool


@pytest.fixture
def captured_output(caplog, capfd):
    """Yield a function that returns the debug log, warnings and output of the test so far."""
    caplog.set_level(logging.DEBUG)
    with warnings.catch_warnings(record=True) as caught_warnings:
        warnings.simplefilter("always")
        yield lambda: "".join(
            [
                caplog.text,
                *capfd.readouterr(),
                *(str(warning.message) for warning in caught_warnings),
            ]
        )


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("engine", ENGINES)
def test_no_error_contains_the_key(pool, provider, engine, fault, captured_output):
    """The error of a fault contains no key, and neither do logs, warnings and output."""
    provider.set_fault(fault)
    errors = []
    for call in (pool.ask, lambda *a, **k: list(pool.stream(*a, **k))):
        try:
            call("hi", model=f"{engine}:m")
        except GatewayError as error:
            errors.append(error)

    assert errors
    assert any(value.endswith(KEY) for value in provider.requests[-1].headers.values())
    leaks_by_rendering = {
        rendering: encodings
        for error in errors
        for rendering, render in RENDERINGS.items()
        if (encodings := leaks(render(error)))
    }
    assert not leaks_by_rendering
    assert not leaks(captured_output())


def test_a_pool_does_not_reveal_a_key(pool):
    """The tables, the attributes and the pickle of a pool contain no key."""
    config = pool.config
    objects = [pool, pool.status(), pool.models(), config.keys.problems, config.key("grok")]
    objects += [vars(config), vars(config.keys), json.dumps(pool.security_status().to_json())]

    assert not leaks(repr(objects))
    assert not leaks(pickle.dumps(pool))


def _pickled(value):
    try:
        return pickle.dumps(value)
    except Exception:  # noqa: BLE001 - what cannot be pickled reveals nothing
        return b""


def test_no_object_of_the_package_pickles_a_key(pool, provider):
    """Whatever object of this pool a user or a library finds and pickles, it contains no key."""
    provider.set_fault("401 with the key")
    with pytest.raises(GatewayError):
        pool.ask("hi", "grok")
    objects = [
        each for each in gc.get_objects() if str(type(each).__module__).startswith("gatewayx_nb")
    ]

    revealing = {type(each).__qualname__ for each in objects if leaks(_pickled(each))}
    assert revealing == set()
    assert {"Config", "KeyLookup", "TrustStore"} <= {type(each).__qualname__ for each in objects}


@pytest.mark.kernel
def test_a_kernel_neither_sends_nor_stores_a_key(pool, provider, tmp_path):
    """No message of a kernel to its front end and no file in the home folder contains the key."""
    (home := tmp_path / "home").mkdir()
    provider.set_fault("401 with the key")
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
        error_names = [kernel.run(cell).error for cell in cells]
        assert not leaks(json.dumps(kernel.messages, default=repr).replace("\\\\", "\\"))
        assert not leaks(json.dumps(kernel.messages, default=repr))
    assert error_names.count("AuthenticationError") >= 5
    paths = [*home.rglob("*"), *home.with_name(f"{home.name}-jupyter").rglob("*")]
    assert any(path.name == "history.sqlite" for path in paths)
    assert not [path for path in paths if path.is_file() and leaks(path.read_bytes())]


def test_a_leaked_key_is_detected():
    """The search finds each encoding of the key in text and bytes, and `redact` masks it."""
    for encoding in key_encodings(KEY):
        assert encoding in leaks(f"before {encoding} after")
        assert encoding in leaks(f"before {encoding} after".encode())
        assert not leaks(redact(f"before {encoding} after", [KEY]))
    assert not leaks("nothing")
