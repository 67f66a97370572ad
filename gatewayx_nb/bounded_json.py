"""Parses untrusted JSON, limiting the number of values."""

from __future__ import annotations

import json

MAX_VALUES = 1_000_000
"""Maximum number of values in a JSON text.

An empty list takes 3 bytes of JSON and about 64 bytes of memory, and no other thread runs while
JSON is parsed: without a limit, 60 MB of JSON takes 1.8 GB and several seconds.
"""


class TooManyValuesError(ValueError):
    """A JSON text has too many values."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"it has more than {limit:,} JSON values")


def check_values(text: str | bytes, limit: int | None = None) -> None:
    """Raise an error if a string has too many values, whether or not it is JSON.

    Args:
        text: The string or bytes to check.
        limit: The maximum number of values; `MAX_VALUES` if omitted.

    Raises:
        TooManyValuesError: If the text has more values; commas and brackets in strings also count.
    """
    limit = MAX_VALUES if limit is None else limit
    # A short string cannot have too many values, and nearly every answer is short.
    if len(text) <= limit:
        return
    if count_values(text) > limit:
        raise TooManyValuesError(limit)


def count_values(text: str | bytes) -> int:
    """Return an upper bound for the number of values in JSON text or in a part of it."""
    characters = text.decode("latin-1") if isinstance(text, bytes) else text
    return sum(map(characters.count, ",[{"))


def loads(text: str | bytes) -> object:
    """Parse JSON like `json.loads`.

    Raises:
        TooManyValuesError: If it has too many values.
        ValueError: If it is not JSON.
        RecursionError: If it is nested too deeply.
    """
    check_values(text)
    return json.loads(text)
