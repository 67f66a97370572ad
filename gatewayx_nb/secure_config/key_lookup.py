"""Looks up an engine's key and its source."""

from __future__ import annotations

import difflib
import functools
import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from gatewayx_nb.errors import ConfigError
from gatewayx_nb.files import ConfigDir, Owner, StatStamp, stat_stamp
from gatewayx_nb.secrets import KeyState, NotPicklable, Secret, key_fault, key_state
from gatewayx_nb.secure_config import key_store

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

VENDOR_VARIABLES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "anthropic": ("ANTHROPIC_API_KEY",),
        "cohere": ("CO_API_KEY", "COHERE_API_KEY"),
        "google": ("GOOGLE_API_KEY", "GEMINI_API_KEY"),
        "grok": ("XAI_API_KEY",),
        "openai": ("OPENAI_API_KEY",),
    }
)
"""The variables from which the vendors' own tools read a key, by engine."""

_KEY_NAME = re.compile(r"(?:GATEWAYX_)?([A-Z0-9_]+?)_?(?:API_?)?(?:KEY|TOKEN)", re.IGNORECASE)
"""Pattern of the names of variables that contain keys; the group is the engine's name."""

_MIN_SIMILARITY = 0.75
"""Minimum similarity, from 0 to 1, of a misspelt name to an engine's name."""

SECRET_NAME = re.compile(r"(?:KEY|TOKEN|SECRET|PASSWORD)$", re.IGNORECASE)
"""Pattern of the names of variables that contain secrets."""


@functools.lru_cache(maxsize=1024)
def engine_variable(engine: str, suffix: str = "API_KEY") -> str:
    """Return the name of an engine's variable.

    >>> engine_variable("grok"), engine_variable("grok", "MODEL")
    ('GATEWAYX_GROK_API_KEY', 'GATEWAYX_GROK_MODEL')
    """
    return f"GATEWAYX_{engine.upper()}_{suffix}"


@dataclass(frozen=True, slots=True)
class Key:
    """An engine's key and its origin.

    Attributes:
        state: ``"set"``, ``"placeholder"`` or ``"missing"``.
        value: The key; empty unless it is set.
        fault: Why a placeholder cannot be a key, if it contains characters that are invalid in
            keys.
        variable: The variable that contains the key.
        source: Where the variable is set: ``"environment"`` or the file's short path.
        owner: The owner of the key; keys in the environment belong to the user.
    """

    state: KeyState
    value: Secret = field(default_factory=lambda: Secret(""))
    variable: str = ""
    source: str = ""
    owner: Owner = "user"
    fault: str = ""


_MISSING_KEY = Key("missing")


class KeyLookup(NotPicklable):
    """Looks up variables in the environment, the project's key file and the user's key file.

    The environment is never changed. A file is read again when its stamp changes.

    Args:
        env: The environment.
        config_dirs: The project and user folders, in order of precedence.
    """

    def __init__(self, env: Mapping[str, str], config_dirs: tuple[ConfigDir, ...]) -> None:
        self._env = env
        self._files = [_KeyFile(config_dir) for config_dir in config_dirs]

    def refresh(self) -> None:
        """Read the changed files."""
        for file in self._files:
            file.refresh()

    @property
    def problems(self) -> list[str]:
        """Problems in the files, one line each."""
        return [problem for file in self._files for problem in file.problems]

    def find(
        self, engine: str, vendor_variables: Iterable[str] = (), owner: Owner | None = None
    ) -> Key:
        """Return an engine's key; a valid key takes precedence over a placeholder found earlier.

        Args:
            engine: Name of the engine.
            vendor_variables: The vendor's own variables, used if the ``GATEWAYX_`` variable is
                absent.
            owner: The owner whose key to return; ``None`` for the key that takes precedence.
        """
        variables = [
            name for name in (engine_variable(engine), *vendor_variables) if self._is_known(name)
        ]
        if not variables:  # most of a thousand engine files need no further search
            return _MISSING_KEY
        keys = [
            Key(state, Secret(value.strip()), name, source, found_owner)
            if state == "set"
            else Key(state, Secret(""), name, source, found_owner, key_fault(value))
            for name in variables
            for value, source, found_owner in self._candidates(name)
            if owner in (None, found_owner) and (state := key_state(value)) != "missing"
        ]
        # A placeholder left in the project must not hide the user's real key.
        set_keys = (key for key in keys if key.state == "set")
        return next(set_keys, keys[0] if keys else _MISSING_KEY)

    def value(self, name: str) -> str | None:
        """Return a variable's value from the first source in which it is not blank."""
        return next((value for value, _, _ in self._candidates(name) if value.strip()), None)

    def owner(self, name: str) -> Owner | None:
        """Return the owner of a variable's value; ``None`` if it has no value."""
        return next((owner for value, _, owner in self._candidates(name) if value.strip()), None)

    def snapshot(self, names: Iterable[str]) -> tuple[object, ...]:
        """Return the variables' values in the environment, and the contents of the files."""
        return (*map(self._env.get, names), *(file.values for file in self._files))

    def near_miss(self, engine: str, known_names: Collection[str]) -> str:
        """Return a message about a variable whose name resembles that of an engine's key.

        The message is empty if no such variable is set.

        Args:
            engine: Name of the engine.
            known_names: The names of other variables that the package reads, which are not
                misspelt.
        """
        expected_name = engine_variable(engine)
        for name in sorted(self.variable_names() - {*known_names, expected_name}):
            match = _KEY_NAME.fullmatch(name)
            if match and difflib.get_close_matches(engine, [match[1].lower()], 1, _MIN_SIMILARITY):
                for value, source, _ in self._candidates(name):
                    if key_state(value) != "missing":
                        source_name = "the environment" if source == "environment" else source
                        return f"{source_name} has {name}; did you mean {expected_name}?"
        return ""

    def variable_names(self) -> set[str]:
        """Return the names of all variables."""
        return set(self._env).union(*(file.values for file in self._files))

    def secrets_by_name(self) -> dict[str, Secret]:
        """Return the secrets from all sources, by name and source."""
        secrets = {
            f"{name} ({source})": Secret(value.strip())
            for name in self.variable_names()
            for value, source, _ in self._candidates(name)
            if SECRET_NAME.search(name) and key_state(value) == "set"
        }
        return {name.removesuffix(" (environment)"): value for name, value in secrets.items()}

    def _is_known(self, name: str) -> bool:
        return name in self._env or any(name in file.values for file in self._files)

    def _candidates(self, name: str) -> Iterator[tuple[str, str, Owner]]:
        if name in self._env:
            yield self._env[name], "environment", "user"
        for file in self._files:
            if name in file.values:
                yield file.values[name], file.label, file.owner


class _KeyFile(NotPicklable):
    """A key file as last read."""

    def __init__(self, config_dir: ConfigDir) -> None:
        self.path = config_dir.keys
        self.label = config_dir.label(self.path)
        self.owner = config_dir.owner
        self.values: Mapping[str, str] = {}
        self.problems: tuple[str, ...] = ()
        self._has_been_read = False
        self._stamp: StatStamp | None = None
        self.refresh()

    def refresh(self) -> None:
        # For a symlink, this is the stamp of the symlink itself, because such a key file is
        # refused.
        stamp = stat_stamp(self.path, follow=False)
        if self._has_been_read and stamp == self._stamp:
            return
        try:
            content = key_store.read(self.path)
            self.values, self.problems = content.values, content.problems
        except ConfigError as error:
            self.values, self.problems = {}, (error.describe(),)
        # Take the stamp after reading, because `key_store.read` may change the mode.
        self._has_been_read, self._stamp = True, stat_stamp(self.path, follow=False)
