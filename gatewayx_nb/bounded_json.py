"""Parses JSON from outside, with a limit on the number of its values."""

from __future__ import annotations

import json

MAX_VALUES = 1_000_000
"""Maximum number of values in a JSON text.

An empty list takes 3 bytes of JSON and about 64 bytes of memory, and no other thread runs while it
is parsed: without a limit, 60 MB of JSON take 1.8 GB and several seconds.
"""


class TooManyValuesError(ValueError):
    """A JSON text has more than `MAX_VALUES` values."""

    def __init__(self) -> None:
        super().__init__(f"it has more than {MAX_VALUES:,} JSON values")


def check_values(text: str | bytes) -> None:
    """Raise an error if a text has too many values, whether or not it is JSON.

    Raises:
        TooManyValuesError: If it has. Commas and brackets within strings also count.
    """
    # A short text, like nearly every answer, is not searched.
    if len(text) <= MAX_VALUES:
        return
    characters = text.decode("latin-1") if isinstance(text, bytes) else text
    if sum(map(characters.count, ",[{")) > MAX_VALUES:
        raise TooManyValuesError


def loads(text: str | bytes) -> object:
    """Parse JSON like `json.loads`.

    Raises:
        TooManyValuesError: If it has too many values.
        ValueError: If it is not JSON.
        RecursionError: If it is nested too deeply.
    """
    check_values(text)
    return json.loads(text)
