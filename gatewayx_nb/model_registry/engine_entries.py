"""Reads ``config/engines.toml``, whose entries define engines for OpenAI-compatible endpoints."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from gatewayx_nb import llm_engines
from gatewayx_nb.errors import did_you_mean
from gatewayx_nb.files import quoted_path, read_toml
from gatewayx_nb.llm_engines import SchemaMode, ToolRules
from gatewayx_nb.model_registry import safety
from gatewayx_nb.model_registry.folders import is_installed, why_unusable
from gatewayx_nb.model_registry.loader import LoadedEngine
from gatewayx_nb.secure_config import FileStamp, engine_variable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from gatewayx_nb.llm_engines import LLMEngine
    from gatewayx_nb.model_registry.folders import Origin

_BASE_CLASSES = {"chat": "OpenAICompatibleEngine", "responses": "OpenAIResponsesEngine"}
"""Names of the base classes in `llm_engines`, by API; a class is imported when it is used."""

_CHOICES: Mapping[str, tuple[str, ...]] = {
    "api": tuple(_BASE_CLASSES),
    "schema": get_args(SchemaMode),
    "tool_rules": get_args(ToolRules),
}
"""The valid values of the fields that have a fixed set of values."""

_FIELDS_NOT_IN_FILE = ("name", "path", "origin", "refusal_reason", "warning", "shadowed_by")
"""Fields of an entry that are not in the file."""


@dataclass(frozen=True, slots=True)
class EngineEntry:
    """An entry of ``engines.toml``; the shipped ``config/engines.toml`` documents its fields.

    Attributes:
        path: The file; ``None`` if only a variable defines the entry.
        refusal_reason: Why the entry cannot be used; ``None`` if it can.
    """

    name: str
    path: Path | None
    origin: Origin
    refusal_reason: str | None = None
    warning: str = ""
    shadowed_by: str = ""
    base_url: str = ""
    model: str = ""
    api: Literal["chat", "responses"] = "chat"
    key: str = ""
    requires_key: bool = True
    max_tokens_field: str = "max_tokens"
    seed_field: str = "seed"
    stream_usage: bool = True
    cache_key: bool = False
    schema: SchemaMode = "strict"
    tool_rules: ToolRules = "openai"
    reasoning_field: str = ""
    key_header: str = "Authorization"
    key_prefix: str = "Bearer "
    prices: str = ""
    embedding_model: str = ""

    @property
    def label(self) -> str:
        """The location of the entry, in short form."""
        if self.path is None:
            return engine_variable(self.name, "BASE_URL")
        return self.path.name if self.origin == "shipped" else f"{self.origin}: {self.path.name}"

    @property
    def where(self) -> str:
        """The full location of the entry, for users to open."""
        return f"[{self.name}] in {self.path}" if self.path else self.label

    @property
    def settings(self) -> dict[str, Any]:
        """The values of the fields that a file may contain."""
        return {name: getattr(self, name) for name in _FIELDS}

    @property
    def base_class(self) -> type[LLMEngine]:
        """The base class, which speaks the dialect of the endpoint."""
        base: type[LLMEngine] = getattr(llm_engines, _BASE_CLASSES[self.api])
        return base

    def load(self) -> LoadedEngine:
        """Create the engine's class."""
        attributes = self.settings
        attributes["model_name"] = attributes.pop("model")
        attributes["schema_mode"] = attributes.pop("schema")
        attributes["unsupported_options"] = (
            frozenset() if attributes.pop("cache_key") else frozenset({"cache"})
        )
        base = self.base_class
        if self.embedding_model:
            attributes["features"] = base.features | {"embed"}
        return LoadedEngine(type(f"{self.name.title()}Engine", (base,), attributes))


_FIELDS = {
    field.name: field for field in fields(EngineEntry) if field.name not in _FIELDS_NOT_IN_FILE
}


class EnginesFile:
    """An ``engines.toml`` file, read again when it changes.

    Attributes:
        problem: Why the file cannot be read, in one line; empty if it can be read.
        entries: The entries, by name.
    """

    def __init__(self, path: Path, origin: Origin) -> None:
        self.path = path
        self.origin = origin
        self.problem = ""
        self.entries: list[EngineEntry] = []
        self._stamp: FileStamp | None = None

    def refresh(self) -> bool:
        """Read the file again if it has changed; return whether it has."""
        if self._stamp and not self._stamp.has_changed():
            return False
        stamp = FileStamp(self.path)
        self.problem, entries = "", []
        if stamp.exists:
            try:
                entries = sorted(self._read(), key=lambda entry: entry.name)
            except (OSError, ValueError) as error:
                shell_path = quoted_path(self.path)
                self.problem = (
                    f"the engine entries in {str(self.path)!r} cannot be read: {error}. "
                    f"Fix the file, or move the file away: `mv {shell_path} {shell_path}.off`."
                )
        self.entries, self._stamp = entries, stamp
        return True

    def _read(self) -> Iterator[EngineEntry]:
        tables = read_toml(self.path)
        is_exempt = is_installed(self.path)  # an installer sets the modes
        reason = None if is_exempt else safety.engine_table_refusal_reason(self.path)
        file_reason = reason and f"is in a file that {reason}"
        is_checked = not (is_exempt or reason)
        warning = safety.permission_warning(self.path, self.path.parent) if is_checked else ""
        for name, table in tables.items():
            entry = EngineEntry(name, self.path, self.origin, warning=warning)
            reason = why_unusable(name) or file_reason or _invalid_reason(table)
            yield replace(entry, refusal_reason=reason) if reason else replace(entry, **table)


def _invalid_reason(table: object) -> str | None:
    """Return why an entry is invalid, or ``None`` if it is valid."""
    if not isinstance(table, dict):
        return "is not a table"
    for key, value in table.items():
        if key not in _FIELDS:
            return f"has an unknown field {key!r}.{did_you_mean(key, _FIELDS)}".rstrip(".")
        # All fields of an entry are strings or booleans.
        expected_type = bool if isinstance(_FIELDS[key].default, bool) else str
        if not isinstance(value, expected_type):
            return f"has {key} = {value!r}, which must be a {expected_type.__name__}"
    for key, values in _CHOICES.items():
        if table.get(key, values[0]) not in values:
            return f"has {key} = {table[key]!r}, which must be {' or '.join(values)}"
    return None
