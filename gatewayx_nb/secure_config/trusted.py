"""What of a project the user trusts with keys of their own, remembered in the user folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gatewayx_nb.errors import ConfigError
from gatewayx_nb.secure_config.permissions import why_foreign
from gatewayx_nb.secure_config.places import Stamp, stamp
from gatewayx_nb.secure_config.whole import write_whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

Engines = dict[str, list[str]]
"""Targets by engine."""


@dataclass(frozen=True, slots=True)
class Way:
    """How a project decides where a key goes.

    Attributes:
        target: What is trusted: an address as ``https://host:port``, a file below the project, or
            its network settings.
        where: The place in the project that says so.
    """

    target: str
    where: str


def origin(url: str) -> str:
    """Give scheme, host and port of a URL, which is what a person trusts.

    >>> origin("https://me@Api.Example/v1/")
    'https://api.example'
    """
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return url
    return f"{parts.scheme}://{parts.hostname or ''}{port}"


class Trusted:
    """The file of what is trusted: targets by project folder and engine.

    A file that is damaged, or that somebody else may have written, counts for nothing.

    Attributes:
        problem: Why the file counts for nothing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem: ConfigError | None = None
        self._stamp: Stamp | None = None
        self._targets: dict[str, Engines] = {}

    def refresh(self) -> None:
        """Read the file if it has changed."""
        now = stamp(self.path)
        if now == self._stamp:
            return
        self._targets, self.problem, self._stamp = {}, None, now
        try:
            self._targets = self._read() if now else {}
        except ConfigError as problem:
            self.problem = problem

    def holds(self, project: Path, engine: str, way: Way) -> bool:
        """Tell whether a way was trusted."""
        return way.target in self._targets.get(str(project), {}).get(engine, ())

    def add(self, project: Path, ways: Mapping[str, Iterable[Way]]) -> None:
        """Remember ways, by engine.

        Raises:
            ConfigError: The file that is there cannot be read, and would be lost.
            OSError: The file cannot be written.
        """
        self.refresh()
        if self.problem:
            raise self.problem
        engines = self._targets.setdefault(str(project), {})
        for engine, added in ways.items():
            engines[engine] = sorted({*engines.get(engine, ()), *(way.target for way in added)})
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self._targets, indent=2, sort_keys=True) + "\n"
        write_whole(self.path, text.encode())

    def _read(self) -> dict[str, Engines]:
        import msgspec

        why = why_foreign(self.path)
        if why is None:
            try:
                return msgspec.json.decode(self.path.read_bytes(), type=dict[str, Engines])
            except (OSError, msgspec.DecodeError) as error:
                why = f"cannot be read: {error}"
        raise ConfigError(
            f"{str(self.path)!r}, which says whom you trust, {why}.",
            mend=f"Move it away, `mv {self.path} {self.path}.off`, then `%gatewayx trust`.",
        )
