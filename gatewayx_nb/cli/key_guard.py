"""Refuses lines with a key, because an error about another mistake would repeat the key."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from gatewayx_nb.commands import typed_key_error
from gatewayx_nb.secrets import looks_like_key

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatewayx_nb.commands import Session

_PART_SEPARATOR = re.compile("[:=]")


def refuse_keys(session: Session, words: Iterable[str]) -> None:
    """Refuse a line in which a word, or a part of it as in ``mock:KEY``, looks like a key.

    The names of existing files are not refused.

    Raises:
        UsageError: If a word looks like a key.
    """
    for word in words:
        parts = _PART_SEPARATOR.split(word.lstrip("-"))
        if any(map(looks_like_key, [word, *parts])) and not os.path.exists(word):
            raise typed_key_error(session, word)
