"""Finds the entries of an open cassette by request."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from gatewayx_nb.messages import ModelInfo

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sequence

    from gatewayx_nb.cassettes.cassette_lines import CassetteLine
    from gatewayx_nb.cassettes.entry import CassetteEntry
    from gatewayx_nb.cassettes.request_body import RequestBody
    from gatewayx_nb.messages import ToolResult

CallGroup = tuple[bytes, str, str]
"""The digest, engine and model, which are the same for equal calls."""

CallKey = tuple[CallGroup, int]
"""A group, and the number of equal calls before this call."""


@dataclass(frozen=True, slots=True)
class CassetteRequest:
    """The parts of a call that identify its recording in a cassette.

    Attributes:
        reference: The reference as typed; empty for the default model.
        engine: The engine's name; empty if only a cassette can resolve it.
        model: The model's name; empty for the engine's default.
        body: The request.
        resolved: The model to which the reference currently resolves; empty if unknown.
    """

    reference: str
    engine: str
    model: str
    body: RequestBody
    resolved: str = ""

    @property
    def group(self) -> CallGroup:
        """The group under which a new recording is stored."""
        return self.body.digest, self.engine, self.model


@dataclass(frozen=True, slots=True)
class RecordingSlot:
    """A call to be recorded; ``repeat`` counts the equal calls planned before it."""

    request: CassetteRequest
    repeat: int


class CassetteIndex:
    """The entries of a cassette by request; equal calls are ordered by ``repeat``.

    Attributes:
        conflicts: The calls with different answers, for example from two merged branches, each
            with the first two of its lines that differ; the newer answer is used.
        duplicates: The lines that are ignored because a newer line records the same call.
    """

    def __init__(self) -> None:
        self.conflicts: dict[CallKey, tuple[CassetteLine, CassetteLine]] = {}
        self.duplicates: dict[CallKey, list[CassetteLine]] = {}
        self._groups: dict[CallGroup, list[CassetteLine]] = {}
        self._groups_by_digest: dict[bytes, list[CallGroup]] = {}
        self._results: dict[bytes, dict[CallKey, CassetteLine]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._groups.values()))

    def lines(self) -> Iterator[CassetteLine]:
        """Yield every line that is used."""
        for group in self._groups.values():
            yield from group

    def keyed_lines(self) -> Iterator[tuple[CallKey, CassetteLine]]:
        """Yield every line that is used, with the key of its call."""
        for group, lines in self._groups.items():
            for line in lines:
                yield (group, line.entry.repeat), line

    def entries(self) -> Iterator[CassetteEntry]:
        """Yield every entry that is used."""
        for line in self.lines():
            yield line.entry

    def load(self, line: CassetteLine) -> None:
        """Add a line of the file; if two lines record the same call, keep the newer line."""
        old_line = self.put(line)
        if old_line is None or old_line.data == line.data:
            return
        key = _call_key(line)
        if not old_line.entry.has_same_answer(line.entry):
            self.conflicts.setdefault(key, (old_line, line))
        if old_line.entry.recorded > line.entry.recorded:
            old_line, line = line, old_line
            self.put(line)
        self.duplicates.setdefault(key, []).append(old_line)

    def put(self, line: CassetteLine) -> CassetteLine | None:
        """Add a line, and return the line that it replaces, if any."""
        entry = line.entry
        key = _call_key(line)
        group = self._groups.setdefault(key[0], [])
        if not group:
            self._groups_by_digest.setdefault(key[0][0], []).append(key[0])
        self._lines_with_results(entry.request)[key] = line  # in the place of the old line
        position = bisect_left(group, entry.repeat, key=_repeat)
        if position == len(group) or _repeat(group[position]) != entry.repeat:
            group.insert(position, line)  # sorting the group again would take quadratic time
            return None
        old_line, group[position] = group[position], line
        return old_line

    def forget_duplicates(self, key: CallKey | None = None) -> list[CassetteLine]:
        """Remove and return the ignored lines of one call or all calls, with their conflicts."""
        forgotten_lines = []
        for duplicate_key in list(self.duplicates) if key is None else [key]:
            forgotten_lines += self.duplicates.pop(duplicate_key, [])
            self.conflicts.pop(duplicate_key, None)
        return forgotten_lines

    def remove(self, unwanted_keys: set[CallKey]) -> list[CassetteLine]:
        """Remove and return the lines of calls."""
        removed_lines = [line for key, line in self.keyed_lines() if key in unwanted_keys]
        for group in {key[0] for key in unwanted_keys}:
            lines = self._groups.get(group, [])
            lines[:] = [line for line in lines if (group, line.entry.repeat) not in unwanted_keys]
            if not lines and self._groups.pop(group, None) is not None:
                self._groups_by_digest[group[0]].remove(group)
        for line in removed_lines:
            self._lines_with_results(line.entry.request).pop(_call_key(line), None)
        return removed_lines

    def calls_with_different_results(
        self, entry: CassetteEntry, used_keys: Container[CallKey]
    ) -> set[CallKey]:
        """Return the recorded calls that sent different results of the same tool calls.

        Args:
            entry: The entry of a request that sends tool results.
            used_keys: The calls made since the cassette was opened, which are not returned.
        """
        keys = {
            key
            for key, line in self._lines_with_results(entry.request).items()
            if (line.entry.engine, line.entry.model) == (entry.engine, entry.model)
        }
        return {key for key in keys if key not in used_keys}

    def find(self, request: CassetteRequest, *, may_match_reference: bool) -> CallGroup:
        """Return the group of a request, or a recorded group with the same body and reference.

        Args:
            request: The request.
            may_match_reference: Whether to return a group of another engine or model, with the same
                reference, if the request's own group is not recorded.
        """
        group = request.group
        if group in self._groups or (not may_match_reference and request.engine):
            return group
        # The reference may have resolved to another engine when the call was recorded.
        for recorded_group in reversed(self._groups_by_digest.get(group[0], [])):
            if any(
                line.entry.reference == request.reference for line in self._groups[recorded_group]
            ):
                return recorded_group
        return group

    def results_after(self, request: CassetteRequest, number: int) -> tuple[ToolResult, ...] | None:
        """Return the recorded results of the tool calls at the end of a conversation, if any.

        The request that follows the calls contains them.

        Args:
            request: A request that ends with tool results, whose content is ignored.
            number: Number of equal calls before this call.
        """
        lines = list(self._lines_with_results(request.body).values())
        engine_and_model = request.engine, request.model
        # Two models that call the same functions may receive different results.
        model_lines = [
            line for line in lines if (line.entry.engine, line.entry.model) == engine_and_model
        ] or lines
        if not model_lines:
            return None
        return model_lines[min(number, len(model_lines) - 1)].entry.tool_results()

    def _lines_with_results(self, body: RequestBody) -> dict[CallKey, CassetteLine]:
        """Return the lines that differ from a request only in the results of tools at its end."""
        if not body.last_tool_results:
            return {}
        return self._results.setdefault(key_of_results(body), {})

    def group_lines(self, group: CallGroup) -> Sequence[CassetteLine]:
        """Return the lines of equal calls in order; empty if none is recorded."""
        return self._groups.get(group, ())

    def line(self, key: CallKey) -> CassetteLine | None:
        """Return the line of a call, if it is recorded."""
        group, repeat = key
        lines = self._groups.get(group, [])
        position = bisect_left(lines, repeat, key=_repeat)
        is_found = position < len(lines) and _repeat(lines[position]) == repeat
        return lines[position] if is_found else None

    def has_engine(self, engine: str) -> bool:
        """Return whether any call to the given engine is recorded."""
        return any(engine == recorded_engine for _, recorded_engine, _ in self._groups)

    def knows(self, reference: str, engine: str) -> bool:
        """Return whether any recorded call has this reference or went to this engine."""
        return self.has_engine(engine) or any(
            entry.reference == reference for entry in self.entries()
        )

    def models(self) -> list[ModelInfo]:
        """Return the requested models; for an engine's default model, the model that replied."""
        models: dict[tuple[str, str], ModelInfo] = {}
        for entry in self.entries():
            if entry.lists_tools:
                continue
            metadata, engine, model = entry.figures, entry.engine, entry.model
            # A fallback engine replied; the model that was requested from it is not recorded.
            if metadata and metadata.fallback_from:
                engine, model = metadata.engine, ""
            actual_model = metadata.model if metadata else ""
            previous = models.get((engine, model))
            if previous is None or not previous.model:
                models[engine, model] = ModelInfo(engine, model or actual_model, default=not model)
        return sorted(models.values(), key=lambda info: (info.engine, not info.default, info.model))

    def default_reference(self) -> str | None:
        """Return the reference of the latest recorded call to the default model."""
        entries = [entry for entry in self.entries() if not entry.reference]
        return f"{entries[-1].engine}:{entries[-1].model}".rstrip(":") if entries else None


def key_of_results(body: RequestBody) -> bytes:
    """Return the key of the tool results at the end of a request: the digest without these results.

    ``tool_choice`` is ignored, because only the first request of a call may force a tool.
    """
    earlier_messages = body.messages[:-1]
    return msgspec.structs.replace(body, messages=earlier_messages, tool_choice=None).digest


def _call_key(line: CassetteLine) -> CallKey:
    entry = line.entry
    return (entry.request.digest, entry.engine, entry.model), entry.repeat


def _repeat(line: CassetteLine) -> int:
    return line.entry.repeat
