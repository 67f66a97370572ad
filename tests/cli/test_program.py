"""Commands in a shell: which there are, what they print, and their exit statuses."""

import json
import re
import subprocess
import sys

import pytest

from gatewayx_nb import hints
from gatewayx_nb._version import __version__
from gatewayx_nb.cli import program, static_files, wording
from gatewayx_nb.commands import COMMANDS, SHELL_COMMANDS
from gatewayx_nb.commands.command import Handler
from gatewayx_nb.errors import GatewayError
from tests.canary import KEY

NOT_IN_A_SHELL = {"jobs", "cancel", "nest", "reload", "usage", "explain", "compare", "chat"}


def test_the_rows_of_the_table_say_where_a_command_works():
    """A shell has neither cells nor a pool that outlives a command."""
    assert COMMANDS.keys() - SHELL_COMMANDS.keys() == NOT_IN_A_SHELL
    assert SHELL_COMMANDS.keys() - COMMANDS.keys() == {"map", "eval", "doctor", "completion"}


@pytest.mark.parametrize("words", [(), ("-h",), ("--help",), ("help",)])
def test_help_lists_the_commands(run, words):
    """Without a command, the help is printed, which is a success."""
    result = run(*words)
    assert (result.status, result.err) == (0, "")
    for name, command in SHELL_COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(command.summary)}", result.out, re.MULTILINE)


def test_the_static_files_match_the_table():
    """`python -m gatewayx_nb.cli.static_files` writes them."""
    for name, text in static_files.static_files().items():
        assert (static_files.FOLDER / name).read_text("utf-8") == text


@pytest.mark.parametrize("name", sorted(SHELL_COMMANDS))
def test_each_command_explains_itself(run, name):
    """`-h` after a command, and `help` before it, show its use."""
    result = run(name, "-h")
    assert result.status == 0
    assert f"gatewayx {name}" in result.out
    assert run("help", name).out == result.out


def test_the_version_is_printed(run):
    """`--version` starts nothing."""
    assert run("--version").out == f"gatewayx {__version__}\n"


INVALID = [
    (("foo",), "no command 'foo'"),
    (("statsu",), "Did you mean 'status'?"),
    (("mock", "Say this"), "Call it with `gatewayx ask mock 'Say this'`."),
    (("jobs",), "`jobs` works only in a notebook."),
    (("status", "--live"), "no option '--live'"),
    (("use",), "`gatewayx use` needs REF"),
    (("use", "mokc"), "Did you mean 'mock'?"),
    (("completion",), "needs SHELL"),
    (("cassette",), "`gatewayx cassette` needs FILE"),
    (("use", "mock", "--save"), "no option '--save'"),
    (("status", "--pro"), "no option '--pro'"),
    (("help", "foo"), "no command or topic 'foo'"),
    (("key", "set", "gork"), "there is no engine 'gork'. Did you mean 'grok'?"),
]


@pytest.mark.parametrize(("words", "message"), INVALID)
def test_an_invalid_line_is_one_line_on_standard_error(run, words, message):
    """The error names the command as it is typed in a shell."""
    result = run(*words)
    assert (result.status, result.out) == (2, "")
    assert message in result.err
    assert result.err.startswith("gatewayx: ")
    assert result.err.count("\n") == 1
    assert "%gatewayx" not in result.err


@pytest.mark.parametrize(
    "words",
    [
        (KEY,),
        ("key", KEY),
        ("key", "set", "grok", KEY),
        ("use", KEY),
        ("use", f"mock:{KEY}"),
        ("ask", KEY, "Hi"),
        ("ask", f"mock:{KEY}", "Hi"),
        ("ask", "mock", "--fallback", KEY, "Hi"),
        ("ask", "mock", f"--timeout={KEY}", "Hi"),
        ("ask", "mock", f"--{KEY}", "Hi"),
        ("ask", "mock", "-p", f"top_p={KEY}", "Hi"),
        ("map", KEY, "out.csv", "--prompt", "x"),
    ],
)
def test_a_key_on_a_line_is_not_repeated(run, words):
    """The history of the shell contains the line, so the error says to renew the key."""
    result = run(*words)
    assert result.status == 2
    assert KEY[:12] not in result.err
    assert "your shell history still contains it" in result.err


STATUSES = {
    "UsageError": 2,
    "EngineNotFoundError": 2,
    "UnsupportedFeatureError": 2,
    "ConfigError": 3,
    "MissingKeyError": 3,
    "TrustError": 3,
    "AuthenticationError": 3,
}


def _classes(kind):
    yield kind
    for each in kind.__subclasses__():
        yield from _classes(each)


@pytest.mark.parametrize("kind", list(_classes(GatewayError)), ids=lambda kind: kind.__name__)
def test_each_error_has_an_exit_status(kind):
    """2 is a mistake in the line, 3 one in the keys or settings, and 1 any other failure."""
    if kind.__module__ == "gatewayx_nb.errors":
        assert program.status_of(kind("x")) == STATUSES.get(kind.__name__, 1)


def test_each_hint_is_worded_for_a_shell():
    """No hint names a magic, a keyword of Python or a function."""
    assert wording.SHELL.keys() == hints.SCRIPT_WORDING.keys()
    own = {
        action: template
        for action, template in wording.SHELL.items()
        if isinstance(template, str) and template != hints.SCRIPT_WORDING[action]
    }
    assert len(own) > 20
    assert not [text for text in own.values() if "%gatewayx" in text or "gatewayx_nb." in text]


def test_the_wording_is_restored(run):
    """A program that calls `main` keeps its own wording."""
    before = hints.set_wording()
    hints.set_wording(before)
    run("status")
    assert hints.set_wording(before) is before


def test_health_fails_if_an_engine_does(run, project):
    """A script can use the exit status."""
    project.engine("good", says="Hi")
    assert run("health", "good").status == 0
    project.engine("bad", body="    async def health(self):\n        raise ValueError('no')\n")
    result = run("health", "bad")
    assert result.status == 1
    assert "bad" in result.out


def test_use_is_saved(run, project):
    """A choice for one process would be of no use."""
    result = run("use", "mock")
    assert result.out == "The default model is mock, saved in config/gatewayx.toml.\n"
    assert 'default_model = "mock"' in (project.root / "config" / "gatewayx.toml").read_text()


def test_the_project_is_that_of_the_current_folder(shell, tmp_path):
    """The folder of the program, which may be in another project, does not matter."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert "No project folder" in shell("status", cwd=elsewhere).out


def test_doctor_finds_a_problem(run, project):
    """A key file that others may read is a problem, and the exit status says so."""
    project.settings('default_model = "mock"')
    assert run("doctor").status == 0
    project.settings("retries = ")
    result = run("doctor")
    assert result.status == 1
    assert "problem" in result.out
    assert "gatewayx.toml" in result.out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"made-up-key-123456\n", ""),
        (b"GATEWAYX_GROK_API_KEY=made-up-key-123456\n", "begins with 'GATEWAYX_GROK_API_KEY='"),
        (b'"made-up-key-123456"\n', "begins with '\"'"),
        (b"made-up-key-123456\nanother\n", "more than one line"),
        (b"", "the key is empty"),
        (None, "entering the key requires a terminal"),
    ],
)
def test_a_key_may_be_piped_in(shell, project, text, message):
    """Only a key is stored, and no message repeats it."""
    result = shell("key", "set", "grok", text=text)
    assert "made-up-key" not in result.out + result.err
    stored = project.keys.read_text() if project.keys.exists() else ""
    assert ("GATEWAYX_GROK_API_KEY=made-up-key-123456\n" in stored) == (not message)
    assert result.status == (2 if message else 0)
    assert message in result.err


UNUSED = [
    *(
        f"gatewayx_nb.commands.{name}"
        for name in (
            "doctor",
            "engine_templates",
            "guides",
            "jobs",
            "notebook",
            "project",
            "serving",
            "shell_completion",
            "status",
            "tools",
            "usage",
        )
    ),
    "gatewayx_nb.batch.map_session",
    "gatewayx_nb.cassettes.cassette",
    "gatewayx_nb.comparisons.run",
    "gatewayx_nb.engine_pool.batch_calls",
    "gatewayx_nb.engine_pool.cluster_calls",
    "gatewayx_nb.html.components",
    "gatewayx_nb.llm_engines.openai_chat",
    "gatewayx_nb.prompts.placeholders",
    "gatewayx_nb.server",
    "gatewayx_nb.storage.results_store",
    "gatewayx_nb.tools.tool_loop",
    "gatewayx_nb.weights.pulling",
    "importlib.metadata",
    *("IPython", "aiohttp", "filelock", "httpx", "jsonschema", "mcp", "numpy", "pandas"),
    *("starlette", "statistics", "tqdm", "urllib.request", "wcwidth"),
]
"""Modules that a call in a shell does not use, which would take half of its time to start."""


def test_a_call_imports_no_module_of_another_command(project):
    """The table of commands names its handlers, which are imported when they run."""
    code = (
        "import sys, json; from gatewayx_nb.cli import main; main(['ask', 'mock', 'hi']);"
        " print(json.dumps(list(sys.modules)))"
    )
    command = [sys.executable, "-c", code]
    output = subprocess.run(command, cwd=project.root, capture_output=True, check=True).stdout
    answer, modules = output.splitlines()
    assert answer == b"[mock] hi"
    assert set(json.loads(modules)).intersection(UNUSED) == set()


def test_the_garbage_collector_is_off_only_during_imports_and_at_exit(project):
    """It would search the modules, which are all in use, several times."""
    code = (
        "import atexit, gc; atexit.register(lambda: print(gc.get_freeze_count() > 10_000));"
        " from gatewayx_nb.cli import main; main(['ask', 'mock', 'hi']);"
        " print(gc.isenabled(), gc.get_freeze_count())"
    )
    command = [sys.executable, "-c", code]
    output = subprocess.run(command, cwd=project.root, capture_output=True, check=True).stdout
    assert output.splitlines()[1:] == [b"True 0", b"True"]


@pytest.mark.parametrize("name", sorted({*COMMANDS, *SHELL_COMMANDS}))
def test_the_handlers_in_the_table_exist(name):
    """They are named in the table, and so only imported when the command runs."""
    for table in (COMMANDS, SHELL_COMMANDS):
        if name in table:
            assert table[name].parser("gatewayx").synopsis
            run = table[name].run
            assert callable(run.load() if isinstance(run, Handler) else run)
