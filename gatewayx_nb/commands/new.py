"""``%gatewayx new``: creates an engine file, or a settings entry if no code is needed."""

from __future__ import annotations

import json
import os
import re
import tomllib
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gatewayx_nb.commands.outcomes import note
from gatewayx_nb.errors import ConfigError, UsageError
from gatewayx_nb.model_registry import why_unusable
from gatewayx_nb.secure_config import display_path

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from gatewayx_nb.commands.grammar import Parser, Session
    from gatewayx_nb.commands.outcomes import Note

_FILE = '''\
"""{name}: say here what answers, and where its interface is described."""

from ..llm_engines import LLMEngine


class {title}Engine(LLMEngine):
    """Answers by an echo, until `generate` asks a model."""

    requires_key = False  # without this line it waits for {key}, here self.api_key
    model_name = "{name}-1"

    async def generate(self, prompt, **kwargs):
        """Give the whole answer; kwargs is what the caller set: system, temperature, max_tokens."""
        return f"[{name}] {{prompt}}"
'''

_ROW = """\
[{name}]
base_url = {url}
model = ""
"""

_KEYLESS = "requires_key = false\n"

_HERE = re.compile(r"localhost|127(\.\d+){3}|::1")


def new(session: Session, words: argparse.Namespace) -> Note:
    """Create an engine file, or a settings entry for a URL; overwrite nothing."""
    name, url = words.name, words.url
    why = "is taken for a helper, by its `_`" if name.startswith("_") else why_unusable(name)
    if why:
        raise UsageError(f"an engine {name!r} {why}.", hint="For instance `%gatewayx new mine`.")
    session.pool.refresh()
    known = [row for row in session.pool.status() if row.name == name]
    if known:
        raise UsageError(
            f"there is an engine {name!r} already: {known[0].where or known[0].source}.",
            hint=f"Take another name: `%gatewayx new my_{name}`.",
        )
    host = None if url is None else _host(url)
    place = session.pool.config.project or session.pool.config.user
    try:
        if url is None:
            lines = _write_file(place.engines / f"{name}_engine.py", name)
        else:
            lines = _write_row(place.rows, name, url, here=bool(_HERE.fullmatch(host or "")))
    except OSError as error:
        raise ConfigError(
            f"{error.filename} cannot be written: {error.strerror}.",
            hint="Go to a folder of your own, `%cd FOLDER`, and `%gatewayx init` there.",
        ) from None
    session.pool.refresh()
    return note(*lines)


def new_arguments(parser: Parser) -> None:
    """``NAME [--url URL]``."""
    parser.add_argument("name", metavar="NAME", help="what it is called by: a-z, 0-9 and _")
    parser.add_argument(
        "--url", metavar="URL", help="where it answers, if it speaks OpenAI's dialect: no code then"
    )


def _host(url: str) -> str:
    """Validate a base URL and return its host."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
        fits = parts.scheme in ("http", "https") and host and not (parts.query or parts.fragment)
    except ValueError:
        parts, host, fits = urlsplit(""), "", False
    if not fits or "@" in parts.netloc or not (url.isascii() and url.isprintable()) or " " in url:
        raise UsageError(
            "that is no base URL; expected https://HOST/PATH, without a user name or a query.",
            hint="For instance `--url https://api.example.com/v1`.",
        )
    return host


def _write_file(path: Path, name: str) -> tuple[str, ...]:
    title = "".join(part.capitalize() for part in name.split("_"))
    title = title if title[:1].isalpha() else f"N{title}"
    text = _FILE.format(name=name, title=title, key=f"GATEWAYX_{name.upper()}_API_KEY")
    path.parent.mkdir(parents=True, exist_ok=True)
    _append(path, text, os.O_EXCL)
    return (
        f"Written: {display_path(path)}. It answers at once: `%gatewayx {name} Hello`.",
        "Put the call to your model into its `generate`; each edit counts from the next cell on.",
        f"If that needs a key: delete `requires_key = False`, then `%gatewayx key set {name}`.",
    )


def _write_row(path: Path, name: str, url: str, *, here: bool) -> tuple[str, ...]:
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.read_text(encoding="utf-8-sig") if path.is_file() else ""
    try:
        tomllib.loads(before)
    except ValueError as error:
        raise ConfigError(
            f"{display_path(path)} cannot be added to: {error}.", hint="Mend that line of it first."
        ) from None
    gap = "" if not before else "\n" if before.endswith("\n") else "\n\n"
    row = _ROW.format(name=name, url=json.dumps(url)) + (_KEYLESS if here else "")
    _append(path, gap + row, 0)
    ask = f"`%gatewayx {name} Hello`"
    return (
        f"Written: [{name}] in {display_path(path)}. An empty `model` is the server's first.",
        f"Start the server, then {ask}."
        if here
        else f"Then `%gatewayx key set {name}`, and {ask}.",
    )


def _append(path: Path, text: str, flags: int) -> None:
    """Append text to a file; a new file is writable only by its owner, whatever the umask."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | flags, 0o644)
    with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)
