"""Checks the chunks that an engine yields for wrong types, excessive length and leaked keys."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence
from operator import attrgetter, is_
from typing import TYPE_CHECKING, Any, get_args

import msgspec

from gatewayx_nb.errors import ProviderError
from gatewayx_nb.images import Image
from gatewayx_nb.masking import (
    SHORTEST_RUN,
    StreamRedactor,
    has_escapes,
    may_contain_part,
    may_mask_in_answer,
    redact,
    redact_json,
)
from gatewayx_nb.messages import ToolCall
from gatewayx_nb.replies import (
    Chunk,
    Citation,
    Details,
    FinishReason,
    Logprob,
    RateLimits,
    Usage,
)
from gatewayx_nb.text import short_repr

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator

    from gatewayx_nb.calls import PartialReply

MAX_CHARACTERS = 64 * 2**20
"""Maximum number of characters in an answer, including its reasoning."""

_CHARACTERS_BETWEEN_PAUSES = 2**18
"""Number of checked characters after which other tasks of the event loop get to run.

Without such pauses, a busy engine would keep the deadline and the Stop button from working.
"""

_LARGE_CHUNK = 2**16
"""Number of characters above which a chunk is searched for the key in another thread."""

_COUNT_LIMIT = 2**60
"""Counts of tokens must be below this number."""

_MAX_NAME_LENGTH = 256
"""Maximum length, in characters, of a model name or request ID; usage tables show both."""

_MAX_ITEMS = 10_000
"""Maximum number of tool calls, citations and images in an answer."""

_NAME_FIELDS = ("model", "request_id")

_TEXT_FIELD_COUNT = 2
"""Number of leading fields of a `Chunk` that contain text: ``text`` and ``reasoning``."""


def _values_of(cls: type[Any]) -> attrgetter[tuple[object, ...]]:
    """Return a function like `dataclasses.astuple`, which takes ten times as long."""
    return attrgetter(*(field.name for field in dataclasses.fields(cls)))


_usage_values, _rate_limit_values = _values_of(Usage), _values_of(RateLimits)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_count(value: object) -> bool:
    # A subclass of int may raise anything, and a huge int cannot be converted to a str.
    return type(value) is int and 0 <= value < _COUNT_LIMIT


def _is_usage(value: object) -> bool:
    return type(value) is Usage and all(
        count is None or _is_count(count) for count in _usage_values(value)
    )


def _are_limits(value: object) -> bool:
    return type(value) is RateLimits and all(
        type(number) in (int, float, type(None)) for number in _rate_limit_values(value)
    )


def _are_instances(items: object, cls: type[Any], types: Sequence[tuple[type, ...]]) -> bool:
    """Return whether ``items`` is a tuple of instances of a class with fields of given types.

    Instances of subclasses are refused, because reading them later could raise any exception.
    """
    values = _values_of(cls)
    return type(items) is tuple and all(
        type(item) is cls and all(map(_is_one_of, values(item), types)) for item in items
    )


def _is_one_of(value: object, types: tuple[type, ...]) -> bool:
    return type(value) in types


_NONE_TYPE = type(None)
_POSITION_TYPES = (int, _NONE_TYPE)
_CITATION_TYPES = ((str,), (str,), (str,), _POSITION_TYPES, _POSITION_TYPES, _POSITION_TYPES)
_IMAGE_TYPES = ((str,), (bytes,), (str,), (str,))
_LOGPROB_TYPES = ((str,), (float, int, _NONE_TYPE), (tuple,))


def _are_tool_calls(value: object) -> bool:
    return _are_instances(value, ToolCall, ((str,), (str,), (str,)))


def _are_logprobs(value: Any) -> bool:  # noqa: ANN401 - whatever the engine yields
    are_valid = _are_instances(value, Logprob, _LOGPROB_TYPES)
    return are_valid and all(_are_logprobs(logprob.top) for logprob in value)


def _is_body(value: object) -> bool:
    return isinstance(value, Mapping | Sequence) and not isinstance(value, str | bytes)


def _are_details(value: object) -> bool:
    return (
        type(value) is Details
        and _are_instances(value.citations, Citation, _CITATION_TYPES)
        and _are_instances(value.images, Image, _IMAGE_TYPES)
        and _are_logprobs(value.logprobs)
        and isinstance(value.carried, Mapping | None)
    )


_FINISH_REASONS = get_args(FinishReason)

_VALID_USAGE = "a Usage whose fields are whole numbers >= 0 or None"
_FIELD_CHECKS: dict[str, tuple[Callable[[object], bool], str]] = {
    "finish_reason": (_is_text, "a str"),
    "usage": (_is_usage, _VALID_USAGE),
    "model": (_is_text, "a str"),
    "request_id": (_is_text, "a str"),
    "tool_calls": (_are_tool_calls, "a tuple of ToolCall, whose fields are plain strings"),
    "rate_limits": (_are_limits, "a RateLimits whose fields are numbers or None"),
    "billed": (_is_usage, _VALID_USAGE),
    "context_limit": (_is_count, "a whole number >= 0"),
    "raw": (_is_body, "a mapping or a sequence"),
    "details": (_are_details, "a Details whose fields have the documented types"),
}
"""Checks of all fields except ``text`` and ``reasoning``, and descriptions of valid values."""

_DEFAULTS = {field.name: field.default for field in dataclasses.fields(Chunk)[_TEXT_FIELD_COUNT:]}
_DEFAULT_VALUES = tuple(_DEFAULTS.values())
_FIELD_NAMES = ("text", "reasoning", *_DEFAULTS)


def _has_default_values(chunk: Chunk) -> bool:
    """Return whether all fields other than the text and the reasoning have their defaults."""
    return tuple(chunk.__dict__.values())[_TEXT_FIELD_COUNT:] == _DEFAULT_VALUES


class ChunkChecker:
    """Checks the chunks of one answer.

    Args:
        engine: Name of the engine.
        key: The engine's key, which is masked in every field. In the text and the reasoning, it is
            masked even if it is split over chunks, unless it is a short word.

    Attributes:
        characters_until_pause: Characters until `check_length_and_yield` must be awaited; negative
            if it is due.
        was_cleaned: Whether the text that is passed on differs from the received text, so that all
            further chunks must be passed to `check_cleaned`.
    """

    def __init__(self, engine: str, key: str) -> None:
        self._engine, self._key = engine, key
        self._masks_answer = may_mask_in_answer(key)
        self._text_redactor, self._reasoning_redactor = StreamRedactor(key), StreamRedactor(key)
        self._cleaned_redactors = StreamRedactor(key), StreamRedactor(key)
        self.was_cleaned = False
        self._searched_text = ""  # the last text that was searched and contains no part of the key
        self._received_characters = self._item_count = 0
        self.characters_until_pause = _CHARACTERS_BETWEEN_PAUSES

    def check(self, chunk: Chunk, *, even_if_large: bool = False) -> Chunk | None:
        """Return the chunk, or a copy with the key masked and the text as plain strings.

        Args:
            chunk: The chunk.
            even_if_large: Whether to check even a large chunk, which may be slow. By default,
                ``None`` is returned for a large chunk, which must be passed to `check_large`.

        Raises:
            ProviderError: If ``chunk`` is not a Chunk, or a field has an invalid value.
        """
        has_no_key = False
        # Nearly all chunks are only text, and need no other check.
        is_plain = (
            type(chunk) is Chunk
            and (chunk.has_only_text or _has_default_values(chunk))
            and type(chunk.text) is str
            and type(chunk.reasoning) is str
        )
        if not is_plain:
            searched_chunk = self._check_and_search(chunk, even_if_large=even_if_large)
            if searched_chunk is None:
                return None
            chunk, has_no_key = searched_chunk
        text, reasoning = chunk.text, chunk.reasoning
        if self._masks_answer and not has_no_key:
            redactor = self._text_redactor
            # Nearly all chunks are short words, for which this needs no function call.
            if (
                reasoning
                or len(text) >= SHORTEST_RUN
                or (
                    (start := text[:1]) in redactor.starts
                    and redactor.recent[-1:] + start in redactor.pairs
                )
            ):
                if len(text) + len(reasoning) > _LARGE_CHUNK and not even_if_large:
                    return None
                chunk = self._mask_chunk(chunk)
            elif text:
                redactor.recent = text
        # Each chunk counts as one more character, so that a stream of empty chunks also ends.
        self.characters_until_pause -= len(text) + len(reasoning) + 1
        return chunk

    def check_cleaned(self, chunk: Chunk | None, cleaned: Iterable[Chunk]) -> Iterable[Chunk]:
        """Return the chunks that replace a checked chunk, with the key masked.

        Two pieces of text may form a part of the key after the tag between them was removed.

        Args:
            chunk: The checked chunk; ``None`` at the end of the answer.
            cleaned: The chunks that replace it.
        """
        if not self._masks_answer:
            return cleaned
        return [self._mask_cleaned(piece, is_same=piece is chunk) for piece in cleaned]

    def _mask_cleaned(self, chunk: Chunk, *, is_same: bool) -> Chunk:
        self.was_cleaned = self.was_cleaned or not is_same
        if not self.was_cleaned:
            return chunk
        text_redactor, reasoning_redactor = self._cleaned_redactors
        return _masked_text(chunk, text_redactor, reasoning_redactor)

    async def check_large(self, chunk: Chunk) -> AsyncIterator[Chunk]:
        """Yield a large chunk in parts after checking it in another thread; see `check`."""
        checked_chunk = await asyncio.to_thread(self.check, chunk, even_if_large=True)
        for part in _split_chunk(checked_chunk) if checked_chunk else ():
            yield part
            await asyncio.sleep(0)

    async def mask(self, partial: PartialReply) -> None:
        """Mask the key in a partial answer, in another thread if the answer is long."""
        if (
            self._received_characters - self.characters_until_pause + _CHARACTERS_BETWEEN_PAUSES
            > _LARGE_CHUNK
        ):
            await asyncio.to_thread(partial.apply_mask)
        else:
            partial.apply_mask()

    def mask_answer(self, pieces: list[str]) -> list[str]:
        """Return the pieces of an answer or, if they contain the key in any form, one masked piece.

        A stream masks a key that is split over chunks only in its plain forms.
        """
        if not self._masks_answer:
            return pieces
        if len(pieces) == 1 and pieces[0] is self._searched_text:  # the whole answer is one chunk
            return pieces
        text = "".join(pieces)
        masked_text = redact(text, [self._key]) if text else text
        return pieces if masked_text is text else [masked_text]

    async def check_length_and_yield(self) -> None:
        """Check the length of the answer, and let the event loop run.

        Raises:
            ProviderError: If the answer is too long.
        """
        self._received_characters += _CHARACTERS_BETWEEN_PAUSES - self.characters_until_pause
        self.characters_until_pause = _CHARACTERS_BETWEEN_PAUSES
        if self._received_characters > MAX_CHARACTERS:
            raise ProviderError(
                f"the answer from engine {self._engine!r} exceeds {MAX_CHARACTERS:,} characters.",
                hint="Limit the reply with max_tokens.",
                code="too_large",
            )
        await asyncio.sleep(0)

    def _check_and_search(self, chunk: Chunk, *, even_if_large: bool) -> tuple[Chunk, bool] | None:
        """Return the checked chunk, and whether its text and reasoning need no further search.

        Searching the encoded chunk first is a fast path: few chunks contain the key. ``None`` is
        returned for a large chunk; see `check`.
        """
        # Most fields are None. The others are searched without their names.
        is_chunk = type(chunk) is Chunk
        fields = chunk.__dict__.values() if is_chunk else ()
        values = [value for value in fields if value is not None]
        encoded_values = _to_json(values) if values else ""
        is_too_large = (
            len(encoded_values) > _LARGE_CHUNK
            if encoded_values
            else is_large(values or chunk, _LARGE_CHUNK)
        )
        if is_too_large and not even_if_large:
            return None
        # The JSON of arguments may be escaped. Without an encoded form, nothing was searched.
        is_escaped = bool(encoded_values) and bool(chunk.tool_calls) and r"\\u" in encoded_values
        if not encoded_values or is_escaped or may_contain_part(encoded_values, self._key):
            return self._validated(chunk), False
        checked_chunk = self._validated(chunk, may_contain_key=False)
        text_redactor, reasoning_redactor = self._text_redactor, self._reasoning_redactor
        if text_redactor.continues_key(chunk.text) or reasoning_redactor.continues_key(
            chunk.reasoning
        ):
            return checked_chunk, False
        text_redactor.recent = chunk.text or text_redactor.recent
        reasoning_redactor.recent = chunk.reasoning or reasoning_redactor.recent
        self._searched_text = chunk.text
        return checked_chunk, True

    def _mask_chunk(self, chunk: Chunk) -> Chunk:
        return _masked_text(chunk, self._text_redactor, self._reasoning_redactor)

    def _validated(self, chunk: object, *, may_contain_key: bool = True) -> Chunk:
        if not isinstance(chunk, Chunk):
            raise self._invalid_error("`stream`", "yield a Chunk", chunk)
        if type(chunk) is not Chunk:  # a subclass could raise anything when it is read later
            chunk = Chunk(**{name: getattr(chunk, name) for name in _FIELD_NAMES})
        replacements: dict[str, Any] = {}
        for name in ("text", "reasoning"):
            text = getattr(chunk, name)
            if not isinstance(text, str):
                raise self._invalid_error(f"{name} of a Chunk", "be a str", text)
            if type(text) is not str:
                replacements[name] = str.__str__(text)
        replacements |= self._validated_fields(chunk, may_contain_key=may_contain_key)
        return dataclasses.replace(chunk, **replacements) if replacements else chunk

    def _validated_fields(self, chunk: Chunk, *, may_contain_key: bool) -> dict[str, Any]:
        """Check all fields except the text, and return replacement values where needed.

        Args:
            chunk: The chunk.
            may_contain_key: Whether a field may contain the key.
        """
        replacements: dict[str, Any] = {}
        if chunk.tool_calls is not _DEFAULTS["tool_calls"] or chunk.details is not None:
            self._count_items(chunk)
        for name, value in chunk.__dict__.items():
            if value is _DEFAULTS.get(name, value):
                continue
            if name in _FIELD_CHECKS and not _FIELD_CHECKS[name][0](value):
                raise self._invalid_error(
                    f"{name} of a Chunk", f"be {_FIELD_CHECKS[name][1]}", value
                )
            checked_value = str.__str__(value) if isinstance(value, str) else value
            if name == "finish_reason":
                checked_value = checked_value if checked_value in _FINISH_REASONS else "other"
            elif self._key and may_contain_key:
                checked_value = mask_key(checked_value, self._key)
            if name in _NAME_FIELDS and len(checked_value) > _MAX_NAME_LENGTH:
                checked_value = checked_value[: _MAX_NAME_LENGTH - 1] + "…"
            if checked_value is not value:
                replacements[name] = checked_value
        return replacements

    def _count_items(self, chunk: Chunk) -> None:
        """Check the number of tool calls, citations and images so far.

        Raises:
            ProviderError: If the answer has too many of them.
        """
        item_groups = [chunk.tool_calls]
        if type(chunk.details) is Details:
            item_groups += [chunk.details.citations, chunk.details.images]  # type: ignore[list-item]
        self._item_count += sum(len(group) for group in item_groups if type(group) is tuple)
        if self._item_count > _MAX_ITEMS:
            raise ProviderError(
                f"the answer from engine {self._engine!r} has more than {_MAX_ITEMS:,} tool calls,"
                " citations and images.",
                hint="Limit the reply with max_tokens.",
                code="too_large",
            )

    def _invalid_error(self, subject: str, requirement: str, value: object) -> ProviderError:
        shown_value = short_repr(mask_key(value, self._key), 40)
        return ProviderError(
            f"engine {self._engine!r}: {subject} must {requirement}, got {shown_value}.",
            hint="Fix the engine's file, which is reloaded on the next call.",
            code="protocol",
        )


def _masked_text(
    chunk: Chunk, text_redactor: StreamRedactor, reasoning_redactor: StreamRedactor
) -> Chunk:
    """Return a chunk, or a copy with the key masked in its text and its reasoning."""
    new_text = chunk.text and text_redactor.feed(chunk.text)
    new_reasoning = chunk.reasoning and reasoning_redactor.feed(chunk.reasoning)
    if new_text is chunk.text and new_reasoning is chunk.reasoning:
        return chunk
    return dataclasses.replace(chunk, text=new_text, reasoning=new_reasoning)


def _to_json(value: object) -> str:
    """Return a value as JSON, or an empty string if it cannot be encoded."""
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError, RecursionError):  # not JSON, or a lone surrogate
        return ""


def is_large(value: object, limit: int) -> bool:
    """Return whether masking a value would take too long, given a limit on its total size."""
    pending_values, remaining_size = [value], limit
    while pending_values and remaining_size > 0:
        item = pending_values.pop()
        remaining_size -= 1
        cls = type(item)
        if cls is str:
            remaining_size -= len(item)  # type: ignore[arg-type]
        elif cls in _NUMBER_TYPES:  # most values of a body; needs no function call
            continue
        elif isinstance(item, str):
            remaining_size -= str.__len__(item)
        elif isinstance(item, Mapping):
            pending_values += item
            pending_values += item.values()
        elif isinstance(item, list | tuple):
            pending_values += item
        else:
            field_names = getattr(cls, "__dataclass_fields__", ())
            pending_values += [getattr(item, name) for name in field_names]
    return remaining_size <= 0


_NUMBER_TYPES = frozenset({int, float, bool, type(None), Usage, RateLimits})


def _split_chunk(chunk: Chunk) -> Iterator[Chunk]:
    """Yield the parts of a large chunk; the last part also has the other fields."""
    *reasoning, last_reasoning = _pieces(chunk.reasoning)
    *text, last_text = _pieces(chunk.text)
    yield from (Chunk.of_text("", piece) for piece in reasoning)
    if text:  # a chunk's reasoning comes before its text
        yield Chunk.of_text("", last_reasoning)
        yield from map(Chunk.of_text, text)
        last_reasoning = ""
    yield dataclasses.replace(chunk, text=last_text, reasoning=last_reasoning)


def _pieces(text: str) -> list[str]:
    starts = range(0, len(text), _CHARACTERS_BETWEEN_PAUSES)
    return [text[start : start + _CHARACTERS_BETWEEN_PAUSES] for start in starts] or [""]


def mask_key(value: Any, key: str) -> Any:  # noqa: ANN401 - any value of a chunk
    """Return a value with the key masked in every string.

    If the key does not occur in it, the value itself is returned.
    """
    if isinstance(value, str):
        return redact(value, [key])
    if isinstance(value, Usage | RateLimits):  # these contain only numbers
        return value
    if isinstance(value, ToolCall):
        arguments = redact_json(value.arguments, lambda text: redact(text, [key]))
        value = (
            value
            if arguments == value.arguments
            else dataclasses.replace(value, arguments=arguments)
        )
    if isinstance(value, Mapping):
        return _masked_body(value, key)
    if isinstance(value, list | tuple):
        items = [mask_key(item, key) for item in value]
        return value if all(map(is_, items, value)) else tuple(items)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        masked_fields = {name: mask_key(item, key) for name, item in fields.items()}
        changed_fields = {
            name: item for name, item in masked_fields.items() if item is not fields[name]
        }
        return dataclasses.replace(value, **changed_fields) if changed_fields else value
    return value


def _masked_body(body: Mapping[Any, Any], key: str) -> Mapping[Any, Any]:
    """Return a body with the key masked.

    Searching the encoded body first is a fast path.
    """
    text = _to_json(body)
    if text and not has_escapes(text) and redact(text, [key]) is text:
        return body
    return {mask_key(name, key): mask_key(item, key) for name, item in body.items()}
