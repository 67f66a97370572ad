"""The tables of engines and commands: their rows, their order, and the folded rows."""

import re

import pytest

from gatewayx_nb import EnginePool, commands
from gatewayx_nb.commands import COMMANDS, SHELL_COMMANDS, guides
from gatewayx_nb.commands.dispatch import GROUPS
from gatewayx_nb.commands.guides import trouble_names
from gatewayx_nb.errors import UsageError
from gatewayx_nb.files import shipped_path
from gatewayx_nb.magics import cell


@pytest.fixture
def session(project, session_of):
    """Return a session in a project with engines in several states."""
    project.set_keys("GATEWAYX_GROK_API_KEY=xai-1\nGATEWAYX_OPENAI_API_KEY=your_openai_key_here\n")
    project.engine("mine", "x")
    with project.pool() as pool:
        yield session_of(pool)


@pytest.mark.parametrize("line", ["", "status"])
def test_ready_engines_come_first_and_idle_ones_are_one_line(session, line):
    """Ready engines come first, then those that need one more step; the others are one line."""
    table = commands.run(session, line)
    names = [row[0] for row in table.cells()]
    text = repr(table)

    assert {"grok", "mine", "mock"} <= set(names)
    assert names[-1] == "openai"
    assert [row[1] for row in table.cells() if row[0] in ("grok", "mine", "openai")] == [
        "✓ ready, key set",
        "✓ ready",
        (
            "placeholder key. Set GATEWAYX_OPENAI_API_KEY in the environment or in"
            " config/secrets/.env.local."
        ),
    ]
    (folded,) = [row for row in text.splitlines() if "anthropic" in row]
    assert folded.startswith("Without a key: anthropic, ")
    assert "Server not running: " in folded
    for noise in ("not loaded", "not run)", "shown after", "first use"):
        assert noise not in text
    assert len(table) > len(names), "all rows stay in the data"


def test_a_column_says_which_engines_take_images_and_tools(session):
    """The column `takes` lists text, too, so that it is never empty."""
    table = commands.run(session, "status")
    headings = [column.heading for column in table.columns]
    rows = {row[0]: row[headings.index("takes")] for row in table.cells()}

    assert {name: rows[name] for name in ("grok", "mine", "mock")} == {
        "grok": "text, tools, images",
        "mine": "text",
        "mock": "text, tools",
    }


def test_the_models_of_an_engine_without_a_key_are_not_listed(session):
    """`models ENGINE` says that an engine needs a key, and how to set it."""
    listed = commands.run(session, "models anthropic")

    assert not listed
    assert "'anthropic' needs a key: run `gatewayx key set anthropic`." in repr(listed)


def test_python_shows_the_same_table(session):
    """`pool.status()` and the command show the same table, above their notes."""
    table = commands.run(session, "status")
    assert repr(session.pool.status()).splitlines() == repr(table).splitlines()[: -len(table.notes)]


def test_calls_and_spend_are_shown_when_there_are_any(session):
    """The column of calls and spend appears with the first call."""
    assert "spend" not in repr(session.pool.status())
    session.pool.ask("Hi", model="mine")
    assert "1 call, 1 unpriced" in repr(session.pool.status())
    session.pool.ask("Hi", model="mock")
    session.pool.ask("Hi", model="mock")
    assert "2 calls, $0" in repr(session.pool.status())


def test_the_status_of_one_engine_has_its_file_and_key(session):
    """The status of one engine is shown even if it is idle, with its file and variable."""
    text = repr(commands.run(session, "status anthropic"))

    assert "needs a key" in text
    assert "anthropic_engine.py" in text
    assert "`GATEWAYX_ANTHROPIC_API_KEY`, not found" in text


@pytest.mark.parametrize(
    ("keys", "example"),
    [
        ("", "grok --image fig --schema City --max-cost 0.05` sends a figure"),
        ("GATEWAYX_GOOGLE_API_KEY=made-up-1\n", "google --image fig"),
        ("GATEWAYX_DEEPSEEK_API_KEY=a\nGATEWAYX_OPENAI_API_KEY=b\n", "--image fig"),
    ],
)
def test_the_example_with_an_image_names_an_engine_that_takes_one(
    project, session_of, keys, example
):
    """The example names a ready engine that takes images; otherwise grok, which needs a key."""
    project.set_keys(keys)
    with project.pool() as pool:
        table = commands.run(session_of(pool), "")
        (line,) = [note for note in table.notes if "--image" in note]
        named = next(row for row in table if row.name == line.split()[2])

    assert example in line
    assert "images" in named.features
    assert ("It needs a key for grok." in line) == (named.readiness != "ready")


def test_the_example_with_two_answers_names_two_engines(project, session_of):
    """The example names `mock` once, even if no other engine is ready."""
    with project.pool() as pool:
        table = commands.run(session_of(pool), "")

    assert [row.name for row in table if row.readiness == "ready"] == ["mock"]
    (line,) = [note for note in table.notes if "-o both" in note]
    assert line.startswith("`gatewayx ask mock local -o both`")


def test_help_lists_every_command_in_one_group(session):
    """`help` lists each command once, under its purpose; text to type is shown as code."""
    names = [name for group in GROUPS.values() for name in group]
    assert sorted(names) == sorted({*COMMANDS, *SHELL_COMMANDS})

    table = commands.run(session, "help")
    assert [row[0] for row in table if row[0]] == list(GROUPS)
    assert all(f"gatewayx {name}" in " ".join(row[1] for row in table) for name in COMMANDS)
    page = table._repr_html_()
    assert "`" not in page
    assert len(re.findall(r'<code style="white-space:nowrap">gatewayx ', page)) >= len(COMMANDS)


def test_settings_shows_the_values_and_the_files_that_set_them(project, session_of):
    """A value from a file has the file's name; a value that may be private is not shown."""
    project.settings(
        "limits = {retries = 5, max_cost = 2.5}\n"
        '[engines.acme]\nbase_url = "https://me:secret@acme.example/v1"\nown = "private"\n'
    )
    with project.pool() as pool:
        table = commands.run(session_of(pool), "settings")

    rows = {row[0]: row[1:3] for row in table}
    assert rows["limits.retries"] == ("5", "config/gatewayx.toml")
    assert rows["limits.max_cost"] == ("2.5", "config/gatewayx.toml")
    assert rows["limits.timeout"] == ("600", "")
    assert rows["engines.acme.base_url"][0] == "https://acme.example"
    assert rows["engines.acme.own"][0] == "set"
    assert "secret" not in repr(table)
    assert "private" not in repr(table)


def test_settings_names_the_file_of_the_lower_limit(project, session_of, clean_environment):
    """The lower of two limits applies, whichever file it is in."""
    user = clean_environment / "config" / "gatewayx" / "config"
    user.mkdir(parents=True)
    (user / "gatewayx.toml").write_text("limits = {retries = 1, timeout = 900}")
    project.settings("limits = {retries = 5, timeout = 60}")
    with EnginePool(home=project.root) as pool:
        table = commands.run(session_of(pool), "settings")

    rows = {row[0]: row[1:3] for row in table}
    assert rows["limits.retries"][0] == "1"
    assert "gatewayx/config/gatewayx.toml" in rows["limits.retries"][1]
    assert rows["limits.timeout"] == ("60", "config/gatewayx.toml")


@pytest.mark.parametrize("topic", ["many-rows", "many rows", "Many_Rows"])
def test_help_shows_the_beginning_of_a_guide(session, topic):
    """The first paragraph and the first example are shown, without links and without a network."""
    session.ask_parser = cell.parser()
    excerpt = commands.run(session, f"help {topic}")

    assert excerpt.intro.startswith("Many rows: a column of answers. After this page, you can ask")
    assert ">>> import gatewayx_nb as gx" in excerpt.text
    assert "](" not in repr(excerpt)


@pytest.mark.parametrize("name", guides.guide_names())
def test_each_guide_begins_with_its_purpose_and_an_example(session, name):
    """`help` shows the purpose of a guide and an example other than the loading of the magics."""
    session.ask_parser = cell.parser()
    excerpt = commands.run(session, f"help {name}")

    assert ". After this page, " in excerpt.intro
    assert excerpt.text not in ("", "%load_ext gatewayx_nb")


def test_help_finds_the_words_of_a_message(session):
    """A part of a message leads to its entry in the troubleshooting page."""
    session.ask_parser = cell.parser()
    excerpt = commands.run(session, "help ended without an end marker")

    assert "`error.partial`" in excerpt.text


def test_help_shows_the_entry_of_an_error(session):
    """Each name after `More:` is a topic, which no command, option or guide hides."""
    session.ask_parser = cell.parser()
    page = shipped_path("docs/troubleshooting.md").read_text(encoding="utf-8")

    assert len(trouble_names()) >= 60
    for name in trouble_names():
        excerpt = commands.run(session, f"help {name}")
        assert f"({name})=\n### {excerpt.intro}\n" in page


def test_help_suggests_a_guide(session):
    """A misspelled guide name is an error that names the nearest guide."""
    session.ask_parser = cell.parser()
    with pytest.raises(UsageError, match="Did you mean 'many-rows'"):
        commands.run(session, "help many-row")
    with pytest.raises(UsageError, match="no command or topic"):
        commands.run(session, "help ../../README")
    with pytest.raises(UsageError, match=r"'extra' is not expected here.*help pull"):
        commands.run(session, "help pull extra")
