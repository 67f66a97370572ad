"""Every file that the package reads or writes, in every condition: used, or refused and why."""

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from gatewayx_nb import Chunk
from gatewayx_nb.commands import COMMANDS, run
from gatewayx_nb.engine_pool import EnginePool
from gatewayx_nb.errors import GatewayError
from gatewayx_nb.testing import ScriptedEngine

pytestmark = pytest.mark.skipif(os.name != "posix", reason="requires POSIX modes and links")

KEY = "xai-0123456789abcdef"
OTHER_USER = 12345
URL = "http://127.0.0.1:9/v1"
ENGINE = """\
from ..llm_engines import LLMEngine


class AcmeEngine(LLMEngine):
    requires_key = False

    async def generate(self, prompt, **kwargs):
        return "acme"
"""


# Conditions: each function puts an existing file into one


def _own(path, _):
    path.chmod(0o600)


def _other_owner(path, _):
    if os.geteuid():
        pytest.skip("only root can give a file to another user")
    os.chown(path, OTHER_USER, OTHER_USER)


def _group(path, _):
    path.chmod(0o660)


def _world(path, _):
    path.chmod(0o666)


def _symlink(path, elsewhere):
    shutil.move(path, elsewhere / path.name)
    path.symlink_to(elsewhere / path.name)


def _in_a_symlink(path, elsewhere):
    shutil.move(path.parent, elsewhere / path.parent.name)
    path.parent.symlink_to(elsewhere / path.parent.name)


def _hard_link(path, elsewhere):
    os.link(path, elsewhere / path.name)


def _no_parent(path, _):
    shutil.rmtree(path.parent)


CONDITIONS = {
    "own": _own,
    "other owner": _other_owner,
    "group": _group,
    "world": _world,
    "symlink": _symlink,
    "in a symlink": _in_a_symlink,
    "hard link": _hard_link,
    "no parent": _no_parent,
}


class ProjectUnderTest:
    """A project with a file of one kind, and the pools and commands that read and write it."""

    def __init__(self, project):
        self.root, self._make_pool = project.root, project.pool

    def pool(self, *, env=None, **options):
        """Build a pool for the project, and trust the engines that the project selects."""
        pool = self._make_pool(**options) if env is None else EnginePool(env=env, **options)
        pool.trust(pool.untrusted_engines())
        return pool

    def run(self, line, env=None):
        """Run a command and return its output."""
        with self.pool(env=env) as pool:
            session = SimpleNamespace(
                pool=pool,
                prog="gatewayx",
                ask_prog="gatewayx ask",
                commands=COMMANDS,
                notebook=None,
                limitations="",
            )
            return repr(run(session, line))


def _messages(pool):
    return " ".join([*pool.problems, *(row.error for row in pool.status() if row.error)])


def read_settings(site):
    with site.pool() as pool:
        return pool.config.settings.aliases.get("mine") == "mock", _messages(pool)


def read_base_url(site):
    with site.pool() as pool:
        return pool.config.options("grok").get("base_url") == URL, _messages(pool)


def read_proxy(site):
    with site.pool() as pool:
        return pool.config.settings.network.proxy == URL, _messages(pool)


def read_entries(site):
    with site.pool() as pool:
        rows = {row.name: row.state for row in pool.status()}
        return rows.get("acme") == "ready", _messages(pool)


def read_engine_file(site):
    with site.pool() as pool:
        return pool.ask("hi", "acme").text == "acme", ""


def read_hook(site):
    engine = ScriptedEngine(["private", Chunk(finish_reason="stop")])
    with site.pool(engines=[engine]) as pool, pool.cassette(site.root / "c.jsonl") as cassette:
        pool.ask("private", "scripted")
        used = "private" not in (site.root / "c.jsonl").read_text()
        return used, cassette.problem


def read_key(site):
    with site.pool() as pool:
        row = {row.name: row for row in pool.status()}["grok"]
        return row.state == "ready", _messages(pool)


def read_cassette(site):
    with site.pool() as pool, pool.cassette(site.root / CASSETTE, "replay"):
        return pool.ask("first", "scripted").text == "new", ""


def read_ledger(site):
    with site.pool() as pool:
        return bool(pool.history()), _messages(pool)


def record_after_cut(site):
    """Record into a cassette with an incomplete last line, which is set aside."""
    path = site.root / CASSETTE
    path.parent.mkdir(exist_ok=True)
    path.write_text('{"format":"gatewayx-cassette","version":1}\n{"cut')
    return record(site)


def init(site):
    return site.run("init", {"GATEWAYX_HOME": str(site.root)})


def new_entry(site):
    return site.run("new fresh --url http://127.0.0.1:9/v1")


def new_engine_file(site):
    return site.run("new fresh")


def set_key(site):
    with site.pool() as pool:
        return str(pool.config.set_key("grok", "xai-another-0123456789"))


def record(site, prompt="second"):
    engine = ScriptedEngine(["new", Chunk(finish_reason="stop")])
    with site.pool(engines=[engine]) as pool, pool.cassette(site.root / CASSETTE) as cassette:
        pool.ask(prompt, "scripted")
        return cassette.problem


def call(site):
    with site.pool() as pool:
        pool.ask("hi", "mock")
    return " ".join(pool.problems)  # the call is written before the pool is closed


def use_model(site):
    with site.pool() as pool:
        return str(pool.use("mock", save=True))


@dataclass(frozen=True)
class FileCase:
    """A file, and the functions that read and write it.

    Attributes:
        path: Its path in the project.
        text: Its content.
        read: Returns whether its content is used, and the messages about it.
        write: Writes to it or to a file beside it, and returns the messages.
        settings: The project's settings, if the file needs any.
        written: The path that is written to, if different from ``path``.
    """

    path: str
    text: str = ""
    read: Callable[[ProjectUnderTest], tuple[bool, str]] | None = None
    write: Callable[[ProjectUnderTest], str] | None = None
    settings: str = ""
    written: str = ""


SETTINGS, CASSETTE = "config/gatewayx.toml", "cassettes/a.jsonl"
KEYS = "config/secrets/.env.local"
KEY_LINE = f"GATEWAYX_GROK_API_KEY={KEY}\n"
BASE_URL = f'[engines.grok]\nbase_url = "{URL}"\n'
HOOK = "def redact(text):\n    return text.replace('private', '***')\n"
ENTRY = f'[acme]\nbase_url = "{URL}"\nmodel = "m"\nrequires_key = false\n'
SUBJECTS = {
    "settings": FileCase(SETTINGS, '[aliases]\nmine = "mock"\n', read_settings, use_model),
    "init": FileCase(SETTINGS, "[aliases]\n", write=init),
    "base URL": FileCase(SETTINGS, BASE_URL, read_base_url),
    "proxy": FileCase(SETTINGS, f'[network]\nproxy = "{URL}"\n', read_proxy),
    "entries": FileCase("config/engines.toml", ENTRY, read_entries, new_entry),
    "engine file": FileCase(
        "engines/acme_engine.py",
        ENGINE,
        read_engine_file,
        new_engine_file,
        written="engines/fresh_engine.py",
    ),
    "hook": FileCase(
        "hooks/hook.py", HOOK, read_hook, settings='[cassettes]\nredact = "hooks.hook:redact"\n'
    ),
    "keys": FileCase(KEYS, KEY_LINE, read_key, set_key),
    "lock of keys": FileCase(f"{KEYS}.lock", write=set_key, written=KEYS),
    "cassette": FileCase(CASSETTE, "", read_cassette, record),
    "lock": FileCase("cassettes/.gatewayx/a.jsonl.lock", write=record, written=CASSETTE),
    "cut line": FileCase("cassettes/.gatewayx/a.jsonl.cut", write=record_after_cut),
    "ledger": FileCase(".gatewayx/store.sqlite", "", read_ledger, call),
}

TABLE = """
                    own  other owner  group  world  symlink  in a symlink  hard link  no parent
settings read       yes  owner        yes    mode   link     link          yes        -
settings write      yes  owner        yes    mode   link     link          yes        yes
init write          kept kept         kept   kept   link     link          kept       yes
base URL read       yes  owner        yes    mode   link     link          yes        -
proxy read          yes  owner        yes    mode   link     link          yes        -
entries read        yes  owner        yes    mode   link     link          yes        -
entries write       yes  owner        yes    mode   link     link          yes        yes
engine file read    yes  owner        yes    mode   link     link          yes        -
engine file write   yes  yes          yes    yes    yes      link          yes        yes
hook read           yes  owner        yes    mode   link     link          yes        -
keys read           yes  owner        yes    yes    link     link          yes        -
keys write          yes  owner        yes    yes    link     link          yes        yes
lock of keys write  yes  yes          yes    yes    link     link          yes        yes
cassette read       yes  yes          yes    yes    link     link          yes        -
cassette write      yes  yes          yes    yes    link     link          shared     yes
lock write          yes  yes          yes    yes    link     link          yes        yes
cut line write      yes  yes          yes    yes    yes      link          yes        yes
ledger read         yes  yes          yes    yes    link     link          yes        -
ledger write        yes  yes          yes    yes    link     link          shared     yes
"""
"""What happens to each file in each condition.

``yes``: it is used. ``kept``: it is used but never changed. ``shared``: it is changed, and so is
its other hard link, which only its owner can have created. ``owner``, ``mode``, ``link``: it is
refused, and a message says why. ``-``: there is nothing to read.

A key file that others may write to is used, and made private. The owner and the mode of a cassette,
a lock or the ledger are not checked, because none of these decides where keys are sent or what code
runs. A new engine file is written even beside one that is refused.
"""

REASONS = {
    "owner": "belongs to another user",
    "mode": "is writable by everyone",
    "link": "sym",  # the system's own message says "symbolic links"
}


@dataclass(frozen=True)
class Cell:
    """A file, how it is used, its condition, and what happens."""

    name: str
    access: str
    condition: str
    outcome: str


def _cells():
    heading, *lines = TABLE.strip("\n").splitlines()
    conditions = re.split("  +", heading.strip())
    for line in lines:
        name, access, outcomes = re.match(r"(.+?) (read|write) +(.+)", line).groups()
        for condition, outcome in zip(conditions, outcomes.split(), strict=True):
            yield Cell(name, access, condition, outcome)


CELLS = list(_cells())


def test_the_table_is_complete():
    """The table covers each way of using each file, in every condition."""
    listed = {(cell.name, cell.access, cell.condition) for cell in CELLS}
    assert listed == {
        (name, access, condition)
        for name, subject in SUBJECTS.items()
        for access in ("read", "write")
        for condition in CONDITIONS
        if getattr(subject, access)
    }


def _content(path):
    return path.read_bytes() if path.is_file() else b""


def _contents(folder):
    return {path: _content(path) for path in folder.rglob("*")}


def _write_subject(site, name):
    subject = SUBJECTS[name]
    if subject.settings:
        (site.root / SETTINGS).write_text(subject.settings)
    path = site.root / subject.path
    path.parent.mkdir(parents=True, exist_ok=True)
    if name == "cassette":
        record(site, "first")
    elif name == "ledger":
        call(site)
    else:
        path.write_text(subject.text)
    path.chmod(0o600)
    return path


@pytest.mark.parametrize(
    "cell", CELLS, ids=lambda cell: f"{cell.name}-{cell.access}-{cell.condition}"
)
def test_a_file_is_used_or_refused(project, tmp_path, cell):
    """A file is used, or refused with the reason; only hard links change outside the project."""
    site, subject = ProjectUnderTest(project), SUBJECTS[cell.name]
    path, elsewhere = _write_subject(site, cell.name), tmp_path / "elsewhere"
    elsewhere.mkdir()
    CONDITIONS[cell.condition](path, elsewhere)
    target = site.root / (subject.written or subject.path)
    before, outside = _content(target), _contents(elsewhere)

    try:
        outcome = getattr(subject, cell.access)(site)
    except GatewayError as error:
        outcome = str(error) if cell.access == "write" else (False, str(error))

    used, messages = outcome if cell.access == "read" else (_content(target) != before, outcome)
    assert used == (cell.outcome in ("yes", "shared"))
    assert REASONS.get(cell.outcome, "") in messages
    assert (_contents(elsewhere) != outside) == (cell.outcome == "shared")
