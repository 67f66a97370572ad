"""`Cassette`: what is played back, what is recorded, and what is on none."""

from __future__ import annotations

import re
import threading
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, get_args

from typing_extensions import override

from gatewayx_nb.cassettes import guard, tape
from gatewayx_nb.cassettes.entry import encode
from gatewayx_nb.cassettes.nearest import differences, nearest
from gatewayx_nb.errors import CassetteMissError, ConfigError, UsageError
from gatewayx_nb.errors import nearest as nearest_name
from gatewayx_nb.messages import ModelInfo
from gatewayx_nb.secure_config import redact as masked
from gatewayx_nb.secure_config import tracked

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Self

    from gatewayx_nb.cassettes.entry import Body, Entry
    from gatewayx_nb.cassettes.redaction import Discretion
    from gatewayx_nb.cassettes.tape import Line

Mode = Literal["auto", "record", "replay", "off"]

MODES: tuple[Mode, ...] = get_args(Mode)

_TABLE = re.compile(r"^[ \t]*\|.*\|[ \t]*\n[ \t]*\|[ \t:|-]*-[ \t:|-]*\|[ \t]*$", re.MULTILINE)
"""A table of Markdown, which is how a DataFrame goes into a prompt."""

_Group = tuple[bytes, str, str]


@dataclass(frozen=True, slots=True)
class Asked:
    """A call, as a cassette looks for it.

    Attributes:
        reference: As it was typed; empty where the default model is meant.
        engine: The engine that is meant; empty where only a cassette could tell.
        model: The model that is named; empty for the engine's own.
        body: What is asked.
    """

    reference: str
    engine: str
    model: str
    body: Body


@dataclass(frozen=True, slots=True)
class Ticket:
    """The place of a call that is to be recorded: how many equal ones were planned before."""

    asked: Asked
    repeat: int


class Cassette:
    """Recorded replies; `EnginePool.cassette` opens one, and leaving it closes it.

    ``auto`` plays back what is recorded and records the rest, ``record`` asks again and renews,
    ``replay`` plays back alone, ``off`` does nothing. Equal calls are played back in the order in
    which they were made, and after the last one that one again.

    Args:
        path: The file; made by the first entry.
        mode: What it does.
        speed: How many times as fast as recorded an answer comes; at once where it is left out.
        discretion: What is kept out of it.
        closed: Called once, when it is closed.

    Raises:
        ConfigError: The file does not serve.

    Attributes:
        replayed: How many calls were played back.
        recorded: How many were recorded.
        missed: How many were not found in ``replay``.
        problem: What of the file was passed over, in one line.
    """

    def __init__(
        self,
        path: Path,
        mode: Mode,
        discretion: Discretion,
        speed: float | None = None,
        closed: Callable[[Cassette], object] = lambda _: None,
    ) -> None:
        self.path, self.mode, self.speed = path, mode, speed
        self.redact = discretion.redact
        self.replayed = self.recorded = self.missed = 0
        self.secrets, self._closed = discretion.secrets, closed
        self._lock = threading.Lock()  # calls are planned and recorded by many threads
        self._groups: dict[_Group, list[Line]] = {}
        self._by_digest: dict[bytes, list[_Group]] = {}
        self._planned: Counter[_Group] = Counter()
        self.problem = self._load()

    def __len__(self) -> int:
        return sum(map(len, self._groups.values()))

    def __bool__(self) -> bool:
        return True

    @property
    def entries(self) -> list[Entry]:
        """Everything recorded."""
        return [line.entry for lines in self._groups.values() for line in lines]

    @property
    def warning(self) -> str:
        """What of it had better not be in git: tables in prompts, which may be somebody's data."""
        turns = (turn for entry in self.entries for turn in entry.request.messages)
        if not any(_TABLE.search(turn.content) for turn in turns) or not tracked(self.path):
            return ""
        return (
            f"Git has {self.path.name}, and a prompt in it holds a table: see that its rows may be"
            ' seen. [cassettes] redact = "module:function" takes out what may not.'
        )

    def models(self) -> list[ModelInfo]:
        """List what was asked, by reference, with the model that answered."""
        found: dict[tuple[str, str], ModelInfo] = {}
        for entry in self.entries:
            answer, engine, model = entry.reply, entry.engine, entry.model
            if answer and answer.fallback_from:
                engine, model = answer.engine, ""
            answered = answer.model if answer else ""
            known = found.get((engine, model))
            if known is None or not known.model:
                found[engine, model] = ModelInfo(engine, model or answered, default=not model)
        return sorted(found.values(), key=lambda info: (info.engine, not info.default, info.model))

    def default(self) -> str | None:
        """Give the reference of what answered where none was named."""
        named = [entry for entry in self.entries if not entry.reference]
        return f"{named[-1].engine}:{named[-1].model}".rstrip(":") if named else None

    def knows(self, engine: str) -> bool:
        """Tell whether anything of an engine was recorded."""
        return any(engine == known for _, known, _ in self._groups)

    def take(self, asked: Asked) -> Entry | Ticket:
        """Give the recorded call, or the place at which this one is to be recorded.

        Raises:
            CassetteMissError: It is not there, in ``replay``.
            ConfigError: It is to be recorded, and holds a key or cannot be written.
        """
        with self._lock:
            group = self._group(asked)
            turn = self._planned[group]
            known = self._groups.get(group, ()) if self.mode != "record" else ()
            if known or self.mode != "replay":
                self._planned[group] += 1
            if known:
                self.replayed += 1
                return known[min(turn, len(known) - 1)].entry
            if self.mode == "replay":
                self.missed += 1
        if self.mode == "replay":
            raise self._missed(asked)
        guard.check(asked.body, self.secrets())
        self._check_writable()
        return Ticket(asked, turn)

    def fields(self, ticket: Ticket) -> dict[str, Any]:
        """Give the fields of an entry that tell whom it asked, and when."""
        asked = ticket.asked
        return {
            "recorded": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "reference": asked.reference,
            "engine": asked.engine,
            "model": asked.model,
            "repeat": ticket.repeat,
        }

    def keep(self, entry: Entry) -> None:
        """Write an entry; it is on the disk when this returns.

        Raises:
            ConfigError: It holds a key, or cannot be written; nothing was.
        """
        guard.check(entry, self.secrets())
        line = tape.Line(entry, encode(entry))
        group = (entry.request.digest, entry.engine, entry.model)
        with self._lock:
            equal = self._groups.get(group, [])
            old = next((one for one in equal if one.entry.repeat == entry.repeat), None)
            tape.add(self.path, line.data, old.data if old else None)
            if old:
                equal.remove(old)
            self._add(group, line)
            self.recorded += 1

    def close(self) -> None:
        """Let what was open before answer again."""
        self._closed(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @override
    def __repr__(self) -> str:
        return f"Cassette({self.path.name!r}, {self.mode!r}, {len(self)} entries)"

    def _load(self) -> str:
        if self.mode == "off" or (self.mode != "replay" and not self.path.exists()):
            return ""
        content = tape.read(self.path)
        for line in content.lines:
            entry = line.entry
            self._add((entry.request.digest, entry.engine, entry.model), line)
        if self.mode != "replay":
            self._check_writable()
        return content.problem

    def _add(self, group: _Group, line: Line) -> None:
        equal = self._groups.setdefault(group, [])
        if not equal:
            self._by_digest.setdefault(group[0], []).append(group)
        equal.append(line)
        if len(equal) > 1:
            equal.sort(key=lambda one: one.entry.repeat)

    def _group(self, asked: Asked) -> _Group:
        """Find the equal calls; where the engine is not known here, by the reference as typed."""
        digest = asked.body.digest
        own = (digest, asked.engine, asked.model)
        if own in self._groups or (self.mode != "replay" and asked.engine):
            return own
        for group in reversed(self._by_digest.get(digest, [])):
            if any(line.entry.reference == asked.reference for line in self._groups[group]):
                return group
        return own

    def _check_writable(self) -> None:
        mend = tape.why_unwritable(self.path)
        if mend:
            raise ConfigError(
                f"the cassette {str(self.path)!r} cannot be written.",
                mend=f"{mend}, or play it back alone: `--mode replay`.",
            )

    def _missed(self, asked: Asked) -> CassetteMissError:
        what = f"the cassette {self.path.name!r} has no such call"
        near = nearest(self.entries, asked.engine, asked.body)
        if near is None:
            what += "; it is empty."
        else:
            told = differences(near, asked.engine, asked.model, asked.body)
            what += f". The nearest one: {told or 'it was recorded for another reference'}."
        return CassetteMissError(
            masked(what, self.secrets().values()),
            mend="Record it: `%gatewayx cassette --mode auto`, or"
            " `GATEWAYX_CASSETTE_MODE=auto`; or ask past it: `--fresh`.",
            engine=asked.engine or None,
            model=asked.model or None,
        )


def mode_of(mode: str, where: str = "mode") -> Mode:
    """Check a mode.

    Raises:
        UsageError: It is none; the nearest is named.
    """
    for known in MODES:
        if mode == known:
            return known
    raise UsageError(
        f"{where} is {mode!r}; expected {', '.join(MODES)}.{nearest_name(str(mode), MODES)}",
        mend="For instance `%gatewayx cassette --mode replay`.",
    )
