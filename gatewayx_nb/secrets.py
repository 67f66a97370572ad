"""Defines the `Secret` string type, whose ``repr`` is masked, and checks the form of keys."""

from __future__ import annotations

import re
import unicodedata
from typing import Any, Literal, SupportsIndex

from typing_extensions import override

from gatewayx_nb.errors import UsageError

KeyState = Literal["set", "placeholder", "missing"]

MASK = "<key>"

_PLACEHOLDERS = re.compile(
    r"""your[_-].*[_-]?here | your[_-](?:real[_-])?(?:\w+[_-])?(?:api[_-])?key.*
      | change[_-]?me | replace[_-]?me | place[_-]?holder | todo | none | null
      | .*\.\.\.$ | .*…$ | <.*> | x{3,} | \*+""",
    re.IGNORECASE | re.VERBOSE,
)

_CURLY_QUOTES = frozenset("\u201c\u201d\u201e\u201f\u2018\u2019\u201a\u201b")

_KEY_PATTERN = re.compile(r"sk-\S+|(?=\D*\d)[\w+/=-]{20,}", re.ASCII)
"""The shape of many providers' keys: a prefix, or twenty characters with a digit."""

_PREFIXES = (
    ("sk-ant-", "anthropic"),
    ("sk-or-", "openrouter"),
    ("sk-proj-", "openai"),
    ("xai-", "grok"),
    ("gsk_", "groq"),
    ("AIza", "google"),
    ("AQ.", "google"),
    ("pplx-", "perplexity"),
    ("hf_", "huggingface"),
    ("nvapi-", "nvidia"),
)


class Secret(str):
    """A ``str`` that holds a key and whose ``repr`` is masked.

    ``str(secret)``, formatting, JSON and other conversions to a string return the key, because
    vendors' code needs it; ``repr``, indexing, slicing and pickling return or store a mask.

    >>> key = Secret("sk-1234")
    >>> key, f"Bearer {key}"
    (<key>, 'Bearer sk-1234')
    """

    __slots__ = ()

    @override
    def __repr__(self) -> str:
        return MASK

    @override
    # The beginning of a key, as in `key[:8]`, is enough to identify it in a log.
    def __getitem__(self, index: SupportsIndex | slice) -> str:
        return MASK

    # Without these two, copies would use `__reduce__` and lose the key.
    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, _: object) -> Secret:
        return self

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        return (Secret, (MASK,))


class NotPicklable:
    """Base class of objects that contain keys, or environment variables that may be keys, as text.

    These objects cannot be pickled, because pickles may be shared.
    """

    __slots__ = ()

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        raise UsageError(
            f"{type(self).__name__!r} objects cannot be pickled: they may contain keys.",
            hint="Pickle the pool or its `config`, which are pickled without keys.",
        )


def key_state(value: str | None) -> KeyState:
    """Return whether a value is a key, a placeholder or missing.

    A key is printable ASCII without spaces that does not look like a placeholder.

    Short values are allowed: ``EMPTY`` and ``sk-1234`` are real keys on local servers.
    """
    stripped_value = (value or "").strip()
    if not stripped_value:
        return "missing"
    is_valid = (
        stripped_value.isascii() and stripped_value.isprintable() and " " not in stripped_value
    )
    return "set" if is_valid and not _PLACEHOLDERS.fullmatch(stripped_value) else "placeholder"


def key_fault(value: str) -> str:
    """Describe the characters of a value that no key contains; empty if there are none.

    The description does not contain any part of the value that may be a key.

    >>> key_fault("\u201cxai-1234\u201d"), key_fault("xai-1234\u200b")
    ('is in curly quotes', 'contains an invisible character, U+200B ZERO WIDTH SPACE')
    """
    stripped_value = value.strip()
    if stripped_value[:1] in _CURLY_QUOTES or stripped_value[-1:] in _CURLY_QUOTES:
        return "is in curly quotes"
    return next(filter(None, map(_character_fault, stripped_value)), "")


def _character_fault(character: str) -> str:
    if character.isascii() and character.isprintable() and character != " ":
        return ""
    name = f"U+{ord(character):04X} {unicodedata.name(character, '')}".rstrip()
    match unicodedata.category(character):
        case "Zs":
            return "contains a space"
        case "Cf":
            return f"contains an invisible character, {name}"
        case "Cc" | "Cs":
            return f"contains a character that is not text, {name}"
        case "Pd":
            return f"contains {name}, which looks like a hyphen"
    return "contains a character that is not ASCII"


def vendor_of_key(key: str) -> str | None:
    """Return the engine that a key seems to be for; ``None`` if its prefix is unknown.

    Use it as a hint in an error, not as a check: vendors change the format of their keys.
    """
    return next((engine for prefix, engine in _PREFIXES if str(key).startswith(prefix)), None)


def looks_like_key(word: str) -> bool:
    """Return whether a word has the shape of an API key.

    >>> looks_like_key("sk-1234"), looks_like_key("grok"), looks_like_key("0123456789abcdef0123")
    (True, False, True)
    """
    return vendor_of_key(word) is not None or _KEY_PATTERN.fullmatch(word) is not None
