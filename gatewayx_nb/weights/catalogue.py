"""Lists the weights that can be pulled, and locates them on this machine."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import platformdirs

from gatewayx_nb.errors import ModelNotFoundError, did_you_mean
from gatewayx_nb.files import read_toml, shipped_path
from gatewayx_nb.hints import Hint
from gatewayx_nb.weights.gguf import check_gguf

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_MODEL = "smollm2"
MODEL_PATH_VARIABLE = "GATEWAYX_LOCAL_MODEL"


@dataclass(frozen=True, slots=True)
class Weights:
    """A row of ``config/models.toml``: one GGUF file in a wheel.

    Attributes:
        name: Name by which users refer to the weights.
        description: A one-line description.
        distribution: Name of the wheel's distribution on the index.
        version: Version of the distribution.
        file: Path of the GGUF file inside the wheel.
        licence: SPDX identifier.
        size: Bytes of the GGUF file.
        sha256: The GGUF file's digest, in hexadecimal.
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
        """The path of the pulled file; its name contains the digest, so it is never stale."""
        return models_folder() / f"{self.name}-{self.sha256[:12]}.gguf"

    @property
    def is_pulled(self) -> bool:
        """Whether the file exists and has the right size; its digest was verified when pulled."""
        try:
            return self.path.stat().st_size == self.size
        except OSError:
            return False


def models_folder() -> Path:
    """Return the folder of pulled weights in the user's cache folder; it may not exist."""
    # By default, platformdirs would add a folder with the author's name on Windows.
    return platformdirs.user_cache_path("gatewayx", appauthor=False) / "models"


@functools.cache  # cached, because every status of a pool needs this data
def catalogue() -> Mapping[str, Weights]:
    """Return the weights that can be pulled, by name."""
    rows = read_toml(shipped_path("config") / "models.toml")
    return MappingProxyType({name: Weights(name=name, **row) for name, row in rows.items()})


def find_weights(name: str) -> Weights:
    """Return the weights with the given name.

    Raises:
        ModelNotFoundError: If no weights have this name.
    """
    rows = catalogue()
    if name not in rows:
        available_names = ", ".join(map(repr, rows))
        raise ModelNotFoundError(
            f"no weights are called {name!r}; available: {available_names}."
            f"{did_you_mean(name, rows)}",
            hint=Hint("pull", model=DEFAULT_MODEL),
            model=name,
        )
    return rows[name]


def configured_path(env: Mapping[str, str] | None = None) -> Path | None:
    """Return the GGUF file in ``GATEWAYX_LOCAL_MODEL``, or ``None`` if it is not set.

    Raises:
        ConfigError: If the file is not a readable GGUF file.
    """
    path = (os.environ if env is None else env).get(MODEL_PATH_VARIABLE, "")
    return check_gguf(Path(path).expanduser(), MODEL_PATH_VARIABLE) if path else None
