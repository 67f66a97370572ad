"""Stores, in the user folder, the permissions that the user has given to each project."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gatewayx_nb.errors import ConfigError
from gatewayx_nb.files import (
    StatStamp,
    atomic_write,
    file_lock,
    ownership_problem,
    quoted_path,
    stat_stamp,
)
from gatewayx_nb.secrets import NotPicklable
from gatewayx_nb.text import plain, short_repr

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

_SHOWN_VALUE_CHARS = 40
"""Number of characters to show from the beginning and from the end of a long value."""

_URL = re.compile(r"(?=(?<![\w+.-])([A-Za-z][\w+.-]{0,30}://\S{1,300}))")
"""The beginning of a URL, including one inside another URL."""

_MAX_URLS = 1_000
"""Maximum number of URLs of a value whose hosts are shown."""

_MAX_HOSTS = 20
"""Maximum number of hosts that are shown."""

_LOCK_TIMEOUT = 10.0
"""Seconds to wait for another process that is writing the file."""

TargetsBySubject = dict[str, list[str]]
"""The allowed targets, keyed by the engine or the setting that needs the permission."""


@dataclass(frozen=True, slots=True)
class Permission:
    """An action that a project may perform only after the user has allowed it.

    The action sends one of the user's keys to a host or a file that the project chooses, or runs a
    file of the project that the caller has not named. An edited file keeps its permission; a
    different name, path or host needs a new permission.

    Attributes:
        subject: The engine that needs the permission, or ``[cassettes] redact``.
        target: A URL as ``https://host:port``, a file in the project, its network settings, or an
            option as in `option_target`.
        where: The part of the project that requires the permission.
    """

    subject: str
    target: str
    where: str

    @property
    def id(self) -> str:
        """The permission's ID for ``GATEWAYX_TRUST``; it is the same in every project.

        It has 80 bits, so that nobody can find a target with the same ID as another target.
        """
        data = f"{self.subject}\0{self.target}".encode(errors="replace")
        return hashlib.blake2b(data, digest_size=10).hexdigest()


def origin(url: str) -> str:
    """Return the scheme, host and port of a URL.

    >>> origin("https://me@Api.Example/v1/")
    'https://api.example'
    """
    try:
        parts = urlsplit(url.strip())  # as the transport does
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return url
    if not (parts.scheme and parts.hostname):
        return url
    return f"{parts.scheme}://{parts.hostname}{port}"


def option_target(name: str, value: object) -> str:
    """Return the target of the permission for an option; different values have different targets.

    A long value is shortened to its beginning and end, the hosts in it, and its digest.

    >>> option_target("region", "eu")
    "region = 'eu'"
    """
    text = repr(value)
    if text == short_repr(value):
        return f"{name} = {text}"
    urls = itertools.islice(_URL.finditer(text), _MAX_URLS)
    hosts = list(dict.fromkeys(origin(url[1].rstrip("'\"`,;)]}")) for url in urls))
    if len(hosts) > _MAX_HOSTS:
        hosts[_MAX_HOSTS:] = ["and others"]
    # The project chooses both the allowed value and the value that could later replace it, so the
    # digest must be long enough to resist collisions.
    digest = hashlib.blake2b(text.encode(errors="replace"), digest_size=16).hexdigest()
    value_text = (
        f"{text[:_SHOWN_VALUE_CHARS]}…{text[-_SHOWN_VALUE_CHARS:]}"
        if len(text) > 2 * _SHOWN_VALUE_CHARS
        else text
    )
    hosts_note = f"hosts: {', '.join(hosts)}; " if hosts else ""
    return plain(f"{name} = {value_text} ({hosts_note}digest: {digest})")


class TrustStore(NotPicklable):
    """The permissions that the user has given in a file and in ``GATEWAYX_TRUST``.

    The file is ignored if it is damaged or another user may have written it.

    Args:
        path: The file, which lists the targets by project folder and subject.
        env: The environment, whose ``GATEWAYX_TRUST`` lists IDs of permissions, as in CI.

    Attributes:
        problem: Why the file is ignored; ``None`` if it is used.
        revision: Increases with each change to the file that this object reads or writes.
    """

    def __init__(self, path: Path, env: Mapping[str, str]) -> None:
        self.path, self._env = path, env
        self.problem: ConfigError | None = None
        self.revision = 0
        self._stamp: StatStamp | None = None
        self._targets: dict[str, TargetsBySubject] = {}

    def refresh(self) -> None:
        """Read the file if it has changed."""
        # The stamp is taken before reading, so that a change made during the read is noticed next
        # time.
        stamp = stat_stamp(self.path)
        if stamp == self._stamp:
            return
        self.revision += 1
        self._targets, self.problem, self._stamp = {}, None, stamp
        try:
            self._targets = self._read() if stamp else {}
        except ConfigError as problem:
            self.problem = problem

    def contains(self, project: Path, permission: Permission) -> bool:
        """Return whether the user has given a permission."""
        if permission.target in self._targets.get(str(project), {}).get(permission.subject, ()):
            return True
        allowed_ids = self._env.get("GATEWAYX_TRUST", "")
        return bool(allowed_ids) and permission.id in map(str.strip, allowed_ids.split(","))

    def permissions(self, project: Path) -> list[Permission]:
        """Return the permissions that the file gives to a project."""
        return [
            Permission(subject, target, self.path.name)
            for subject, targets in sorted(self._targets.get(str(project), {}).items())
            for target in targets
        ]

    def add(self, project: Path, permissions: Iterable[Permission]) -> None:
        """Store permissions of a project.

        Raises:
            ConfigError: If the existing file cannot be read; writing would lose its content.
            OSError: If the file cannot be written.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._file_lock():
            self._read_again()
            targets = self._targets.setdefault(str(project), {})
            for permission in permissions:
                other_targets = targets.get(permission.subject, ())
                targets[permission.subject] = sorted({permission.target, *other_targets})
            self._write()

    def revoke(self, project: Path) -> None:
        """Remove all permissions of a project.

        Raises:
            ConfigError: If the existing file cannot be read; writing would lose its content.
            OSError: If the file cannot be written.
        """
        if not self.path.parent.exists():
            return
        with self._file_lock():
            self._read_again()
            if self._targets.pop(str(project), None):
                self._write()

    def _file_lock(self) -> AbstractContextManager[None]:
        """Lock out other kernels, so that no permission is lost."""
        return file_lock(self.path, self.path.with_name(f"{self.path.name}.lock"), _LOCK_TIMEOUT)

    def _read_again(self) -> None:
        self.refresh()  # another kernel may have changed the file
        if self.problem:
            raise self.problem

    def _write(self) -> None:
        self.revision += 1
        # The text is indented and sorted for human readers.
        text = json.dumps(self._targets, indent=2, sort_keys=True) + "\n"
        atomic_write(self.path, text.encode())

    def _read(self) -> dict[str, TargetsBySubject]:
        import msgspec

        problem = ownership_problem(self.path)
        if problem is None:
            try:
                return msgspec.json.decode(self.path.read_bytes(), type=dict[str, TargetsBySubject])
            except (OSError, msgspec.DecodeError) as error:
                problem = f"cannot be read: {error}"
        shell_path = quoted_path(self.path)
        raise ConfigError(
            f"{str(self.path)!r}, the list of projects' permissions, {problem}.",
            hint=f"Move it away with `mv {shell_path} {shell_path}.off`, and trust this project"
            " again.",
        )
