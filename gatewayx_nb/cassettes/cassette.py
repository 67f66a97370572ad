"""`Cassette`: replays, recordings and cassette misses."""

from __future__ import annotations

import logging
import os
import re
import threading
from bisect import bisect_left, insort
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, get_args

from typing_extensions import override

from gatewayx_nb.cassettes import guard, tape
from gatewayx_nb.cassettes.entry import encode
from gatewayx_nb.cassettes.nearest import describe_differences, nearest
from gatewayx_nb.errors import CassetteMissError, ConfigError, UsageError, did_you_mean
from gatewayx_nb.hints import Hint, as_hint, render
from gatewayx_nb.messages import ModelInfo
from gatewayx_nb.secure_config import redact as masked
from gatewayx_nb.secure_config import tracked_by_git
from gatewayx_nb.text import plain

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Self

    from gatewayx_nb.cassettes.entry import CassetteEntry, RequestBody
    from gatewayx_nb.cassettes.redaction import Redaction
    from gatewayx_nb.cassettes.tape import TapeLine

Mode = Literal["auto", "record", "replay", "off"]

MODES: tuple[Mode, ...] = get_args(Mode)

log = logging.getLogger("gatewayx_nb")

_TABLE = re.compile(r"^[ \t]*\|.*\|[ \t]*\n[ \t]*\|[ \t:|-]*-[ \t:|-]*\|[ \t]*$", re.MULTILINE)
"""A Markdown table, which is how a DataFrame is put into a prompt."""

_GroupKey = tuple[bytes, str, str]
"""The digest, engine and model, which are the same for equal calls."""


@dataclass(frozen=True, slots=True)
class CassetteRequest:
    """The parts of a call by which a cassette finds it.

    Attributes:
        reference: The reference as typed; empty for the default model.
        engine: The engine's name; empty if only a cassette can resolve it.
        model: The model's name; empty for the engine's default.
        body: The request.
    """

    reference: str
    engine: str
    model: str
    body: RequestBody


@dataclass(frozen=True, slots=True)
class RecordingSlot:
    """A call to be recorded; ``repeat`` counts the equal calls planned before it."""

    request: CassetteRequest
    repeat: int


class Cassette:
    """A file of recorded replies, usable as a context manager; see `EnginePool.cassette`.

    ``auto`` replays recorded calls and records the others; ``record`` makes every call and replaces
    its recording; ``replay`` only replays; and ``off`` does nothing. Equal calls are replayed in
    the order in which they were made; once all have been replayed, the last one is repeated.

    Args:
        path: The file; created with the first entry.
        mode: One of the modes above.
        speed: Replay speed relative to the recording; if omitted, replies are replayed immediately.
        redaction: Removes private text, and provides the keys that must not be written.
        root: The project folder, if any; no symlink below it is followed.

    Raises:
        ConfigError: If the file is missing, unreadable, invalid or reached through a symlink.

    Attributes:
        replayed: Number of calls replayed.
        recorded: Number of calls recorded.
        missed: Number of calls not found in ``replay`` mode.
        on_close: Called once, when the cassette is closed.
    """

    def __init__(
        self,
        path: Path,
        mode: Mode,
        redaction: Redaction,
        speed: float | None = None,
        root: Path | None = None,
    ) -> None:
        tape.refuse_links(path, root)
        self.path, self.mode, self.speed = path, mode, speed
        self.redact = redaction.redact
        self.replayed = self.recorded = self.missed = 0
        self.secrets, self._root = redaction.secrets, root
        self.on_close: Callable[[Cassette], object] = lambda _: None
        self._lock = threading.Lock()  # many threads plan and record calls
        self._groups: dict[_GroupKey, list[TapeLine]] = {}
        self._by_digest: dict[bytes, list[_GroupKey]] = {}
        self._planned: Counter[_GroupKey] = Counter()
        self._unwritten: list[CassetteEntry] = []
        self._refused = 0
        self._refusal = self._failure = ""
        self._skipped = self._load()

    def use_redaction(self, redaction: Redaction) -> None:
        """Apply another redaction from now on."""
        self.redact, self.secrets = redaction.redact, redaction.secrets

    def __len__(self) -> int:
        return sum(map(len, self._groups.values()))

    def __bool__(self) -> bool:
        return True  # an empty cassette is true, too; otherwise, `len` would decide

    @property
    def entries(self) -> list[CassetteEntry]:
        """All recorded calls."""
        return [line.entry for lines in self._groups.values() for line in lines]

    @property
    def problem(self) -> str:
        """One line about entries that were skipped or not written; empty if there are none."""
        return " ".join(filter(None, [self._skipped, self._refusal, self._failure]))

    @property
    def warning(self) -> str:
        """Warning if git tracks the cassette and a prompt contains tabular data."""
        messages = (message for entry in self.entries for message in entry.request.messages)
        has_table = any(_TABLE.search(message.text) for message in messages)
        # Tables are looked for first, because asking git starts a process.
        if not has_table or not tracked_by_git(self.path):
            return ""
        return (
            f"{self.path.name} is tracked by git, and a prompt in it contains a table: check that"
            ' its rows may be published. [cassettes] redact = "module:function" removes private'
            " values."
        )

    def models(self) -> list[ModelInfo]:
        """Return the requested models; for an engine's default, the model that replied."""
        models: dict[tuple[str, str], ModelInfo] = {}
        for entry in self.entries:
            reply, engine, model = entry.reply, entry.engine, entry.model
            # A fallback engine replied; the model requested from it is not recorded.
            if reply and reply.fallback_from:
                engine, model = reply.engine, ""
            actual = reply.model if reply else ""
            previous = models.get((engine, model))
            if previous is None or not previous.model:
                models[engine, model] = ModelInfo(engine, model or actual, default=not model)
        return sorted(models.values(), key=lambda info: (info.engine, not info.default, info.model))

    def default_reference(self) -> str | None:
        """Return the reference of the latest recorded call to the default model."""
        entries = [entry for entry in self.entries if not entry.reference]
        return f"{entries[-1].engine}:{entries[-1].model}".rstrip(":") if entries else None

    def has_engine(self, engine: str) -> bool:
        """Return whether any call to the given engine is recorded."""
        return any(engine == known for _, known, _ in self._groups)

    def knows(self, reference: str, engine: str) -> bool:
        """Return whether any recorded call has this reference or went to this engine."""
        return self.has_engine(engine) or any(
            entry.reference == reference for entry in self.entries
        )

    def find(self, request: CassetteRequest) -> CassetteEntry | RecordingSlot:
        """Return the recorded call, or a slot for recording this one.

        Raises:
            CassetteMissError: If the call is not recorded and the mode is ``replay``.
            ConfigError: If the call is to be recorded but contains a key or cannot be written.
        """
        with self._lock:
            group = self._group(request)
            repeat = self._planned[group]
            known = self._groups.get(group, ()) if self.mode != "record" else ()
            # Calls are counted when they are planned: concurrent calls must not share a reply.
            if known or self.mode != "replay":
                self._planned[group] += 1
            if known:
                self.replayed += 1
                return known[min(repeat, len(known) - 1)].entry
            if self.mode == "replay":
                self.missed += 1
        # This is outside the lock, because it reads all entries or the disk.
        if self.mode == "replay":
            raise self._miss_error(request)
        guard.check(request.body, self.secrets())
        self._check_writable()
        return RecordingSlot(request, repeat)

    def fields(self, slot: RecordingSlot) -> dict[str, Any]:
        """Return the entry fields that identify a call: time, reference, engine, model, repeat."""
        request = slot.request
        identity = {name: getattr(request, name) for name in ("reference", "engine", "model")}
        recorded = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {"recorded": recorded, **identity, "repeat": slot.repeat}

    def record(self, make_entry: Callable[[], CassetteEntry]) -> None:
        """Write an entry to disk before returning.

        The reply has been paid for, so a failure does not raise an error; `problem` describes it.
        If the disk is full, the entry is kept in memory: it can be replayed, and is written with
        the next entry or when the cassette is closed. An entry that contains a key, or that the
        user's hook cannot redact, is dropped.

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
        with self._lock:
            self._unwritten.append(entry)
            self._write()

    def _write(self) -> None:
        """Write the entries that are not in the file yet."""
        while self._unwritten:
            entry = self._unwritten[0]
            line = tape.TapeLine(entry, encode(entry))
            old = self._remember(line)
            try:
                # If the line to replace was never written, it is not found, and this line is added.
                tape.append(self.path, line.data, old.data if old else None, self._root)
            except ConfigError as error:
                self._note_failure(error)
                return
            self._unwritten.pop(0)
            self.recorded += 1
        self._failure = ""

    def _note_refusal(self, error: ConfigError) -> None:
        self._refused += 1
        text = self._unrecorded_message(error, self._refused, "")
        if not self._refusal:
            log.warning("%s", text)
        self._refusal = text

    def _note_failure(self, error: ConfigError) -> None:
        text = self._unrecorded_message(error, len(self._unwritten), " yet")
        if not self._failure:
            log.warning("%s", text)
        self._failure = text

    def _unrecorded_message(self, error: ConfigError, count: int, yet: str) -> str:
        """Return one line that says why replies are not recorded, without any key."""
        what = "1 reply is" if count == 1 else f"{count:,} replies are"
        hint = render(error.hint) if error.hint else ""
        line = f"{error.message} {what} not recorded{yet}. {hint}".rstrip()
        return masked(plain(line), self.secrets().values())

    def _remember(self, line: TapeLine) -> TapeLine | None:
        """Add a line to those in memory; return the one that it replaces, if any."""
        repeat, entry = line.entry.repeat, line.entry
        group = self._groups.get((entry.request.digest, entry.engine, entry.model), [])
        at = bisect_left(group, repeat, key=_repeat)
        if at == len(group) or _repeat(group[at]) != repeat:
            self._add(line)
            return None
        old, group[at] = group[at], line
        return old

    def close(self) -> None:
        """Close the cassette and restore the one that was open before it."""
        with self._lock:
            self._write()
        self.on_close(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @override
    def __repr__(self) -> str:
        entries = "1 entry" if len(self) == 1 else f"{len(self)} entries"
        return f"Cassette({self.path.name!r}, {self.mode!r}, {entries})"

    def _load(self) -> str:
        if self.mode == "off" or (self.mode != "replay" and not os.path.exists(self.path)):
            return ""
        content = tape.read(self.path)
        for line in content.lines:
            self._add(line)
        if self.mode != "replay":
            self._check_writable()
        return content.problem

    def _add(self, line: TapeLine) -> None:
        group = (line.entry.request.digest, line.entry.engine, line.entry.model)
        equal_lines = self._groups.setdefault(group, [])
        if not equal_lines:
            self._by_digest.setdefault(group[0], []).append(group)
        insort(equal_lines, line, key=_repeat)  # sorting them again would take quadratic time

    def _group(self, request: CassetteRequest) -> _GroupKey:
        """Return a request's group, found by its engine or else by the reference as typed."""
        digest = request.body.digest
        group = (digest, request.engine, request.model)
        if group in self._groups or (self.mode != "replay" and request.engine):
            return group
        # The reference may have named another engine when the call was recorded.
        for recorded in reversed(self._by_digest.get(digest, [])):
            if any(line.entry.reference == request.reference for line in self._groups[recorded]):
                return recorded
        return group

    def _check_writable(self) -> None:
        tape.refuse_links(self.path, self._root)  # since the file was opened, one may have come
        remedy = tape.permission_hint(self.path)
        if remedy:
            raise ConfigError(
                f"The cassette {str(self.path)!r} cannot be written.",
                hint=as_hint(remedy) | Hint("open_cassette", path=self.path, mode="replay"),
            )

    def _miss_error(self, request: CassetteRequest) -> CassetteMissError:
        message = f"The call is not in the cassette {self.path.name!r}"
        near = nearest(self.entries, request.engine, request.body)
        if near is None:
            message += ", which is empty."
        else:
            parts = describe_differences(near, request.engine, request.model, request.body)
            message += f". The nearest one: {parts or 'it was recorded for another reference'}."
        return CassetteMissError(
            masked(message, self.secrets().values()),
            hint=Hint("record_cassette", mode="auto") | Hint("bypass_cassette"),
            engine=request.engine or None,
            model=request.model or None,
        )


def _repeat(line: TapeLine) -> int:
    return line.entry.repeat


def parse_mode(mode: str, where: str = "mode") -> Mode:
    """Validate a mode.

    Raises:
        UsageError: If the mode is invalid; the message suggests the nearest one.
    """
    for known in MODES:
        if mode == known:
            return known
    raise UsageError(
        f"{where} must be one of {', '.join(MODES)}, got {mode!r}.{did_you_mean(str(mode), MODES)}",
        hint=Hint("set_option", option="mode", value="replay"),
    )
