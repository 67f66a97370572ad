"""Headers in the settings are sent to the engine's own host, and only with permission."""

import pytest

from gatewayx_nb.engine_pool import EnginePool
from gatewayx_nb.errors import ConfigError, ProviderError, TrustError
from gatewayx_nb.testing import CHAT, ScriptedEngine, Send, Server, redirect, reply

KEY = "sk-canary-7Hq2pVxN4mTzK9wB"
HEADERS = 'headers = {"X-Team" = "$TEAM", x-app = "notebooks"}'
SENT = {"x-team": "data", "x-app": "notebooks"}
VECTORS = b'{"data": [{"index": 0, "embedding": [1, 2]}], "usage": {"prompt_tokens": 1}}'


def _answer(request):
    return [Send(reply(VECTORS))] if "embeddings" in request.target else CHAT.answer(request)


@pytest.fixture
def env(tmp_path):
    """Return an environment with a user folder, a team and a key."""
    (tmp_path / "user" / "gatewayx" / "config").mkdir(parents=True)
    return {
        "XDG_CONFIG_HOME": str(tmp_path / "user"),
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "GATEWAYX_OPENAI_API_KEY": KEY,
        "TEAM": "data",
    }


@pytest.fixture
def write_settings(tmp_path, env):
    """Return a function that writes an engine's settings to the user's settings file."""

    def write(text, engine="openai"):
        path = tmp_path / "user" / "gatewayx" / "config" / "gatewayx.toml"
        path.write_text(f"[engines.{engine}]\n{text}\n")

    return write


def _extra_headers(request):
    return {name: request.headers[name] for name in SENT if name in request.headers}


def test_calls_embeddings_and_listings_have_the_headers(env, write_settings):
    """Every request to the engine has these headers in addition to the engine's own."""
    with Server(_answer) as server, EnginePool(env=env) as pool:
        write_settings(f'base_url = "{server.url}/v1"\n{HEADERS}')
        pool.refresh()
        pool.ask("x", "openai:one")
        list(pool.stream("x", "openai:one"))
        pool.models("openai", live=True)
        pool.health("openai")
        pool.embed(["x"], "openai")

    assert len(server.requests) == 5
    for request in server.requests:
        assert _extra_headers(request) == SENT
        assert request.headers["authorization"] == f"Bearer {KEY}"


def test_no_other_engine_gets_the_headers(env, write_settings):
    env |= {"GATEWAYX_GROK_API_KEY": KEY[::-1]}
    with Server(_answer) as server, EnginePool(env=env) as pool:
        env["GATEWAYX_GROK_BASE_URL"] = f"{server.url}/v1"
        write_settings(HEADERS)
        pool.refresh()
        pool.ask("x", "grok:one")

    assert [_extra_headers(request) for request in server.requests] == [{}]


def test_a_redirect_target_does_not_receive_the_headers(env, write_settings):
    """A redirect is an error; the other host gets no request at all."""
    with (
        Server(_answer) as other,
        Server([Send(redirect(f"{other.url}/v1"))]) as server,
        EnginePool(env=env) as pool,
    ):
        write_settings(f'base_url = "{server.url}/v1"\n{HEADERS}')
        pool.refresh()
        with pytest.raises(ProviderError, match="redirect"):
            pool.ask("x", "openai:one")

    assert [_extra_headers(request) for request in server.requests] == [SENT]
    assert other.requests == []


def test_a_changed_variable_is_sent_with_the_next_call(env, write_settings):
    with Server(_answer) as server, EnginePool(env=env) as pool:
        write_settings(f'base_url = "{server.url}/v1"\n{HEADERS}')
        pool.refresh()
        pool.ask("x", "openai:one")
        env["TEAM"] = "research"
        pool.ask("x", "openai:one")
        del env["TEAM"]
        with pytest.raises(ConfigError, match=r"the variable \$TEAM.* is not set"):
            pool.ask("x", "openai:one")

    assert [request.headers["x-team"] for request in server.requests] == ["data", "research"]


@pytest.mark.parametrize("team", [KEY, f"x {KEY}", KEY[5:20]])
def test_a_key_is_not_sent_in_a_header(env, write_settings, team):
    """A variable whose value contains a loaded key is refused, whichever engine the key is for."""
    env |= {"TEAM": team, "GATEWAYX_GROK_API_KEY": KEY[::-1]}
    with Server(_answer) as server, EnginePool(env=env) as pool:
        for engine in ("openai", "grok"):
            write_settings(f'base_url = "{server.url}/v1"\n{HEADERS}', engine)
            pool.refresh()
            with pytest.raises(ConfigError, match="the value of 'x-team' contains a key") as caught:
                pool.ask("x", f"{engine}:one")
            assert team not in caught.value.describe()

    assert server.requests == []


def test_the_engines_own_header_is_not_replaced(env, write_settings):
    env["GATEWAYX_ANTHROPIC_API_KEY"] = KEY
    with Server(_answer) as server, EnginePool(env=env) as pool:
        write_settings(
            f'base_url = "{server.url}/v1"\nheaders = {{Anthropic-Version = "1"}}', "anthropic"
        )
        pool.refresh()
        with pytest.raises(ConfigError, match="must not contain 'anthropic-version', which"):
            pool.ask("x", "anthropic:one")

    assert server.requests == []


def test_headers_for_an_engine_without_http_are_an_error(env, write_settings):
    """A setting without effect is an error."""
    write_settings(HEADERS, "mock")
    is_not_http = pytest.raises(ConfigError, match="engine 'mock' is not an HTTP engine")
    with EnginePool(env=env) as pool, is_not_http:
        pool.ask("x", "mock")
    write_settings(HEADERS, "scripted")
    was_passed = pytest.raises(ConfigError, match="'scripted' was passed to the pool")
    with EnginePool(env=env, engines=[ScriptedEngine(["a"])]) as pool, was_passed:
        pool.ask("x", "scripted")


def test_a_projects_headers_need_permission(project, env, write_settings):
    """With or without a key, nothing is sent before the user has allowed the headers."""
    with Server(_answer) as server, EnginePool(home=project.root, env=env) as pool:
        write_settings(f'base_url = "{server.url}/v1"')
        project.settings(f"[engines.openai]\n{HEADERS}\n")
        pool.refresh()
        message = r"with your calls, headers = \{'x-app': 'notebooks', 'x-team': '\$TEAM'\}"
        for _ in range(2):
            with pytest.raises(TrustError, match=message):
                pool.ask("x", "openai:one")
        assert server.requests == []
        assert [row.engine for row in pool.health()] == ["mock"]
        (permission,) = pool.untrusted_engines()["openai"]
        assert permission.where == "[engines.openai] headers in its settings"
        pool.trust(pool.untrusted_engines())
        pool.ask("x", "openai:one")
        assert [_extra_headers(request) for request in server.requests] == [SENT]

        project.settings('[engines.openai]\nheaders = {x-team = "$HOSTNAME"}\n')
        pool.refresh()
        with pytest.raises(TrustError, match="HOSTNAME"):
            pool.ask("x", "openai:one")
    assert len(server.requests) == 1


def test_a_projects_own_engine_needs_the_permission_too(project, env):
    """Its headers could carry any of the user's variables to a host of the project's choosing."""
    with Server(_answer) as server, EnginePool(home=project.root, env=env) as pool:
        (project.root / "config" / "engines.toml").write_text(
            f'[acme]\nbase_url = "{server.url}/v1"\nmodel = "one"\n'
        )
        project.settings(f"[engines.acme]\n{HEADERS}\n")
        project.set_keys("GATEWAYX_ACME_API_KEY=sk-acme-0123456789\n")
        pool.refresh()
        with pytest.raises(TrustError, match="headers = "):
            pool.ask("x", "acme")
        assert server.requests == []
        pool.trust(pool.untrusted_engines())
        pool.ask("x", "acme")
    assert _extra_headers(server.requests[0]) == SENT


def test_headers_of_both_files_are_merged(project, env, write_settings):
    """The project's value takes precedence; a value equal to the user's needs no permission."""
    with Server(_answer) as server, EnginePool(home=project.root, env=env) as pool:
        write_settings(f'base_url = "{server.url}/v1"\n{HEADERS}')
        project.settings('[engines.openai]\nheaders = {x-team = "$TEAM"}\n')
        pool.refresh()
        pool.ask("x", "openai:one")
        project.settings('[engines.openai]\nheaders = {x-app = "$$1"}\n')
        pool.refresh()
        with pytest.raises(TrustError, match=r"headers = \{'x-app': '\$\$1'\}"):
            pool.ask("x", "openai:one")
        pool.trust(pool.untrusted_engines())
        pool.ask("x", "openai:one")

    assert [_extra_headers(each) for each in server.requests] == [
        SENT,
        {"x-team": "data", "x-app": "$1"},
    ]
