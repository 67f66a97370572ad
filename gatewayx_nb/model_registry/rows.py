"""Engines that are a row of ``config/engines.toml``: endpoints that speak OpenAI's dialect."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

from gatewayx_nb.errors import ConfigError, nearest
from gatewayx_nb.llm_engines import LLMEngine, OpenAICompatibleEngine, OpenAIResponsesEngine
from gatewayx_nb.model_registry.loader import Loaded
from gatewayx_nb.secure_config import Stamp, stamp

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from gatewayx_nb.model_registry.folders import Origin

_BASES: Mapping[str, type[LLMEngine]] = {
    "chat": OpenAICompatibleEngine,
    "responses": OpenAIResponsesEngine,
}

_PLACE = ("name", "path", "origin", "refusal", "shadowed_by")
"""Fields of a row that do not stand in it."""


@dataclass(frozen=True, slots=True)
class EngineRow:
    """One row; `config/engines.toml` tells what its fields mean."""

    name: str
    path: Path
    origin: Origin
    refusal: str | None = None
    shadowed_by: Path | None = None
    base_url: str = ""
    model: str = ""
    api: Literal["chat", "responses"] = "chat"
    key: str = ""
    requires_key: bool = True
    max_tokens_field: str = "max_tokens"
    seed_field: str = "seed"
    stream_usage: bool = True
    key_header: str = "Authorization"
    key_prefix: str = "Bearer "
    prices: str = ""
    embedding_model: str = ""

    @property
    def label(self) -> str:
        """Where it is, briefly."""
        return self.path.name if self.origin == "shipped" else f"{self.origin}: {self.path.name}"

    def load(self) -> Loaded:
        """Make the class of its engine."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        attributes = {name: value for name, value in values.items() if name not in _PLACE}
        attributes["model_name"] = attributes.pop("model")
        base = _BASES[self.api]
        if self.embedding_model:
            attributes["features"] = base.features | {"embed"}
        return Loaded(type(f"{self.name.title()}Engine", (base,), attributes), None, {})


class RowFile:
    """One ``engines.toml``, read again when its stamp changes."""

    def __init__(self, path: Path, origin: Origin) -> None:
        self.path = path
        self.origin = origin
        self.problem: ConfigError | None = None
        self._stamp: Stamp | None = None
        self._rows: list[EngineRow] = []

    def rows(self) -> list[EngineRow]:
        """Give its rows, by name; none where it cannot be read, and `problem` says why."""
        now = stamp(self.path)
        if now != self._stamp:
            self._rows, self.problem, self._stamp = [], None, now
            try:
                self._rows = sorted(self._read(), key=lambda row: row.name) if now else []
            except ConfigError as problem:
                self.problem = problem
        return self._rows

    def _read(self) -> Iterator[EngineRow]:
        try:
            tables = tomllib.loads(self.path.read_text(encoding="utf-8-sig"))
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"the engine rows {str(self.path)!r} cannot be read: {error}.",
                mend=f"Mend that line, or move the file away: `mv {self.path} {self.path}.off`.",
            ) from None
        for name, table in tables.items():
            yield EngineRow(
                name=name, path=self.path, origin=self.origin, **self._checked(name, table)
            )

    def _checked(self, name: str, table: object) -> dict[str, Any]:
        known = {field.name: field for field in fields(EngineRow) if field.name not in _PLACE}
        if not isinstance(table, dict):
            raise self._fault(name, "it is no table")
        for key, value in table.items():
            if key not in known:
                raise self._fault(name, f"unknown field {key!r}.{nearest(key, known)}")
            wanted = bool if isinstance(known[key].default, bool) else str
            if not isinstance(value, wanted):
                raise self._fault(name, f"{key} is {value!r}; expected {wanted.__name__}")
        if table.get("api", "chat") not in _BASES:
            raise self._fault(name, f"api is {table['api']!r}; expected {' or '.join(_BASES)}")
        return table

    def _fault(self, name: str, why: str) -> ConfigError:
        return ConfigError(
            f"the row [{name}] in {self.path} cannot be used: {why.rstrip('.')}.",
            mend="Mend that line of the file.",
        )
