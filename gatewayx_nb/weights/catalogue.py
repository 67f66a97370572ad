"""Which weights can be pulled, and where they lie on this machine."""

from __future__ import annotations

import functools
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import platformdirs

from gatewayx_nb.errors import ConfigError, ModelNotFoundError, nearest
from gatewayx_nb.secure_config.places import shipped

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT = "smollm2"
VARIABLE = "GATEWAYX_LOCAL_MODEL"

_MAGIC = b"GGUF"  # https://github.com/ggml-org/ggml/blob/master/docs/gguf.md


@dataclass(frozen=True, slots=True)
class Weights:
    """A row of ``config/models.toml``: one GGUF file, inside a wheel.

    Attributes:
        name: What a user calls it.
        description: One line about it.
        distribution: Name of the wheel's distribution on the index.
        version: Version of the distribution.
        file: The GGUF file's path inside the wheel.
        licence: SPDX identifier.
        size: Bytes of the GGUF file.
        sha256: Its digest, in hexadecimal.
        wheel_size: Bytes of the wheel.
        wheel_sha256: The wheel's digest, in hexadecimal.
    """

    name: str
    description: str
    distribution: str
    version: str
    file: str
    licence: str
    size: int
    sha256: str
    wheel_size: int
    wheel_sha256: str

    @property
    def path(self) -> Path:
        """Where the file lies once pulled: its name carries its digest, so it is never stale."""
        return folder() / f"{self.name}-{self.sha256[:12]}.gguf"

    @property
    def here(self) -> bool:
        """Whether a file of the right size lies there. Its digest was checked as it was written."""
        try:
            return self.path.stat().st_size == self.size
        except OSError:
            return False


def folder() -> Path:
    """Give the folder of pulled weights, in the user's cache folder; it may not exist yet."""
    return platformdirs.user_cache_path("gatewayx", appauthor=False) / "models"


@functools.cache  # a part of the package: every look at the state of a pool asks for it
def catalogue() -> Mapping[str, Weights]:
    """Give the weights that can be pulled, by name."""
    rows = tomllib.loads((shipped("config") / "models.toml").read_text("utf-8"))
    return MappingProxyType({name: Weights(name=name, **row) for name, row in rows.items()})


def find(name: str) -> Weights:
    """Give the row of that name.

    Raises:
        ModelNotFoundError: There is none.
    """
    rows = catalogue()
    if name not in rows:
        known = ", ".join(repr(row) for row in rows)
        raise ModelNotFoundError(
            f"No weights are called {name!r}; known: {known}.{nearest(name, rows)}",
            mend=f"%gatewayx pull {DEFAULT}",
            model=name,
        )
    return rows[name]


def chosen(env: Mapping[str, str] | None = None) -> Path | None:
    """Give the GGUF file that ``GATEWAYX_LOCAL_MODEL`` names, or ``None`` where it is not set.

    Raises:
        ConfigError: What it names is no readable GGUF file.
    """
    named = (os.environ if env is None else env).get(VARIABLE, "")
    return check_gguf(Path(named).expanduser(), VARIABLE) if named else None


def check_gguf(path: Path, origin: str) -> Path:
    """Give the path back if a readable GGUF file lies there.

    Args:
        path: The file.
        origin: What named it, for the error.

    Raises:
        ConfigError: It can not be read, or is of another kind.
    """
    mend = f"Set {origin} to the path of a GGUF file, or unset it."
    try:
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
    except OSError as error:
        raise ConfigError(
            f"{origin} names {str(path)!r}, which cannot be read: {error.strerror}.", mend=mend
        ) from error
    if magic != _MAGIC:
        raise ConfigError(f"{origin} names {str(path)!r}, which is no GGUF file.", mend=mend)
    return path


def locate(name: str = DEFAULT, env: Mapping[str, str] | None = None) -> Path | None:
    """Give the file to load for these weights, or ``None`` where they were not pulled.

    What ``GATEWAYX_LOCAL_MODEL`` names wins. Costs a ``stat``: nothing is hashed.

    Args:
        name: Name of a row.
        env: Where the variable is looked up; the process's environment by default.

    Raises:
        ModelNotFoundError: No weights have that name.
        ConfigError: ``GATEWAYX_LOCAL_MODEL`` names no readable GGUF file.
    """
    row = find(name)
    return chosen(env) or (row.path if row.here else None)
