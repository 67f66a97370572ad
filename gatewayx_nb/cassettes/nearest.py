"""Find the recorded call nearest to a cassette miss, and describe the differences."""

from __future__ import annotations

import difflib
import heapq
from typing import TYPE_CHECKING

from gatewayx_nb.cassettes.entry import RequestBody

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gatewayx_nb.cassettes.entry import CassetteEntry

_COMPARED = 100
"""Number of calls compared character by character."""

_READ = 400
"""Number of characters of a prompt to compare."""

_AROUND = 16
"""Number of characters shown on each side of the first difference."""

_MOST = 4
"""Number of differences reported."""


def nearest(
    entries: Iterable[CassetteEntry], engine: str, body: RequestBody
) -> CassetteEntry | None:
    """Return the recorded call most similar to a request, or ``None`` if there is none."""
    likely = heapq.nlargest(_COMPARED, entries, key=lambda entry: _rough(entry, engine, body))
    return max(likely, key=lambda entry: _likeness(entry, engine, body), default=None)


def differences(there: CassetteEntry, engine: str, model: str, body: RequestBody) -> str:
    """Describe the differences in one line, with short excerpts and never a whole text."""
    told = list(_differences(there, engine, model, body))
    more = [f"and {len(told) - _MOST} more"] if len(told) > _MOST else []
    return "; ".join([*told[:_MOST], *more])


def _rough(entry: CassetteEntry, engine: str, body: RequestBody) -> float:
    ours, theirs = body.prompt, entry.request.prompt
    same = sum(one == two for one, two in zip(ours[:_READ], theirs[:_READ], strict=False))
    longer = max(len(ours), len(theirs), 1)
    return same / _READ - abs(len(ours) - len(theirs)) / longer + (entry.engine == engine)


def _likeness(entry: CassetteEntry, engine: str, body: RequestBody) -> float:
    ours, theirs = body.prompt[:_READ], entry.request.prompt[:_READ]
    ratio = difflib.SequenceMatcher(None, ours, theirs, autojunk=False).ratio()
    fields = RequestBody.__struct_fields__
    same = sum(getattr(entry.request, name) == getattr(body, name) for name in fields)
    likeness: float = 2 * ratio + same / len(fields) + (entry.engine == engine)
    return likeness


def _differences(there: CassetteEntry, engine: str, model: str, body: RequestBody) -> Iterator[str]:
    theirs = f"{there.engine}:{there.model}".rstrip(":")
    ours = f"{engine}:{model}".rstrip(":")
    if ours and ours != theirs:
        yield f"the model is {theirs!r} there and {ours!r} here"
    for name in RequestBody.__struct_fields__:
        recorded, asked = getattr(there.request, name), getattr(body, name)
        if recorded == asked:
            continue
        if name == "messages":
            yield from _turns(recorded, asked)
        else:
            yield _texts(name, *(_shown(value) for value in (recorded, asked)))


def _turns(recorded: tuple[object, ...], asked: tuple[object, ...]) -> Iterator[str]:
    if len(recorded) != len(asked):
        yield f"the conversation has {len(recorded)} messages there and {len(asked)} here"
        return
    for number, (one, two) in enumerate(zip(recorded, asked, strict=True), start=1):
        name = "the prompt" if number == len(asked) else f"message {number}"
        for part in ("role", "content", "images"):
            texts = [_shown(getattr(turn, part)) for turn in (one, two)]
            if texts[0] != texts[1]:
                yield _texts(name if part == "content" else f"{part} of {name}", *texts)


def _texts(name: str, there: str, here: str) -> str:
    """Show the first difference between two texts."""
    if max(len(there), len(here)) <= 2 * _AROUND:
        return f"{name} is {there!r} there and {here!r} here"
    pairs = enumerate(zip(there, here, strict=False))
    at = next((number for number, (one, two) in pairs if one != two), min(len(there), len(here)))
    start = max(0, at - _AROUND)
    parts = [text[start : at + _AROUND] for text in (there, here)]
    return f"{name} parts at letter {at + 1}: …{parts[0]!r} there, …{parts[1]!r} here"


def _shown(value: object) -> str:
    return value if isinstance(value, str) else str(value)
