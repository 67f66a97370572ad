"""Who may send which requests: Host, Origin, token, content type and route together."""

import itertools
import json
import stat

import anyio
import httpx
import pytest

from gatewayx_nb import EnginePool
from gatewayx_nb.errors import ConfigError
from gatewayx_nb.server import build
from gatewayx_nb.server.token import stored_token

TOKEN = "gx-0123456789abcdef0123456789"
MESSAGES = [{"role": "user", "content": "Hi"}]
BODIES = {
    "/v1/chat/completions": {"model": "mock", "messages": MESSAGES},
    "/v1/responses": {"model": "mock", "input": "Hi"},
    "/v1/messages": {"model": "mock", "messages": MESSAGES, "max_tokens": 9},
}

HOSTS = {"127.0.0.1:3001": True, "localhost": True, "evil.example": False}
ORIGINS = {None: True, "http://localhost:8888": True, "https://evil.example": False, "null": False}
TOKENS = {
    "bearer": ({"authorization": f"Bearer {TOKEN}"}, True),
    "x-api-key": ({"x-api-key": TOKEN}, True),
    "both": ({"authorization": f"bearer {TOKEN}", "x-api-key": TOKEN}, True),
    "none": ({}, False),
    "prefix": ({"authorization": f"Bearer {TOKEN[:-1]}"}, False),
    "longer": ({"x-api-key": TOKEN + "0"}, False),
    "basic": ({"authorization": f"Basic {TOKEN}"}, False),
    "one of two": ({"authorization": f"Bearer {TOKEN}", "x-api-key": "other"}, False),
}
ROUTES = {
    ("GET", "/health"): False,
    ("GET", "/engines/status"): False,
    ("GET", "/v1/models"): True,
    ("GET", "/v1/models/mock"): True,
    ("POST", "/v1/chat/completions"): True,
    ("POST", "/v1/responses"): True,
    ("POST", "/v1/messages"): True,
}
TYPES = {
    "application/json": 200,
    "application/json; charset=utf-8": 200,
    "text/plain": 415,
    "": 415,
}


@pytest.fixture(scope="module")
def app():
    """Yield the application with a pool without keys."""
    with EnginePool(env={}) as pool:
        yield build(lambda: pool, lambda: TOKEN)


def request(app, method, path, headers, content=None):
    """Send a request to the application in this process and return the response."""

    async def send():
        transport = httpx.ASGITransport(app, client=("127.0.0.1", 9))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.request(method, path, headers=headers, content=content)

    return anyio.run(send)


@pytest.mark.parametrize(("host", "origin"), list(itertools.product(HOSTS, ORIGINS)))
@pytest.mark.parametrize("token", TOKENS)
@pytest.mark.parametrize("route", ROUTES)
def test_only_requests_from_here_with_the_token_pass(app, route, token, host, origin):
    """Of all combinations of Host, Origin, token and route, only the allowed ones pass."""
    headers, is_token_right = TOKENS[token]
    headers = {**headers, "host": host} | ({"origin": origin} if origin else {})
    content = json.dumps(BODIES[route[1]]) if route[0] == "POST" else None
    response = request(app, *route, {**headers, "content-type": "application/json"}, content)

    if not HOSTS[host]:
        expected = 421
    elif not ORIGINS[origin]:
        expected = 403
    else:
        expected = 200 if is_token_right or not ROUTES[route] else 401
    assert response.status_code == expected
    assert TOKEN not in response.text
    assert not [name for name in response.headers if name.startswith("access-control")]


@pytest.mark.parametrize("content_type", TYPES, ids=repr)
@pytest.mark.parametrize("path", BODIES)
def test_a_body_must_be_json(app, path, content_type):
    """A type that a page can send without a CORS preflight is refused, even with the token."""
    headers = {"x-api-key": TOKEN, "content-type": content_type}
    response = request(app, "POST", path, headers, json.dumps(BODIES[path]))
    assert response.status_code == TYPES[content_type]


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v2/anything",
        "/health/",
        "/health/x",
        "//health",
        "/HEALTH",
        "/engines/status/",
        "/engines/status%2f..",
        "/security/statuses",
    ],
)
def test_every_other_path_needs_the_token(app, path):
    """Without the token, unknown and known paths return the same 401."""
    assert request(app, "GET", path, {}).status_code == 401
    assert request(app, "GET", path, {"x-api-key": TOKEN}).status_code == 404


def test_a_refusal_says_what_to_do_to_every_sdk(app):
    """The refusal has the fields that both SDKs read, and tells the SDKs not to retry."""
    response = request(app, "GET", "/v1/models", {})
    assert response.headers["x-should-retry"] == "false"
    error = response.json()["error"]
    assert (response.json()["type"], error["type"]) == ("error", "authentication_error")
    assert "Authorization: Bearer TOKEN" in error["hint"]


def test_the_token_is_made_once(tmp_path):
    """The token is kept in a file that only its owner can read."""
    env = {"XDG_CONFIG_HOME": str(tmp_path)}
    token, is_new = stored_token(env)
    again, is_new_again = stored_token(env)
    assert (is_new, is_new_again) == (True, False)
    assert str(again) == str(token)
    assert len(token) > 40
    (path,) = tmp_path.rglob("server_token")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("content", ["", "short", "a" * 30 + " b", "\x00" * 40])
def test_a_damaged_token_file_is_reported(tmp_path, content):
    """Without a token in the file, the error says how to get a new one."""
    env = {"XDG_CONFIG_HOME": str(tmp_path)}
    stored_token(env)
    (path,) = tmp_path.rglob("server_token")
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"does not contain a valid token.*Remove the file"):
        stored_token(env)


def test_a_token_file_that_is_a_link_is_refused(tmp_path):
    """A link could show the token to others, or let them choose it."""
    env = {"XDG_CONFIG_HOME": str(tmp_path)}
    stored_token(env)
    (path,) = tmp_path.rglob("server_token")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("gx-" + "x" * 40)
    path.unlink()
    path.symlink_to(elsewhere)
    with pytest.raises(ConfigError):
        stored_token(env)
