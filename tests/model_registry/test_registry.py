import pytest

from gatewayx_nb import weights
from gatewayx_nb.engine_pool import EnginePool
from gatewayx_nb.errors import (
    ConfigError,
    EngineLoadError,
    EngineNotFoundError,
    MissingKeyError,
    UsageError,
)
from gatewayx_nb.testing import ScriptedEngine


@pytest.fixture
def weights_env(monkeypatch, tmp_path):
    """Return an environment whose GATEWAYX_LOCAL_MODEL names a weights file."""
    path = tmp_path / "tiny.gguf"
    path.write_bytes(b"GGUF" + bytes(100))
    return {"GATEWAYX_LOCAL_MODEL": str(path)}


def _find_row(pool, name):
    return next(row for row in pool.status() if row.name == name)


def test_a_key_makes_an_engine_ready(project):
    """A key makes an engine ready, and a placeholder does not."""
    pool = project.pool()
    assert (_find_row(pool, "grok").state, _find_row(pool, "grok").key) == ("no key", "missing")

    project.set_keys("GATEWAYX_GROK_API_KEY=your_grok_key_here")
    assert (_find_row(pool, "grok").state, _find_row(pool, "grok").key) == ("no key", "placeholder")

    project.set_keys("GATEWAYX_GROK_API_KEY=xai-1")
    assert (_find_row(pool, "grok").state, _find_row(pool, "grok").key) == ("ready", "set")
    assert str(pool.models()[0]) == "grok:grok-4.6"


def test_a_key_with_characters_that_no_key_has_is_explained(project):
    """The status and the error describe the key's fault without showing any part of it."""
    project.set_keys("GATEWAYX_GROK_API_KEY=\u201cxai-canary0123456789\u201d\n")
    with project.pool() as pool:
        row = _find_row(pool, "grok")
        assert row.to_do.startswith("GATEWAYX_GROK_API_KEY is in curly quotes. Set ")
        with pytest.raises(MissingKeyError, match="GATEWAYX_GROK_API_KEY is in curly quotes") as e:
            pool.ask("hi", "grok")

    assert "canary" not in repr(row) + str(e.value)


def test_status_does_not_execute_engine_files(project):
    """Before an engine's first call, its status is read from the source text without running it."""
    project.engine("mine", body="    raise SystemExit\n")

    row = _find_row(project.pool(), "mine")

    assert (row.model, row.state, row.loaded) == ("mine", "ready", False)


def test_a_broken_engine_does_not_affect_others(project):
    """After a failed call, a broken engine is listed with its error; other engines work."""
    project.engine("broken", body="    raise RuntimeError('at import')\n")
    project.engine("working", "works")
    pool = project.pool()

    with pytest.raises(EngineLoadError, match="at import"):
        pool.ask("x", model="broken")

    assert pool.ask("x", model="working").text == "works"
    row = _find_row(pool, "broken")
    assert (row.state, "at import" in row.error) == ("failed", True)
    assert _find_row(pool, "working").loaded


def test_calling_a_refused_engine_raises_the_reason(project):
    """Calling a refused engine raises an error with its name and the reason."""
    project.engine("mine").chmod(0o666)

    with pytest.raises(EngineLoadError, match=r"refused.*writable by everyone"):
        project.pool().ask("x", model="mine")


@pytest.mark.parametrize(
    ("reference", "expected_message"),
    [
        ("gork", "Did you mean 'grok'"),
        ("grok/grok-4", "Use a colon: 'grok:grok-4'"),
        ("newone", "The key GATEWAYX_NEWONE_API_KEY exists, but there is no file newone_engine.py"),
        ("zzz", "status"),
    ],
)
def test_an_unknown_engine_raises_an_error_with_a_hint(project, reference, expected_message):
    """The error for an unknown engine suggests the nearest name, a colon, or the missing file."""
    project.set_keys("GATEWAYX_NEWONE_API_KEY=k")

    with pytest.raises(EngineNotFoundError, match=expected_message):
        project.pool().ask("x", model=reference)


def test_aliases_are_references(project):
    """Shipped aliases and those in the settings are valid references."""
    project.settings('aliases.fast = "mock:quick"')
    pool = project.pool()

    assert pool.ask("x", model="fast").model == "quick"
    with pytest.raises(MissingKeyError, match="'grok'"):
        pool.ask("x", model="xai")


def test_no_default_without_a_key_or_weights(project):
    """Without a key or weights there is no default; the error says how to get either.

    `mock` is used only if it is named.
    """
    with pytest.raises(MissingKeyError, match=r"GATEWAYX_GROK_API_KEY.*pull..smollm2"):
        project.pool().default_model()


def test_the_only_engine_with_a_key_is_the_default(project):
    """The only engine with a key is the default, even if there are keyless engines."""
    project.engine("free", "x")
    project.set_keys("GATEWAYX_GROK_API_KEY=xai-1")

    assert project.pool().default_model() == "grok"


def test_with_several_keys_there_is_no_default(project):
    """With several keys there is no default; the error lists the engines and how to choose."""
    project.engine("other", body="    requires_key = True\n    async def generate(self): ...\n")
    text = (project.engines / "other_engine.py").read_text().replace("requires_key = False", "")
    (project.engines / "other_engine.py").write_text(text)
    project.set_keys("GATEWAYX_GROK_API_KEY=xai-1\nGATEWAYX_OTHER_API_KEY=k\n")
    pool = project.pool()

    with pytest.raises(ConfigError, match=r"grok, other.*use..grok.*save=True"):
        pool.default_model()

    pool.use("other", save=True)
    assert pool.default_model() == "other"
    assert project.pool().default_model() == "other"


def test_local_is_the_default_if_it_has_weights_and_no_key_is_set(project, weights_env):
    """`local` is the default only if its weights are installed and no key is set."""
    pool = project.pool()
    pool.config.env.update(weights_env)
    assert weights.locate(env=weights_env)
    assert pool.default_model() == "local"

    project.set_keys("GATEWAYX_GROK_API_KEY=xai-1")
    assert pool.default_model() == "grok"


def test_use_of_an_unknown_engine_changes_nothing(project):
    """`use` of an uncallable engine raises the same error as a call and changes nothing."""
    pool = project.pool()

    with pytest.raises(EngineNotFoundError):
        pool.use("nope", save=True)

    assert not (project.root / "config" / "gatewayx.toml").exists()


def test_a_call_follows_the_environment_and_the_default_immediately(project):
    """A changed variable or default applies to the next call, without a check of the files."""
    pool = project.pool()
    registry, env = pool._registry, pool.config.env
    env |= {"GATEWAYX_GROK_API_KEY": "k-1", "GATEWAYX_OPENAI_API_KEY": "k-2"}
    assert str(registry.resolve("grok").key) == "k-1"
    env |= {"GATEWAYX_GROK_API_KEY": "k-3", "GATEWAYX_GROK_BASE_URL": "http://127.0.0.1:1/v1"}
    target = registry.resolve("grok")
    assert (str(target.key), target.options["base_url"]) == ("k-3", "http://127.0.0.1:1/v1")

    for default in ("grok", "openai"):
        registry.references.default = default
        assert registry.resolve(None).name == registry.resolve("").name == default

    del env["GATEWAYX_GROK_API_KEY"]
    with pytest.raises(MissingKeyError):
        registry.resolve("grok")
    env["XAI_API_KEY"] = "k-4"
    assert str(registry.resolve("grok").key) == "k-4"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GATEWAYX_GORK_API_KEY", "xai-5f0c1e7a9b3d"),
        ("GROK_API_KEY", "xai-5f0c1e7a9b3d"),
        ("GROK_KEY", "xai-5f0c1e7a9b3d"),
        ("gatewayx_grok_apikey", "xai-5f0c1e7a9b3d"),
    ],
)
def test_a_similar_variable_is_named_if_a_key_is_missing(project, name, value):
    """The error for a missing key names a variable with a similar name, and never its value."""
    project.set_keys(f"{name}={value}\n")

    with project.pool() as pool, pytest.raises(MissingKeyError) as from_file:
        pool.ask("hi", model="grok")
    project.set_keys("")
    pool = EnginePool(home=project.root, env={name: value})
    with pool, pytest.raises(MissingKeyError) as from_environment:
        pool.ask("hi", model="grok")

    suggestion = "did you mean GATEWAYX_GROK_API_KEY?"
    assert from_file.value.message == (
        "engine 'grok' needs a key, but GATEWAYX_GROK_API_KEY is not set;"
        f" config/secrets/.env.local has {name}; {suggestion}"
    )
    assert from_environment.value.message.endswith(f"the environment has {name}; {suggestion}")
    assert value not in str(from_file.value) + str(from_environment.value)


def test_the_variables_of_other_engines_are_not_suggested(project):
    """The key of another engine with a similar name is not mistaken for a misspelt one."""
    project.set_keys("GATEWAYX_GROQ_API_KEY=gsk-5f0c1e7a9b3d\nGROQ_API_KEY=gsk-5f0c1e7a9b3d\n")

    with project.pool() as pool, pytest.raises(MissingKeyError) as error:
        pool.ask("hi", model="grok")

    assert error.value.message.endswith("GATEWAYX_GROK_API_KEY is not set.")


@pytest.mark.parametrize(
    "line",
    ["xai-5f0c1e7a9b3d", "grok: xai-5f0c1e7a9b3d", "GATEWAYX_GROK_API_KEY='xai-5f0c1e7a9b3d"],
)
def test_lines_that_are_not_read_are_reported_with_a_missing_key(project, line):
    """The error for a missing key names the lines of the key file that are not read."""
    project.set_keys(f"{line}\n")

    with project.pool() as pool, pytest.raises(MissingKeyError) as error:
        pool.ask("hi", model="grok")

    assert "GATEWAYX_GROK_API_KEY is not set; the key file" in error.value.message
    assert "has no NAME=VALUE pair on line 1" in error.value.message
    assert "5f0c1e7a9b3d" not in str(error.value)


def test_an_engine_object_whose_stream_is_a_plain_generator_is_refused():
    """The error for an engine object with a plain generator says how to declare it."""

    class PlainStream(ScriptedEngine):
        def stream(self, request):
            yield "x"

    with pytest.raises(UsageError, match=r"PlainStream\.stream must be `async def`\."):
        EnginePool(env={}, engines=[PlainStream([])])
