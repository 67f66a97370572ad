"""The sources of engines and their order of precedence."""

import json

import pytest

from gatewayx_nb.engine_pool import EnginePool
from gatewayx_nb.errors import ConfigError, EngineNotFoundError, MissingKeyError
from gatewayx_nb.secure_config import shipped_path
from gatewayx_nb.testing import Send, Server, reply

COMPLETION_BODY = json.dumps(
    {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}
).encode()
ENTRY = '[{0}]\nbase_url = "http://127.0.0.1:9/v1"\nmodel = "{1}"\n'


@pytest.fixture
def user_folder(clean_environment):
    """Return the user folder."""
    folder = clean_environment / "config" / "gatewayx"
    (folder / "engines").mkdir(parents=True)
    (folder / "config").mkdir()
    return folder


def _make_pool(project, user_folder, **env):
    return EnginePool(project.root, {"XDG_CONFIG_HOME": str(user_folder.parent), **env})


def test_each_source_overrides_later_ones(project, user_folder, tmp_path):
    """A source overrides all later sources; after it is removed, the next source is used."""
    path_folder = tmp_path / "named"
    path_folder.mkdir()
    project_file = project.engine("mock", "x")
    text = project_file.read_text()
    paths = [folder / "config" / "engines.toml" for folder in (project.root, user_folder)]
    for path, model in zip(paths, ("of project", "of user"), strict=True):
        path.write_text(ENTRY.format("mock", model))
    files = [
        path_folder / project_file.name,
        project_file,
        user_folder / "engines" / project_file.name,
    ]
    for file, answer in zip(files, "abc", strict=True):
        file.write_text(text.replace("'x'", f"{answer!r}"))

    with _make_pool(project, user_folder, GATEWAYX_ENGINES_PATH=str(path_folder)) as pool:
        answers = []
        for file in files:
            answers.append(pool.ask("q", model="mock").text)
            file.unlink()
            pool.refresh()
        answers.append(pool.ask("q", model="mock").text)
        shadowed = [row for row in pool.status() if row.name == "mock"][1:]

    assert answers == ["a", "b", "c", "[mock] q"]
    shipped_file = shipped_path("engines/mock_engine.py")
    assert [row.error for row in shadowed] == [
        f"[mock] in {path} is not used: {shipped_file} has the same name" for path in paths
    ]


def test_a_project_entry_overrides_user_and_shipped_entries(project, user_folder):
    """A project's entry overrides the user's and the shipped one.

    Of two identical entries, the user's is used, and the project's is not reported as shadowed.
    """
    project_entries, user_entries = (
        folder / "config" / "engines.toml" for folder in (project.root, user_folder)
    )
    project_entries.write_text(ENTRY.format("mistral", "m1"))
    user_entries.write_text(ENTRY.format("mistral", "m1"))
    with _make_pool(project, user_folder) as pool:
        rows = [row for row in pool.status() if row.name == "mistral"]
        assert [(row.source, row.model, row.state) for row in rows] == [
            ("user: engines.toml", "m1", "no key"),
            ("engines.toml", "", "shadowed"),
        ]
        user_entries.write_text(ENTRY.format("mistral", "m2"))
        rows = [row for row in pool.status() if row.name == "mistral"]

    assert [row.state for row in rows] == ["no key", "shadowed", "shadowed"]
    assert str(user_entries) in rows[1].error
    assert str(project_entries) in rows[1].error


def test_an_edited_copy_is_reported_as_shadowed(project, user_folder):
    """A copy of a shipped engine is reported as shadowed once it is edited."""
    path = user_folder / "engines" / "mock_engine.py"
    path.write_bytes(shipped_path("engines/mock_engine.py").read_bytes())
    with _make_pool(project, user_folder) as pool:
        assert [row.state for row in pool.status() if row.name == "mock"] == ["ready"]
        with path.open("a") as file:
            file.write("# mine\n")
        assert [row.state for row in pool.status() if row.name == "mock"] == ["ready", "shadowed"]


def test_the_engines_path_may_be_set_later(project, tmp_path):
    """`GATEWAYX_ENGINES_PATH` may be set later, as with `%env` in a notebook."""
    env = {}
    pool = EnginePool(project.root, env)
    moved = project.engine("moved", "here").rename(tmp_path / "moved_engine.py")
    with pytest.raises(EngineNotFoundError):
        pool.use("moved")

    env["GATEWAYX_ENGINES_PATH"] = str(moved.parent)
    pool.refresh()

    assert pool.ask("x", model="moved").text == "here"
    pool.close()


def test_a_key_and_a_base_url_define_an_engine(project):
    """A key and a base URL define an OpenAI-compatible engine, until the URL is removed."""
    with Server([Send(reply(COMPLETION_BODY))]) as server, project.pool() as pool:
        project.set_keys(
            f"GATEWAYX_NEWONE_API_KEY=k1\nGATEWAYX_NEWONE_BASE_URL={server.url}/v1\n"
            "GATEWAYX_NEWONE_MODEL=m\n"
        )
        (row,) = [row for row in pool.status() if row.name == "newone"]
        assert (row.state, row.model, row.source) == ("ready", "m", "GATEWAYX_NEWONE_BASE_URL")
        assert pool.ask("x", model="newone").text == "hi"
        assert server.requests[-1].headers["authorization"] == "Bearer k1"
        assert server.requests[-1].target == "/v1/chat/completions"

        project.set_keys("GATEWAYX_NEWONE_API_KEY=k1\n")
        pool.refresh()
        with pytest.raises(EngineNotFoundError, match="and no GATEWAYX_NEWONE_BASE_URL"):
            pool.ask("x", model="newone")


def test_a_base_url_without_a_key_is_listed_as_no_key(project):
    """A base URL without a key is listed as an engine, and its error names the missing key."""
    project.set_keys("GATEWAYX_NEWONE_BASE_URL=http://127.0.0.1:9/v1\n")
    with project.pool() as pool:
        assert {row.name: row.state for row in pool.status()}["newone"] == "no key"
        with pytest.raises(MissingKeyError, match="GATEWAYX_NEWONE_API_KEY"):
            pool.ask("x", model="newone")


def test_a_base_url_for_an_existing_engine_defines_no_new_one(project):
    """A base URL for an existing engine changes its URL and defines no new engine."""
    project.set_keys("GATEWAYX_GROK_BASE_URL=http://127.0.0.1:9\nGATEWAYX_KEY_BASE_URL=http://h\n")
    with project.pool() as pool:
        rows = {row.name: row for row in pool.status()}

    assert rows["grok"].source == "grok_engine.py"
    assert (rows["key"].state, "reserved for the command" in rows["key"].error) == ("refused", True)


def test_an_engine_overrides_shipped_aliases_only(project):
    """An engine overrides a shipped alias, such as `gpt`, but not one in the settings."""
    project.engine("gpt", "mine")
    with project.pool() as pool:
        assert pool.ask("x", model="gpt").text == "mine"
        project.settings('aliases.gpt = "mock"')
        pool.refresh()
        assert pool.ask("x", model="gpt").text == "[mock] x"


@pytest.mark.parametrize(
    ("settings", "expected_message"),
    [
        (
            "[engines.gork]\nmodel = 'x'",
            "[engines.gork] in the settings: no engine is called 'gork'",
        ),
        (
            "[aliases]\nfast = 'gork:g'",
            "[aliases] fast in the settings: no engine is called 'gork'",
        ),
    ],
)
def test_settings_for_unknown_engines_are_reported(project, settings, expected_message):
    """Settings for an unknown engine are reported with the nearest name.

    Other engines keep working.
    """
    project.settings(settings)
    with project.pool() as pool:
        (problem,) = pool.problems
        assert pool.ask("x", model="mock").text == "[mock] x"

    assert expected_message in problem
    assert "Did you mean 'grok'?" in problem


def test_an_unknown_engine_setting_raises(project):
    """An unknown setting for an engine raises an error that suggests the nearest name.

    The engine works again once the setting is corrected.
    """
    project.settings("[engines.mock]\nmodelx = 'x'")
    with project.pool() as pool:
        with pytest.raises(
            ConfigError, match=r"'mock' has no setting 'modelx'.*Did you mean 'model'"
        ):
            pool.ask("x", model="mock")
        row = next(row for row in pool.status() if row.name == "mock")
        assert (row.state, "modelx" in row.error) == ("failed", True)

        project.settings("[engines.mock]\nmodel = 'x'")
        pool.refresh()
        assert pool.ask("x", model="mock").model == "x"
        assert next(row for row in pool.status() if row.name == "mock").state == "ready"


@pytest.mark.parametrize("has_key", [True, False])
def test_a_missing_base_url_is_reported(project, has_key):
    """The report of a missing base URL names its variable, with and without a key."""
    project.set_keys("GATEWAYX_AZURE_API_KEY=k\n" if has_key else "")
    with project.pool() as pool:
        row = next(row for row in pool.status() if row.name == "azure")
        models = {model.engine for model in pool.models()}

    assert row.state == ("no base URL" if has_key else "no key")
    assert "GATEWAYX_AZURE_BASE_URL is not set" in row.error
    assert "azure" not in models


def test_a_huge_file_named_like_a_shipped_engine_is_not_read(project):
    """A huge file with the name of a shipped engine is one failed row; other engines work."""
    with (project.engines / "mock_engine.py").open("wb") as file:
        file.truncate(2**40)  # reading it would fail
    project.engine("working", "works")
    with project.pool() as pool:
        states = {row.name: row.state for row in pool.status() if row.state != "shadowed"}
        assert states["mock"] == "failed"
        assert pool.ask("x", model="working").text == "works"
