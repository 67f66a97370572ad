"""Destinations to which a project may send the user's own keys, stored in the user folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gatewayx_nb.errors import ConfigError
from gatewayx_nb.files import StatStamp, atomic_write, ownership_problem, stat_stamp

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

TargetsByEngine = dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class KeyDestination:
    """A place to which a project would send a key.

    Attributes:
        target: A URL as ``https://host:port``, a file in the project, or its network settings.
        where: The part of the project that sets the target.
    """

    target: str
    where: str


def origin(url: str) -> str:
    """Return the scheme, host and port of a URL, which the user may trust.

    >>> origin("https://me@Api.Example/v1/")
    'https://api.example'
    """
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return url
    return f"{parts.scheme}://{parts.hostname or ''}{port}"


class TrustStore:
    """The file of trusted targets, by project folder and engine.

    A file that is damaged, or that another user may have written, is ignored.

    Attributes:
        problem: Why the file is ignored; ``None`` if it is not.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem: ConfigError | None = None
        self._stamp: StatStamp | None = None
        self._targets: dict[str, TargetsByEngine] = {}

    def refresh(self) -> None:
        """Read the file if it has changed."""
        # Before reading, so that a change in between is noticed the next time.
        stamp = stat_stamp(self.path)
        if stamp == self._stamp:
            return
        self._targets, self.problem, self._stamp = {}, None, stamp
        try:
            self._targets = self._read() if stamp else {}
        except ConfigError as problem:
            self.problem = problem

    def contains(self, project: Path, engine: str, destination: KeyDestination) -> bool:
        """Return whether the user trusts a destination."""
        return destination.target in self._targets.get(str(project), {}).get(engine, ())

    def add(self, project: Path, destinations: Mapping[str, Iterable[KeyDestination]]) -> None:
        """Store trusted destinations, by engine.

        Raises:
            ConfigError: If the existing file cannot be read; writing would lose it.
            OSError: If the file cannot be written.
        """
        self.refresh()  # another kernel may have added destinations
        if self.problem:
            raise self.problem
        engines = self._targets.setdefault(str(project), {})
        for engine, added in destinations.items():
            targets = {destination.target for destination in added}
            engines[engine] = sorted(targets.union(engines.get(engine, ())))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Indented and sorted, because users revoke trust by deleting lines in an editor.
        text = json.dumps(self._targets, indent=2, sort_keys=True) + "\n"
        atomic_write(self.path, text.encode())

    def _read(self) -> dict[str, TargetsByEngine]:
        import msgspec

        problem = ownership_problem(self.path)
        if problem is None:
            try:
                return msgspec.json.decode(self.path.read_bytes(), type=dict[str, TargetsByEngine])
            except (OSError, msgspec.DecodeError) as error:
                problem = f"cannot be read: {error}"
        raise ConfigError(
            f"{str(self.path)!r}, the list of trusted destinations, {problem}.",
            hint=f"Move it away, `mv {self.path} {self.path}.off`, and trust this project again.",
        )
