"""A cloned project full of traps: every command without trust, and the effects it must not have."""

import contextlib
import os
import shutil
import subprocess
import sys

import pytest

import gatewayx_nb as gx
from gatewayx_nb.commands import COMMANDS
from gatewayx_nb.errors import GatewayError
from gatewayx_nb.testing import Send, Server, reply
from tests.magics.conftest import shell as project_shell

pytestmark = [
    pytest.mark.skipif(not shutil.which("git"), reason="git is not installed"),
    pytest.mark.skipif(os.name != "posix", reason="the traps have links and modes"),
]

shell = project_shell
NAMES = ("openai", "anthropic", "grok", "google", "acme", "kimi", "deepseek")
KEYS = {
    f"GATEWAYX_{name.upper()}_API_KEY": f"USERKEY-{number}0123456789abcdef"
    for number, name in enumerate(NAMES)
}

COMMAND_LINES = {
    "ask": ["ask fast hi", "ask openai hi"],
    "cancel": ["cancel none"],
    "cassette": ["cassette", "cassette a.jsonl", "cassette linked/a.jsonl", "cassette off"],
    "chat": ["chat list"],
    "compare": ["compare"],
    "explain": ["explain"],
    "health": ["health"],
    "help": ["help"],
    "history": ["history"],
    "init": ["init"],
    "jobs": ["jobs"],
    "key": ["key set grok"],
    "keys": ["keys"],
    "models": ["models", "models --live"],
    "nest": ["nest"],
    "new": ["new fresh", "new packed --package"],
    "pull": ["pull --help"],
    "reload": ["reload"],
    "security": ["security"],
    "serve": ["serve"],
    "settings": ["settings"],
    "status": ["status", "status acme"],
    "tools": ["tools", "tools stranger"],
    "trust": ["trust --show", "trust"],
    "usage": ["usage"],
    "use": ["use fast"],
}

ENGINE = """\
from pathlib import Path
Path({flag!r}).write_text({name!r})
from ..llm_engines import LLMEngine


class TrapEngine(LLMEngine):
    requires_key = {requires_key}
    model_name = "trap"

    async def generate(self, prompt, **kwargs):
        return "trap"

    async def health_check(self):
        return True
"""


def write_traps(root, url, flag, outside):
    """Fill a folder with everything that a hostile project could try."""
    (root / "config").mkdir()
    (root / "engines").mkdir()
    (root / "config" / "gatewayx.toml").write_text(
        f'default_model = "acme"\n[aliases]\nfast = "acme"\ngpt = "acme"\n'
        f'[cassettes]\nredact = "trap:redact"\n[network]\nproxy = "{url}"\n'
        + "".join(f'[engines.{name}]\nbase_url = "{url}/v1"\n' for name in ("openai", "anthropic"))
    )
    rows = (f'[{name}]\nbase_url = "{url}/v1"\nmodel = "m"\n' for name in ("kimi", "deepseek"))
    (root / "config" / "engines.toml").write_text("".join(rows))
    for name, requires_key in (("acme", True), ("grok", True), ("plain", False)):
        body = ENGINE.format(flag=str(flag), name=name, requires_key=requires_key)
        (root / "engines" / f"{name}_engine.py").write_text(body)
    (root / "engines" / "__init__.py").write_text(f"open({str(flag)!r}, 'w')\n")
    (root / "trap.py").write_text(f"open({str(flag)!r}, 'w')\ndef redact(text): return text\n")
    for name in (".gatewayx", "linked", "config/secrets", "gatewayx-packed"):
        (root / name).symlink_to(outside)


@pytest.fixture
def clone(project, tmp_path, monkeypatch):
    """Yield a cloned project instead of the usual one, its server, and a flag file."""
    flag, outside = tmp_path / "ran", tmp_path / "outside"
    outside.mkdir()
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.invalid"]
    with Server([Send(reply(b'{"data": [{"id": "m"}]}'))]) as server:
        origin = tmp_path / "origin"
        origin.mkdir()
        write_traps(origin, server.url, flag, outside)
        for arguments in (["init", "-q"], ["add", "-A", "-f"], ["commit", "-q", "-m", "x"]):
            subprocess.run([*git, *arguments], cwd=origin, check=True, capture_output=True)
        shutil.rmtree(project.root)
        subprocess.run([*git, "clone", "-q", origin, project.root], check=True)
        for name, key in KEYS.items():
            monkeypatch.setenv(name, key)
        yield server, flag, outside


def requested_secrets(server):
    """Return the parts of the user's keys that reached the server."""
    received = b"".join(
        repr((request.target, request.headers)).encode() + request.body
        for request in server.requests
    ).decode("latin-1")
    return [key for key in KEYS.values() if key in received]


def test_the_table_has_every_command():
    """A new command needs a line in this table, which is run in a hostile project."""
    assert set(COMMAND_LINES) == set(COMMANDS)


@pytest.mark.parametrize("command", COMMAND_LINES)
def test_no_command_does_what_a_hostile_project_wants(clone, shell, monkeypatch, command):
    """Without trust, no user key is sent, no project code runs, and nothing outside changes."""
    server, flag, outside = clone
    monkeypatch.setattr("builtins.input", lambda _: "n")
    monkeypatch.setattr("getpass.getpass", lambda _: "xai-new-USERKEY-9876543210")
    for line in COMMAND_LINES[command]:
        with contextlib.suppress(GatewayError, OSError, SystemExit):
            shell.ask(f"%gatewayx {line}")
    if command == "serve":
        gx.serve().close()

    assert not flag.exists()
    assert requested_secrets(server) == []
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize(
    "cell",
    [
        "%%gatewayx\nhi",
        "%%gatewayx fast\nhi",
        "%%gatewayx openai anthropic deepseek\nhi",
        "%%gatewayx mock -p fail=500 --fallback fast\nhi",
        "import gatewayx_nb as gx\ngx.ask('hi')",
        "import gatewayx_nb as gx\ngx.ask('hi', 'grok')",
        "import gatewayx_nb as gx\ngx.embed(['hi'], 'openai')",
        "import gatewayx_nb as gx\nwith gx.cassette('new.jsonl'): gx.ask('hi', 'mock')",
        "import gatewayx_nb as gx\ngx.picker()",
    ],
)
def test_no_cell_does_what_a_hostile_project_wants(clone, shell, cell):
    """A call that the project's settings direct to the project is refused before it is made."""
    server, flag, outside = clone
    with contextlib.suppress(GatewayError, OSError):
        shell.ask(cell)

    assert not flag.exists()
    assert requested_secrets(server) == []
    assert list(outside.iterdir()) == []


def test_an_engine_runs_if_the_caller_names_it(clone, shell):
    """The traps work: without the rules, the tests above would find the flag and the requests."""
    _, flag, _ = clone
    shell.ask("%gatewayx plain hi")
    assert flag.read_text() == "plain"


def test_a_hostile_project_cannot_break_a_plain_call(clone, project):
    """A shipped engine answers in a process that starts in such a project."""
    _, flag, outside = clone
    code = "import gatewayx_nb as gx; print(gx.ask('hi', 'mock'))"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=project.root, capture_output=True, text=True, check=True
    )

    assert run.stdout.strip() == "[mock] hi"
    assert not flag.exists()
    assert list(outside.iterdir()) == []
