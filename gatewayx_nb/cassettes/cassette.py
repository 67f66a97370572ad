"""Replays and records calls, and raises errors for calls that are not in a cassette."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import weakref
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec
from typing_extensions import override

from gatewayx_nb.cassettes import cassette_lines, guard, privacy
from gatewayx_nb.cassettes.cassette_file import permission_hint, refuse_links
from gatewayx_nb.cassettes.cassette_writer import CassetteSession, CassetteWriter
from gatewayx_nb.cassettes.index import (
    CallGroup,
    CallKey,
    CassetteIndex,
    CassetteRequest,
    RecordingSlot,
    key_of_results,
)
from gatewayx_nb.cassettes.nearest import describe_differences, nearest
from gatewayx_nb.cassettes.usage_report import append_usage
from gatewayx_nb.errors import CassetteMissError, ConfigError, UsageError, did_you_mean
from gatewayx_nb.hints import Hint, as_hint, render
from gatewayx_nb.secure_config import redact as masked
from gatewayx_nb.secure_config import tracked_by_git
from gatewayx_nb.text import plain, shorten

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Self

    from gatewayx_nb.cassettes.entry import CassetteEntry
    from gatewayx_nb.cassettes.redaction import Redaction
    from gatewayx_nb.messages import ToolResult

Mode = Literal["auto", "record", "replay", "off"]

MODES: tuple[Mode, ...] = get_args(Mode)

log = logging.getLogger("gatewayx_nb")

_MAX_MODEL_CHARS = 100
"""Maximum number of characters of a recorded model's name in a message."""


class Cassette:
    """A file of recorded replies, usable as a context manager; see `EnginePool.cassette`.

    ``auto`` replays recorded calls and records the others; ``record`` makes every call and replaces
    its recording, unless the answer is the same; ``replay`` only replays; and ``off`` does nothing.
    Identical calls are replayed in the order in which they were recorded; after that, the last
    recording is replayed again. An open cassette takes precedence over all other stored answers.

    Args:
        path: The file; created with the first entry.
        mode: One of the modes above.
        redaction: Removes private text, and provides the keys that must not be written.
        speed: Replay speed relative to the recording; if omitted, replies are replayed immediately.
        root: The project or repository folder, if any; no symlink below it is followed.
        strict_model: Whether a recording is ignored if the call's reference has since changed to
            another model.
        must_exist: Whether a missing file is an error in mode ``replay``; otherwise, the first call
            raises the error.

    Raises:
        ConfigError: If the file is missing, unreadable, invalid or reached through a symlink, or if
            the mode is ``replay`` and the file contains different answers to the same call.

    Attributes:
        replayed: Number of calls replayed.
        recorded: Number of answers recorded.
        unchanged: Number of repeated calls whose answer was the same as the recorded answer.
        missed: Number of calls not found in ``replay`` mode.
        index: The recorded calls.
        on_close: Called once, when the cassette is closed.
        mode_variable: The environment variable that set the mode; empty if none did.
        runs_tools: Whether the tools of a replayed call are run, instead of replaying their
            results.
    """

    def __init__(  # noqa: PLR0913 - the settings of a file
        self,
        path: Path,
        mode: Mode,
        redaction: Redaction,
        speed: float | None = None,
        *,
        root: Path | None = None,
        strict_model: bool = False,
        must_exist: bool = True,
    ) -> None:
        refuse_links(path, root)
        self.path, self.mode, self.speed = path, mode, speed
        self.use_redaction(redaction)
        self.replayed = self.recorded = self.unchanged = self.missed = 0
        self._root, self._strict_model = root, strict_model
        self.mode_variable, self.runs_tools = "", False
        self.on_close: Callable[[Cassette], object] = lambda _: None
        self._lock = threading.Lock()  # many threads plan and record calls
        self.index = CassetteIndex()
        self._planned_counts: Counter[CallGroup] = Counter()
        self._calls: dict[CallKey, None] = {}  # in the order of planning
        self._writer = CassetteWriter(
            path, root, CassetteSession(self.index, self._calls, self._lock)
        )
        self._refused_count = 0
        self._refusal = self._failure = self._other_model_message = ""
        self._skipped_lines = self._load(must_exist=must_exist)
        _open_cassettes.add(self)

    def use_redaction(self, redaction: Redaction) -> None:
        """Replace the redaction with which the cassette was opened."""
        self.redact, self.secrets = redaction.redact, redaction.secrets
        self._prompts = redaction.prompts

    def __len__(self) -> int:
        return len(self.index)

    def __bool__(self) -> bool:
        return True  # an empty cassette is true, too; by default, `len` would decide

    @property
    def entries(self) -> list[CassetteEntry]:
        """All recorded calls."""
        return list(self.index.entries())

    @property
    def unused(self) -> list[CassetteEntry]:
        """The recorded calls that have not been made since the cassette was opened."""
        with self._lock:
            return [line.entry for key, line in self.index.keyed_lines() if key not in self._calls]

    @property
    def problem(self) -> str:
        """A one-line message about entries that were skipped or not written, or an empty string."""
        parts = [self._skipped_lines, self._other_model_message, self._refusal, self._failure]
        return " ".join(filter(None, [*parts[:1], self._conflict_message(), *parts[1:]]))

    @property
    def is_used(self) -> bool:
        """Whether any call has been made since the cassette was opened."""
        return bool(self._calls)

    @property
    def warning(self) -> str:
        """A warning if git tracks the cassette and an entry contains private text, or ``""``.

        See `privacy`.
        """
        if not len(self) or not tracked_by_git(self.path):
            return ""
        return privacy.tracked_warning(self.path)

    def find(
        self, request: CassetteRequest, *, renew: bool = False
    ) -> CassetteEntry | RecordingSlot:
        """Return the recorded call, or a slot for recording this call.

        Args:
            request: The call.
            renew: Whether to make the call even if it is recorded, and to replace its entry.

        Raises:
            CassetteMissError: If the call is not recorded and the mode is ``replay``.
            UsageError: If ``renew`` is set and the mode is ``replay``.
            ConfigError: If the call must be recorded but contains a key, or the file cannot be
                written.
        """
        if renew and self.mode == "replay":
            raise UsageError(
                f"renew cannot be used while {self.path.name!r} is open in mode replay.",
                hint=Hint("omit_option", option="renew")
                | Hint("open_cassette", path=self.path, mode="auto"),
            )
        with self._lock:
            line, repeat = self._plan(request, renew=renew or self.mode == "record")
        if line is not None:
            return line.entry
        # The lock is not held below, because all entries or the disk may be read.
        if self.mode == "replay":
            raise self.miss_error(request)
        guard.check(request.body, self.secrets())
        self._check_writable()
        return RecordingSlot(request, repeat)

    def recorded_results(self, request: CassetteRequest) -> tuple[ToolResult, ...] | None:
        """Return the recorded results of the tool calls at the end of a conversation.

        Args:
            request: A request whose last message has the tool results; their content is ignored.
                Equal requests get their results in the order in which they were recorded.

        Returns:
            The results in the order of the calls; ``None`` if they are not recorded and the mode is
            not ``replay``.

        Raises:
            CassetteMissError: If they are not recorded and the mode is ``replay``.
        """
        body = request.body
        with self._lock:
            key = (key_of_results(body), request.engine, request.model)
            results = self.index.results_after(request, self._planned_counts[key])
            self._planned_counts[key] += 1
        if results is not None and len(results) != len(body.last_tool_results):
            results = None  # the line has been edited
        if results is None and self.mode == "replay":
            names = ", ".join(repr(result.name) for result in body.last_tool_results)
            raise CassetteMissError(
                f"{self.path.name!r} has no results for the calls of {names}, or only digests.",
                hint=Hint("record_cassette", mode="auto")
                | "Run the tools with GATEWAYX_CASSETTE_TOOLS=run.",
            )
        return results

    def _plan(
        self, request: CassetteRequest, *, renew: bool
    ) -> tuple[cassette_lines.CassetteLine | None, int]:
        """Count a call; return the line that answers it, if any, and the call's ``repeat``."""
        group = self.index.find(request, may_match_reference=self.mode == "replay")
        recorded_lines = self.index.group_lines(group)
        planned_count = self._planned_counts[group]
        line = (
            recorded_lines[min(planned_count, len(recorded_lines) - 1)] if recorded_lines else None
        )
        is_usable = line is not None and not self._names_other_model(line.entry, request)
        if self.mode == "replay" and not is_usable:
            self.missed += 1
            return None, 0
        # Calls are counted when they are planned, because concurrent calls must not share a reply.
        self._planned_counts[group] += 1
        if line is not None and is_usable and not renew:
            self._calls.setdefault((group, line.entry.repeat))
            self.replayed += 1
            return line, line.entry.repeat
        # In mode `record`, further equal calls are added to the recorded calls.
        repeat = planned_count if line is None or self.mode == "record" else line.entry.repeat
        self._calls.setdefault((request.group, repeat))
        return None, repeat

    def fields(self, slot: RecordingSlot) -> dict[str, Any]:
        """Return the fields of an entry that identify its call, and the time."""
        request = slot.request
        identity = {
            name: getattr(request, name) for name in ("reference", "engine", "model", "resolved")
        }
        recorded_at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {"recorded": recorded_at, **identity, "repeat": slot.repeat}

    def record(self, make_entry: Callable[[], CassetteEntry]) -> None:
        """Write an entry to disk before returning; keep the old line if its answer is the same.

        The reply has been paid for, so a failure to write does not raise an error; see `problem`.
        If the disk is full, the entry is kept in memory: it can be replayed, and will be written
        with the next entry or when the cassette is closed. An entry that contains a key, or that
        the user's hook cannot redact, is dropped.

        Args:
            make_entry: Returns the redacted entry.
        """
        try:
            entry = make_entry()
            guard.check(entry, self.secrets())
        except ConfigError as error:
            with self._lock:
                self._note_refusal(error)
            return
        if self._prompts == "digest":
            body = entry.request.as_digests()
            entry = msgspec.structs.replace(entry, request=body, result_images=())
        with self._lock:
            self.unchanged += not self._writer.add(entry)
        self._write()

    def _write(self) -> None:
        try:
            count = self._writer.write()
        except ConfigError as error:
            self._note_failure(error)
            return
        with self._lock:
            self.recorded += count
            self._failure = ""

    def prune(self) -> int:
        """Remove the entries that were not used since the cassette was opened.

        Of two lines that record different answers to the same call, the older line is removed. If
        there are such lines, or if no call has been made since the cassette was opened, unused
        entries are kept.

        Returns:
            The number of lines removed.

        Raises:
            ConfigError: If the file cannot be written.
        """
        self._write()
        return self._writer.prune()

    def continue_use(self, other: Cassette) -> None:
        """Count another cassette's calls as made with this cassette; both have the same file."""
        with other._lock:
            earlier_calls = dict(other._calls)
        with self._lock:
            later_calls = list(self._calls)
            self._calls.clear()
            self._calls.update(earlier_calls | dict.fromkeys(later_calls))
        self.replayed, self.recorded = other.replayed, other.recorded
        self.unchanged, self.missed = other.unchanged, other.missed

    def _names_other_model(self, entry: CassetteEntry, request: CassetteRequest) -> bool:
        """Return whether a call must be repeated because its reference now names another model.

        Without ``strict_model``, log this once and return False.
        """
        if not (entry.resolved and request.resolved) or entry.resolved == request.resolved:
            return False
        if self._strict_model:
            return True
        if not self._other_model_message:
            name = repr(request.reference) if request.reference else "the default model"
            recorded_model = shorten(entry.resolved, _MAX_MODEL_CHARS)
            self._other_model_message = (
                f"{self.path.name!r} was recorded with {recorded_model}; {name} is"
                f" {request.resolved} now."
            )
            log.warning("%s %s", self._other_model_message, render(Hint("renew_recording")))
        return False

    def _conflict_message(self) -> str:
        if not self.index.conflicts:
            return ""
        first, second = (line.number for line in next(iter(self.index.conflicts.values())))
        return f"Lines {first} and {second} record different answers to the same call."

    def _note_refusal(self, error: ConfigError) -> None:
        self._refused_count += 1
        text = self._unrecorded_message(error, self._refused_count, "")
        if not self._refusal:
            log.warning("%s", text)
        self._refusal = text

    def _note_failure(self, error: ConfigError) -> None:
        text = self._unrecorded_message(error, self._writer.unwritten_count, " yet")
        if not self._failure:
            log.warning("%s", text)
        self._failure = text

    def _unrecorded_message(self, error: ConfigError, count: int, suffix: str) -> str:
        """Return one line that says why replies are not recorded, without any key."""
        subject = "1 reply is" if count == 1 else f"{count:,} replies are"
        hint = render(error.hint) if error.hint else ""
        line = f"{error.message} {subject} not recorded{suffix}. {hint}".rstrip()
        return masked(plain(line), self.secrets().values())

    def finish(self) -> None:
        """Write the remaining entries, and put the lines of the file in order."""
        self._write()
        self._writer.finish()
        if self.mode != "off":
            append_usage(self.path, len(self), lambda: self.unused)

    def close(self) -> None:
        """Close the cassette and restore the cassette that was open before."""
        self.finish()
        _open_cassettes.discard(self)
        self.on_close(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @override
    def __repr__(self) -> str:
        entries = "1 entry" if len(self) == 1 else f"{len(self)} entries"
        return f"Cassette({self.path.name!r}, {self.mode!r}, {entries})"

    def _load(self, *, must_exist: bool) -> str:
        may_be_missing = self.mode != "replay" or not must_exist
        if self.mode == "off" or (may_be_missing and not os.path.exists(self.path)):
            return ""
        content = cassette_lines.read(self.path)
        for line in content.lines:
            self.index.load(line)
        if self.mode == "replay" and self.index.conflicts:
            raise ConfigError(
                f"{str(self.path)!r} cannot be replayed. {self._conflict_message()}",
                hint=Hint("prune_cassette", path=self.path),
            )
        if self.mode != "replay":
            self._check_writable()
            self._writer.is_arranged = content.is_arranged
        return content.problem

    def _check_writable(self) -> None:
        refuse_links(self.path, self._root)  # a symlink may have been created by now
        remedy = permission_hint(self.path)
        if remedy:
            raise ConfigError(
                f"the cassette {str(self.path)!r} cannot be written.",
                hint=as_hint(remedy) | Hint("open_cassette", path=self.path, mode="replay"),
            )

    def miss_error(self, request: CassetteRequest) -> CassetteMissError:
        """Return the error for a call that is not recorded, with the nearest recorded call."""
        message = f"the call is not in the cassette {self.path.name!r}"
        nearest_entry = nearest(self.entries, request.engine, request.body)
        if nearest_entry is None:
            message += (
                ", which is empty." if os.path.exists(self.path) else ", which does not exist."
            )
        else:
            parts = describe_differences(nearest_entry, request.engine, request.model, request.body)
            message += (
                f". The nearest one: {parts or self._other_model_of(nearest_entry, request)}."
            )
        return CassetteMissError(
            masked(message, self.secrets().values()),
            hint=self.record_hint() | Hint("bypass_cassette"),
            engine=request.engine or None,
            model=request.model or None,
        )

    def record_hint(self) -> Hint:
        """Return a hint on how to record the missing calls."""
        if self.mode_variable:
            return Hint("record_without_variable", variable=self.mode_variable)
        return Hint("record_cassette", mode="auto")

    def _other_model_of(self, entry: CassetteEntry, request: CassetteRequest) -> str:
        if self._names_other_model(entry, request):
            recorded_model = shorten(entry.resolved, _MAX_MODEL_CHARS)
            return f"it was recorded with {recorded_model}, not {request.resolved}"
        return (
            f"it was recorded for {entry.reference!r}"
            if entry.reference
            else ("it was recorded for the default model")
        )


_open_cassettes: weakref.WeakSet[Cassette] = weakref.WeakSet()
"""The open cassettes, which are finished at interpreter exit."""


@atexit.register
def finish_all() -> None:
    """Finish the open cassettes, for a kernel that may be killed before it exits."""
    for cassette in list(_open_cassettes):
        cassette.finish()


def parse_mode(mode: str, argument: str = "mode") -> Mode:
    """Validate a mode.

    Raises:
        UsageError: If the mode is invalid; the message suggests the nearest mode.
    """
    for valid_mode in MODES:
        if mode == valid_mode:
            return valid_mode
    raise UsageError(
        f"{argument} must be one of {', '.join(MODES)}, got {mode!r}."
        f"{did_you_mean(str(mode), MODES)}",
        hint=Hint("set_option", option="mode", value="replay"),
    )
