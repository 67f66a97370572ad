"""Reads the contents of an answer other than its text, such as citations and images."""

from __future__ import annotations

import binascii
import sys
from base64 import b64decode
from collections import Counter
from typing import TYPE_CHECKING, Any, TypeVar

from gatewayx_nb.images import Image, sniff
from gatewayx_nb.llm_engines.json_body import as_dict, as_dicts, as_int, as_list, as_str
from gatewayx_nb.replies import Chunk, Citation, Details, Logprob
from gatewayx_nb.text import well_formed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from gatewayx_nb.llm_engines.provider_errors import ProviderErrors

T = TypeVar("T")

_MAX_DEPTH = 200
"""Maximum nesting depth of a turn's carried data; pickle allows about 300 levels."""


def details_chunk(
    *,
    citations: Iterable[Citation] = (),
    images: Iterable[Image] = (),
    logprobs: Iterable[Logprob] = (),
    carried: Mapping[str, Any] | None = None,
) -> Iterator[Chunk]:
    """Yield a chunk with these details, unless all of them are empty.

    Carried data that is nested too deeply to be copied is omitted.
    """
    if carried is not None and not _is_shallow(carried, _MAX_DEPTH):
        carried = None
    details = Details(tuple(citations), tuple(images), tuple(logprobs), carried)
    if details != Details():
        yield Chunk(details=details)


class NewDetails:
    """Keeps track of the details of an answer; some may arrive after the finish reason.

    Args:
        errors: Creates the error for an answer with too many end events.
    """

    def __init__(self, errors: ProviderErrors) -> None:
        self._errors = errors
        self._sent_details = Details()
        self._collected_count = 0

    def chunk(self, details: Details, size: int) -> Iterator[Chunk]:
        """Yield a chunk with the details that are new, if there are any.

        Args:
            details: All details so far.
            size: Number of content parts from which the details were collected.

        Raises:
            ProviderError: If the answer has so many end events that collecting its details at each
                takes too long.
        """
        self._collected_count += size
        self._errors.check_ends(self._collected_count)
        sent_details, self._sent_details = self._sent_details, details
        yield from details_chunk(
            citations=_unsent_items(details.citations, sent_details.citations),
            images=_unsent_items(details.images, sent_details.images),
            logprobs=details.logprobs[len(sent_details.logprobs) :],
            carried=None if details.carried == sent_details.carried else details.carried,
        )


def _unsent_items(items: tuple[T, ...], sent_items: tuple[T, ...]) -> list[T]:
    """Return the items that have not been sent; an item may occur several times."""
    counts = Counter(sent_items)
    unsent = []
    for item in items:
        if counts[item] > 0:
            counts[item] -= 1
        else:
            unsent.append(item)
    return unsent


def _is_shallow(value: object, levels: int) -> bool:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels > 0 and all(_is_shallow(item, levels - 1) for item in items)


def citation(
    text: object = "",
    title: object = "",
    url: object = "",
    page: object = None,
    span: tuple[object, object] = (None, None),
) -> Citation:
    """Return a citation; values of the wrong type are omitted."""
    passage, name, address = (well_formed(as_str(value)) for value in (text, title, url))
    start, end = as_int(span[0]), as_int(span[1])
    if start is None or end is None:
        start = end = None
    return Citation(passage, name, address, as_int(page), start, end)


def openai_citations(annotations: object, offset: int = 0) -> Iterator[Citation]:
    """Yield the citations in text from OpenAI's annotations.

    Args:
        annotations: Annotations from the Responses API, or from Chat Completions, which nests the
            fields.
        offset: Position of the text in the reply.
    """
    for annotation in as_dicts(annotations):
        annotation_type = as_str(annotation.get("type"))
        fields = as_dict(annotation.get(annotation_type)) or annotation
        if annotation_type.endswith("citation"):
            span = (fields.get("start_index"), fields.get("end_index"))
            start, end = (as_int(position) for position in span)
            shifted_span = (
                None if start is None else start + offset,
                None if end is None else end + offset,
            )
            title = fields.get("title") or fields.get("filename")
            # OpenRouter adds the cited passage.
            yield citation(fields.get("content"), title, fields.get("url"), span=shifted_span)


def image_of(data: object, mime: object = "") -> Iterator[Image]:
    """Yield an image that was sent as Base64, as a ``data:`` URL or as an ``https:`` URL.

    The media type is detected from the bytes; if it is not recognized, the declared type is used.
    """
    text = as_str(data)
    if text.startswith("https://"):
        yield Image(as_str(mime), url=well_formed(text))
        return
    if text.startswith("data:"):
        head, _, text = text.partition(",")
        mime = head.removeprefix("data:").partition(";")[0]
    try:
        content = b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return
    if content:
        yield Image(sniff(content) or well_formed(as_str(mime)), content)


def finite(value: object) -> float | None:
    """Return a number; ``None`` if it is not finite, because some servers write NaN."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    is_finite = -sys.float_info.max <= value <= sys.float_info.max  # false for NaN, too
    return float(value) if is_finite else None


def openai_logprobs(rows: object) -> tuple[Logprob, ...]:
    """Return log probabilities from OpenAI's rows, which Responses and Chat Completions share."""
    return tuple(
        _logprob(row, tuple(map(_logprob, as_dicts(row.get("top_logprobs")))))
        for row in as_dicts(rows)
    )


def _logprob(row: dict[str, Any], top: tuple[Logprob, ...] = ()) -> Logprob:
    return Logprob(well_formed(as_str(row.get("token"))), finite(row.get("logprob")), top)


def parallel_logprobs(tokens: object, values: object) -> tuple[Logprob, ...]:
    """Return log probabilities from Together's parallel lists of tokens and values."""
    pairs = zip(as_list(tokens), as_list(values), strict=False)
    return tuple(Logprob(well_formed(as_str(token)), finite(value)) for token, value in pairs)
