"""A key that does not show itself, and what counts as one."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex
from urllib.parse import quote

from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

KeyState = Literal["set", "placeholder", "missing"]

MASK = "<key>"

_PART = 12
"""Characters of a key that tell it."""

_PLACEHOLDERS = re.compile(
    r"""your[_-].*[_-]?here | your[_-](?:real[_-])?(?:\w+[_-])?(?:api[_-])?key.*
      | change[_-]?me | replace[_-]?me | place[_-]?holder | todo | none | null
      | .*\.\.\.$ | .*…$ | <.*> | x{3,} | \*+""",
    re.IGNORECASE | re.VERBOSE,
)


_KEY_SHAPED = re.compile(r"sk-\S+|(?=\D*\d)[\w+/=-]{20,}", re.ASCII)
"""What many providers' keys look like: a prefix, or twenty characters with a digit among them."""

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
    """A ``str`` that is the key where it is used and a mask where it is shown.

    ``str(secret)``, formatting and whatever makes another text of it give the value, because
    vendors' own code asks for it so; ``repr``, slices and pickles do not.

    >>> key = Secret("sk-1234")
    >>> key, f"Bearer {key}"
    (<key>, 'Bearer sk-1234')
    """

    __slots__ = ()

    @override
    def __repr__(self) -> str:
        return MASK

    @override
    def __str__(self) -> str:
        return str.__str__(self)

    @override
    def __getitem__(self, index: SupportsIndex | slice) -> str:
        return MASK

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, _: object) -> Secret:
        return self

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        return (Secret, (MASK,))


def state_of(value: str | None) -> KeyState:
    """Tell whether a value counts as a key: printable ASCII, stripped, and no placeholder.

    A short one counts: ``EMPTY`` and ``sk-1234`` are real on local servers.
    """
    stripped = (value or "").strip()
    if not stripped:
        return "missing"
    if not (stripped.isascii() and stripped.isprintable()) or " " in stripped:
        return "placeholder"
    return "placeholder" if _PLACEHOLDERS.fullmatch(stripped) else "set"


def vendor_of(key: str) -> str | None:
    """Tell which engine's key a key looks like; ``None`` where its beginning tells nothing.

    A hint for an error and no check: vendors change the shape of their keys.
    """
    return next((engine for prefix, engine in _PREFIXES if str(key).startswith(prefix)), None)


def may_be_key(word: str) -> bool:
    """Tell whether a word is so shaped that it had better not be shown.

    >>> may_be_key("sk-1234"), may_be_key("grok"), may_be_key("0123456789abcdef0123")
    (True, False, True)
    """
    return vendor_of(word) is not None or _KEY_SHAPED.fullmatch(word) is not None


def redact(text: str, keys: Iterable[str]) -> str:
    """Replace every one of these keys in a text by a mask, the longest first.

    So are a key in base64, in a URL, in JSON or in a Python literal, and its first or last twelve
    characters, which is what some providers quote.
    """
    forms = {form for key in keys for form in _forms(str(key)) if form}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, MASK)
    return text


def _forms(key: str) -> Iterator[str]:
    yield from (key, quote(key, safe=""), quote(key), json.dumps(key)[1:-1], repr(key)[1:-1])
    if len(key) > _PART:
        yield from (key[:_PART], key[-_PART:])
        for shift in range(3):  # of base64, what does not depend on what stands around the key
            encoded = b64encode(b"\0" * shift + key.encode()).decode()
            yield encoded[4 if shift else 0 : -4]
