"""Finds and masks keys and parts of keys, plain or encoded, in complete strings and in streams."""

from __future__ import annotations

import functools
import itertools
import json
import re
from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from gatewayx_nb.secrets import MASK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

SHORTEST_RUN = 8
"""Number of characters that are enough to identify a key."""

_MIN_LENGTH_WITHOUT_DIGIT = 24
"""Number of characters below which a key without a digit is a local server's placeholder."""

_PUBLIC_WORDS = (
    "sk-ant-api03- sk-ant-admin01- sk-proj- sk-svcacct- sk-or-v1- github_pat_"
    " anthropic cerebras deepseek fireworks huggingface moonshot openrouter perplexity together"
)
"""Key prefixes and vendors' names of eight or more characters, which do not identify a key."""

_SHORTEST_BASE64 = 12
"""Number of base64 characters that encode at least eight characters of a key."""

_BLOCK_SIZE = 4
"""Size of a block in bytes; see `_blocks`."""

_SHORT_LENGTH = 16
"""Length below which any eight characters of a string contain its second or third block of four."""

_WINDOW_SIZE = 1 << 20
"""Number of characters that are searched at a time.

Other threads can run between two windows of a long text.
"""

_WINDOW_OVERLAP = 16
"""Number of characters by which windows overlap: the length of the longest part to find."""

_MAX_POSITIONS = 2_000
"""Maximum number of a key's blocks per window whose surroundings are searched.

Text that has no part of a key has far fewer, even if it is base64 or hexadecimal.
"""

MAX_SEARCHED = 1 << 18
"""Maximum number of characters of a message to search; see `redact_beginning`."""

_CUT_MARGIN = 1 << 16
"""Number of characters before a cut that may belong to an escaped key."""

_URL_SAFE = str.maketrans("+/", "-_")

_ESCAPE = re.compile(r"(?:%|\\x|\\u00)([0-9A-Fa-f]{2})|&#[xX]([0-9A-Fa-f]{2});|&#([0-9]{2,3});")
"""An escaped character, as URLs, Python, JSON and HTML write it."""

# With the lookahead, `re` skips other text twice as fast.
_ESCAPED_RUN = re.compile(rf"(?=[%\\&])(?:{_ESCAPE.pattern}){{{SHORTEST_RUN},}}")
_MORE_ESCAPES = re.compile(rf"(?:{_ESCAPE.pattern})*")

_LONGEST_ESCAPE = 6

_MAX_ESCAPES = 1 << 16
"""Maximum length of a run of escapes that is decoded; a longer run is masked as a whole."""

_ESCAPE_STARTS = ("%", r"\x", r"\u00", "&#")


def redact(text: str, keys: Iterable[str]) -> str:
    """Mask keys in a str, and every part of a key that has eight or more characters.

    Keys encoded in base64, hexadecimal, a URL, JSON, HTML or a Python literal are masked too, even
    if every character is escaped. The comparison ignores case.

    >>> redact("bad key XAI-0123456…", ["xai-0123456789"])
    'bad key <key>…'
    """
    keys = list(keys)
    spans = list(_escaped_spans(text, keys))
    searches = [_search_data(str(key)) for key in keys]
    for form in (form for search in searches for form in search.exact_forms):
        spans += [match.span() for match in re.finditer(re.escape(form), text)]
    for offset in range(0, len(text), _WINDOW_SIZE):
        window = _folded(text[offset : offset + _WINDOW_SIZE + _WINDOW_OVERLAP])
        blocks = _blocks(_encoded(window))
        for search in searches:
            if not search.blocks.isdisjoint(blocks):
                spans_in_window = _part_spans(window, blocks, search)
                spans += [(offset + start, offset + end) for start, end in spans_in_window]
    return _mask_spans(text, spans) if spans else text


_JSON_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
"""A JSON escape of a character."""


def redact_json(text: str, redact: Callable[[str], str]) -> str:
    """Mask keys in a string that may be JSON, even if some characters of a key are escaped.

    The JSON is re-encoded only if it contains an escaped key.

    Args:
        text: The string.
        redact: Masks keys in a string without escapes.
    """
    masked_text = redact(text)
    if "\\" not in masked_text:
        return masked_text
    try:
        # A dict would keep only the last of several values with the same name.
        with_repeated_names = json.dumps(
            json.loads(masked_text, object_pairs_hook=list), ensure_ascii=False
        )
        unescaped = json.dumps(json.loads(masked_text), ensure_ascii=False)
    except (ValueError, RecursionError):
        with_repeated_names = unescaped = _JSON_ESCAPE.sub(
            lambda escape: chr(int(escape[1], 16)), masked_text
        )
    return masked_text if redact(with_repeated_names) == with_repeated_names else redact(unescaped)


def may_contain_part(text: str, key: str) -> bool:
    """Return whether `redact` may find the key in a string, or in the strings of JSON text.

    This is faster than `redact`. It is seldom true for a short text without the key.
    """
    search = _search_data(str(key))
    # Count the escapes, because the doubled backslashes of JSON interrupt a run of escapes.
    if has_escapes(text) or any(form in text for form in search.exact_forms):
        return True
    for start in range(0, len(text), _WINDOW_SIZE - _WINDOW_OVERLAP):
        window = _folded(text[start : start + _WINDOW_SIZE])
        if not search.blocks.isdisjoint(_blocks(_encoded(window))):
            return True
    return False


def has_escapes(text: str) -> bool:
    """Return whether a string has enough escaped characters to spell a part of a key."""
    return sum(map(text.count, _ESCAPE_STARTS)) >= SHORTEST_RUN


def redact_beginning(text: str, key: str) -> str:
    """Mask a key like `redact`, but return only the beginning of a string that is very long.

    Error messages show only the beginning of a long string, and searching all of it would be slow.
    """
    if len(text) <= MAX_SEARCHED:
        return redact(text, [key])
    # The cut may split a key, so omit the text just before the cut.
    return redact(text[:MAX_SEARCHED], [key])[:-_CUT_MARGIN] + "…"


def _part_spans(text: str, blocks: list[int], search: _SearchData) -> list[tuple[int, int]]:
    """Return the spans of a key's parts, merged where they overlap.

    Only the surroundings of the blocks that the key contains are searched. If the text has very
    many such blocks, the remaining text becomes one span, because searching it would be slow.
    """
    spans: list[tuple[int, int]] = []
    first_unchecked_by_length = dict.fromkeys((length for length, _ in search.part_sets), 0)
    key_blocks = search.blocks
    positions = [index * _BLOCK_SIZE for index, block in enumerate(blocks) if block in key_blocks]
    for position in positions[:_MAX_POSITIONS]:
        for length, parts in search.part_sets:
            for first in range(
                max(first_unchecked_by_length[length], position + _BLOCK_SIZE - length),
                position + 1,
            ):
                if text[first : first + length] in parts:
                    start, end = first, first + length
                    if spans and start < spans[-1][1]:
                        previous_span = spans.pop()
                        start, end = min(start, previous_span[0]), max(end, previous_span[1])
                    spans.append((start, end))
            first_unchecked_by_length[length] = position + 1
    return (
        [*spans, (positions[_MAX_POSITIONS], len(text))]
        if len(positions) > _MAX_POSITIONS
        else spans
    )


class StreamRedactor:
    """Masks a key in a string that arrives in pieces, as `redact` does in a whole string.

    A piece without a part of the key is returned unchanged and at once. If the key is split between
    pieces, up to seven of its characters may precede the mask, because they do not identify it.

    Args:
        key: The key.

    Attributes:
        starts: The characters of the key, in upper and lower case.
        pairs: Its pairs of adjacent characters, in upper and lower case. A piece of fewer than
            eight characters need not be passed to `feed` if its first character and the one before
            it are not such a pair. The caller then stores the piece in ``recent``.
        recent: The end of the text so far.
    """

    __slots__ = ("_blocks", "_key", "_masked_recent", "_quads", "pairs", "recent", "starts")

    def __init__(self, key: str) -> None:
        self._key, self._blocks = key, _search_data(str(key)).blocks
        self.starts, self.pairs, self._quads = _stream_data(str(key))
        self.recent = ""
        self._masked_recent = ""  # `recent`, if it is the end of a masked part

    def continues_key(self, text: str) -> bool:
        """Return whether a piece may continue a part of the key."""
        start = text[:1]
        return start in self.starts and self.recent[-1:] + start in self.pairs

    def feed(self, text: str) -> str:
        """Return a piece with the key masked."""
        if not text:
            return text
        text_before = self.recent[1 - SHORTEST_RUN :] if self.continues_key(text) else ""
        window = text_before + text
        if not self._may_match(window) or (masked_window := redact(window, [self._key])) == window:
            self.recent = window
            return text
        # Find where the mask begins in the characters of earlier pieces.
        characters = enumerate(zip(text_before, masked_window, strict=False))
        start = next(
            (index for index, (original, replacement) in characters if original != replacement),
            len(text_before),
        )
        is_continued = not start and bool(text_before) and self.recent is self._masked_recent
        # The text before the mask has already been returned; if a masked part continues, so has its
        # mask.
        masked_text = masked_window[start:]
        self.recent = window[1 - SHORTEST_RUN :]
        self._masked_recent = self.recent if masked_window.endswith(MASK) else ""
        return masked_text.removeprefix(MASK) if is_continued else masked_text

    def _may_match(self, text: str) -> bool:
        """Return whether a string may contain a part of the key, faster than by searching it."""
        length = len(text)
        if length < SHORTEST_RUN or length > _WINDOW_SIZE:
            return length > _WINDOW_SIZE
        lower_text = text.lower()
        if length < _SHORT_LENGTH and len(lower_text) == length:
            return (
                lower_text[_BLOCK_SIZE : 2 * _BLOCK_SIZE] in self._quads
                or lower_text[2 * _BLOCK_SIZE : 3 * _BLOCK_SIZE] in self._quads
            )
        has_escapes = "%" in text or "\\" in text or "&#" in text
        return has_escapes or not self._blocks.isdisjoint(_blocks(_encoded(lower_text)))


@functools.lru_cache(maxsize=64)
def _stream_data(key: str) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """Return a key's characters, pairs and parts of four characters, for a `StreamRedactor`."""
    forms = dict(_forms(key))
    adjacent_letters = {
        pair
        for form, length in forms.items()
        for pair in itertools.pairwise(form)
        if length == SHORTEST_RUN
    }
    pairs = {
        first + second
        for first_letter, second_letter in adjacent_letters
        for first in (first_letter.lower(), first_letter.upper())
        for second in (second_letter.lower(), second_letter.upper())
    }
    quads = {part for form in forms for part in _parts(_folded(form), _BLOCK_SIZE)}
    return frozenset("".join(pairs)), frozenset(pairs), frozenset(quads)


def may_mask_in_answer(key: str) -> bool:
    """Return whether a key is masked in answers, unlike a short word such as ``lm-studio``."""
    is_word = len(key) < _MIN_LENGTH_WITHOUT_DIGIT and not any(map(str.isdigit, str(key)))
    return len(key) >= SHORTEST_RUN and not is_word


def _escaped_spans(text: str, keys: list[str]) -> Iterator[tuple[int, int]]:
    """Yield the spans of the runs of escapes that contain a part of a key."""
    # Counting takes a hundredth of the time of the search, which most strings do not need.
    if not has_escapes(text):
        return
    batch: list[tuple[tuple[int, int], str]] = []
    size = 0
    for start, end in _escaped_runs(text):
        if end - start > _MAX_ESCAPES:
            yield start, end
            continue
        decoded_run = _ESCAPE.sub(_unescaped, text[start:end])
        batch.append(((start, end), decoded_run))
        size += len(decoded_run)
        if size > _MAX_ESCAPES:
            yield from _spans_with_key(batch, keys)
            batch, size = [], 0
    yield from _spans_with_key(batch, keys)


def _escaped_runs(text: str) -> Iterator[tuple[int, int]]:
    """Yield the spans of the runs of escapes, searching one window of the text at a time."""
    start = 0
    while start < len(text):
        stop = start + _WINDOW_SIZE
        run = _ESCAPED_RUN.search(text, start, stop)
        if run is None:
            start = stop - SHORTEST_RUN * _LONGEST_ESCAPE  # a run may begin near the end
            continue
        first, start = run.span()
        while start > stop - _LONGEST_ESCAPE:  # the window may have cut the run
            stop = start + _WINDOW_SIZE
            continuation = _MORE_ESCAPES.match(text, start, stop)
            start = continuation.end() if continuation else start
        yield first, start


def _spans_with_key(
    runs: list[tuple[tuple[int, int], str]], keys: list[str]
) -> Iterator[tuple[int, int]]:
    """Yield the spans of the decoded runs that contain a part of a key.

    All runs are first searched together, because most contain no key.
    """
    joined_runs = "\n".join(decoded_run for _, decoded_run in runs)
    if redact(joined_runs, keys) != joined_runs:
        yield from (span for span, decoded_run in runs if redact(decoded_run, keys) != decoded_run)


def _unescaped(escape: re.Match[str]) -> str:
    return _character(escape[0])


@functools.lru_cache(maxsize=1024)
def _character(escape: str) -> str:
    """Return the character of an escape.

    >>> _character("%2f"), _character("&#65;")
    ('/', 'A')
    """
    match = _ESCAPE.fullmatch(escape)
    digits, decimal = (match[1] or match[2], match[3]) if match else ("", "0")
    return chr(int(digits, 16) if digits else int(decimal))


@dataclass(frozen=True, slots=True)
class _SearchData:
    """The forms of a key, prepared for searching text.

    Attributes:
        exact_forms: The short forms, which are searched for as a whole.
        part_sets: For the longer forms, each length of a part, and the parts of this length in
            lower case.
        blocks: Text that contains a part also contains one of these blocks; see `_blocks`.
    """

    exact_forms: tuple[str, ...]
    part_sets: tuple[tuple[int, frozenset[str]], ...]
    blocks: frozenset[int]


@functools.lru_cache(maxsize=64)
def _search_data(key: str) -> _SearchData:
    """Return the forms of a key, prepared for searching text."""
    exact_forms: list[str] = []
    parts_by_length: dict[int, set[str]] = {}
    blocks: set[int] = set()
    for form, length in _forms(key):
        if len(form) > length:
            folded_form = _folded(form)
            parts_by_length.setdefault(length, set()).update(_parts(folded_form, length))
            data = _encoded(folded_form)
            blocks.update(*(_blocks(data[start:]) for start in range(_BLOCK_SIZE)))
        elif form:
            exact_forms.append(form)
    part_sets = tuple((length, frozenset(parts)) for length, parts in parts_by_length.items())
    return _SearchData(tuple(exact_forms), part_sets, frozenset(blocks))


def _encoded(text: str) -> bytes:
    """Return a byte for each character, the same for all characters that no key contains."""
    return text.encode("ascii", errors="replace")


def _blocks(data: bytes) -> list[int]:
    """Return the blocks of four bytes, as numbers.

    Any eight adjacent characters contain a whole block, so most text needs no other search.
    """
    return memoryview(data)[: len(data) // _BLOCK_SIZE * _BLOCK_SIZE].cast("I").tolist()


def _parts(text: str, length: int) -> Iterator[str]:
    """Yield all substrings of the given length."""
    return (text[start : start + length] for start in range(len(text) - length + 1))


def _mask_spans(text: str, spans: list[tuple[int, int]]) -> str:
    """Mask spans of text. Overlapping spans are merged, and public words are kept."""
    runs: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if runs and start < runs[-1][1]:
            runs[-1] = runs[-1][0], max(end, runs[-1][1])
        else:
            runs.append((start, end))
    kept_parts, end = [], 0
    for start, stop in runs:
        if _folded(text[start:stop]) not in _PUBLIC_WORDS:
            kept_parts += [text[end:start], MASK]
            end = stop
    return "".join([*kept_parts, text[end:]])


def _folded(text: str) -> str:
    """Return the text in lower case, with the same number of characters."""
    lower_text = text.lower()
    # Only this letter has a longer lower-case form.
    return lower_text if len(lower_text) == len(text) else text.replace("\u0130", "\u0131").lower()


def _forms(key: str) -> Iterator[tuple[str, int]]:
    """Yield the forms in which a key may appear, and the length of the shortest part to mask."""
    data = key.encode(errors="replace")
    # URLs quote a key in two ways; response bodies contain JSON, and tracebacks Python literals.
    in_json = json.dumps(key)[1:-1]
    literals = (
        *(key, quote(key, safe=""), quote(key)),
        *(in_json, in_json.replace("/", r"\/"), repr(key)[1:-1]),
    )
    yield from ((form, SHORTEST_RUN) for form in dict.fromkeys(literals))
    if len(key) > SHORTEST_RUN:
        yield data.hex(), 2 * SHORTEST_RUN
        for shift in range(3):  # without the base64 that depends on adjacent text
            base64_text = b64encode(b"\0" * shift + data).decode()
            inner = base64_text[4 if shift else 0 : -4]
            yield inner, _SHORTEST_BASE64
            yield inner.translate(_URL_SAFE), _SHORTEST_BASE64
