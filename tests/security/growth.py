"""How the processor time of a call grows with the length of its text.

Wall time would depend on the load of the machine. A call is judged by its processor time, and
almost always by a single measurement: linear code handles the longest text within `FLOOR`, and
quadratic code cannot. Only a slower call is measured in several rounds, and compared with one on a
quarter of the text.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import product
from random import Random

from gatewayx_nb.errors import GatewayError

IS_SOAK = os.environ.get("SOAK") == "1"

FLOOR = 0.05
"""Seconds up to which the growth is not measured."""

LIMIT = 8.0
"""Seconds after which a call is stopped."""

MAX_RATIO = 9.0
"""Of the times for a text and a quarter of it: about 4 in linear time, 16 in quadratic time."""

_ROUNDS = 5


class WorkLimitError(Exception):
    """A call has taken `LIMIT` seconds of processor time."""


@contextmanager
def _work_limit() -> Iterator[None]:
    # A regular expression handles signals while it backtracks, so exponential ones are stopped too.
    def stop(number, frame):
        raise WorkLimitError

    previous = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, LIMIT)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, previous)


def _seconds(call: Callable[[], object]) -> float:
    """Return the processor time of a call, which may refuse its text."""
    started_at = time.process_time()
    with suppress(GatewayError, ValueError, RecursionError):
        call()
    return time.process_time() - started_at


@dataclass(frozen=True, slots=True)
class Attack:
    """A text of any length: a beginning, fragments that are repeated, and an end.

    Attributes:
        pumps: The repeated fragments, each of them as bytes or str.
        start: The beginning.
        end: The end.
        is_mixed: Whether the fragments alternate; otherwise they follow each other.
    """

    pumps: tuple
    start: str | bytes
    end: str | bytes
    is_mixed: bool = True

    def text(self, length):
        """Return the text with about this number of characters."""
        blocks = [self.end[:0].join(self.pumps)] if self.is_mixed else self.pumps
        text = self.start
        for block in blocks:
            text += block * max(1, length // len(blocks) // len(block))
        return text + self.end


def attacks(fragments: Iterable, ends: Iterable, count: int | None = None) -> list[Attack]:
    """Return the attacks with these fragments, or each fragment alone and a sample of the others.

    The sample is always the same.
    """
    fragments = [fragment for fragment in dict.fromkeys(fragments) if fragment]
    ends = list(dict.fromkeys(ends))
    empty = ends[0][:0]
    alone = [Attack((one,), empty, ends[0]) for one in fragments]
    pairs = [pair for pair in product(fragments, repeat=2) if pair[0] != pair[1]]
    others = [Attack((one,), empty, end) for one, end in product(fragments, ends[1:])]
    others += [Attack(pair, empty, ends[0], mixed) for pair, mixed in product(pairs, (True, False))]
    others += [Attack((one,), start, end) for (start, one), end in product(pairs, ends)]
    if count is not None:
        others = Random(repr(fragments)).sample(others, min(len(others), count))
    return alone + others


def growth(function: Callable[[object], object], attack: Attack, lengths: Iterable[int]) -> str:
    """Describe how the time of a function grows if it is more than linear; otherwise return "".

    The first length should be so short that cubic code ends.
    """
    tracer = sys.gettrace()
    sys.settrace(None)  # coverage would take most of the time
    try:
        with _work_limit():
            found = (_growth(function, attack, length) for length in lengths)
            return next(filter(None, found), "")
    except WorkLimitError:
        return f"{attack}: more than {LIMIT} s"
    finally:
        sys.settrace(tracer)


def _growth(function, attack, length):
    whole, part = attack.text(length), attack.text(length // 4)
    taken = _seconds(lambda: function(whole))
    for _ in range(_ROUNDS):
        if taken <= FLOOR:
            return ""
        base = min(_seconds(lambda: function(part)) for _ in range(3))
        if taken <= MAX_RATIO * base:
            return ""
        taken = min(taken, _seconds(lambda: function(whole)))
    return f"{attack}: {taken:.3f} s for {length:,}, {base:.4f} s for {length // 4:,}"


def worst(function: Callable[[object], object], texts: Iterable[Attack], lengths: tuple) -> str:
    """Return the first description of `growth` that is not empty."""
    return next(filter(None, (growth(function, each, lengths) for each in texts)), "")
