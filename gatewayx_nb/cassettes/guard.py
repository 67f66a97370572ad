"""Searches cassettes for keys, in every string and in its decoded forms."""

from __future__ import annotations

import base64
import binascii
import html
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import msgspec

from gatewayx_nb.errors import ConfigError
from gatewayx_nb.hints import Hint, as_hint
from gatewayx_nb.secure_config import looks_like_key, redact

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from gatewayx_nb.cassettes.entry import CassetteEntry
    from gatewayx_nb.cassettes.request_body import RequestBody

_MIN_KEY_LENGTH = 8
"""Minimum length of a key to search for.

A local server's dummy key, such as ``EMPTY``, is shorter, and occurs in ordinary text.
"""

_KEY_PATTERNS = re.compile(
    r"""(?<![A-Za-z0-9])(?:
        sk-(?:ant-|or-|proj-|svcacct-)?(?=[\w-]{0,200}?\d)[\w-]{16,}
      | AIza[\w-]{30,} | AQ\.[\w-]{30,}
      | (?:gsk|hf|r8|fw|tgp_v1)_[A-Za-z0-9_-]{20,}
      | (?:xai|pplx|nvapi|csk)-[\w-]{20,}
      | gh[pousr]_[A-Za-z0-9]{30,} | github_pat_\w{30,} | glpat-[\w-]{20,}
      | xox[abprs]-[\w-]{10,} | (?:AKIA|ASIA)[0-9A-Z]{16}(?![0-9A-Za-z])
      | (?<!-)eyJ[\w-]{10,2000}\.eyJ[\w-]{10,}\.[\w-]{10,}
    ) | -----BEGIN\ [A-Z ]*PRIVATE\ KEY-----""",
    re.VERBOSE | re.ASCII,
)
"""Patterns of keys, from GitHub's and the providers' documentation.

https://docs.github.com/code-security/secret-scanning
"""

_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
)

_LOCATIONS = {"text": "the answer", "reasoning": "the reasoning"}
"""Descriptions of an entry's fields, for messages."""

_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{24,}={0,2}", re.ASCII)
_WHITESPACE = re.compile(r"\s+")
_HEX = re.compile(r"(?:[0-9a-fA-F]{2}){16,}", re.ASCII)


def check(entry: CassetteEntry | RequestBody, secrets: Mapping[str, str]) -> None:
    """Check that an entry contains no key.

    Each string is searched unchanged and after decoding base64, hexadecimal, URL, JSON and HTML.

    Args:
        entry: The entry to write, or the request to send.
        secrets: The known keys by variable name.

    Raises:
        ConfigError: If the entry contains a key; the message says where, without repeating it.
    """
    leak = _find_leak(entry, secrets)
    if leak:
        location, description = leak
        raise ConfigError(
            f"nothing was written to the cassette: {location} contains {description}.",
            hint=as_hint("Remove it.") | Hint("bypass_cassette"),
            topic="key-in-cassette",
        )


def _find_leak(
    entry: CassetteEntry | RequestBody, secrets: Mapping[str, str]
) -> tuple[str, str] | None:
    """Return a key's location and description, never the key itself.

    This is a separate function, so that no frame in the error's traceback refers to the key.
    """
    values = ((name, str(value)) for name, value in secrets.items())
    keys = {name: key for name, key in values if len(key) >= _MIN_KEY_LENGTH or looks_like_key(key)}
    located_texts = list(texts(entry))
    # Searching all strings at once is fast. The separator does not occur in keys or encodings.
    if find_key("\0".join(text for _, text in located_texts), keys) is None:
        return None
    matches = ((location, find_key(text, keys)) for location, text in located_texts)
    return next(((location, key_name) for location, key_name in matches if key_name), None)


def find_key(text: str, keys: Mapping[str, str]) -> str | None:
    """Return a description of the first key in a string or in one of its decodings.

    Args:
        text: The string to search.
        keys: The known keys by variable name. What looks like another key is also found.
    """
    without_spaces = _WHITESPACE.sub("", text)
    for decoded in _decodings(text):
        for name, key in keys.items():
            if redact(decoded, [key]) != decoded:
                return f"the key {name}"
        # After removing whitespace, ordinary words may look like a key.
        if _KEY_PATTERNS.search(decoded) and (decoded == text or decoded != without_spaces):
            return "what looks like a key"
    return None


def contains_unencoded_key(text: str) -> bool:
    """Return whether a string seems to contain a key; this is fast, as nothing is decoded."""
    return _KEY_PATTERNS.search(text) is not None


def mask(text: str) -> str:
    """Mask apparent keys; mask the whole text if one of its decodings contains a key.

    >>> mask("Use gsk_abcdefghij0123456789abcd here.")
    'Use <key> here.'
    """
    masked_text = _KEY_PATTERNS.sub("<key>", _PRIVATE_KEY.sub("<key>", text))
    return "<key>" if find_key(masked_text, {}) else masked_text


def texts(entry: CassetteEntry | RequestBody) -> Iterator[tuple[str, str]]:
    """Yield every string with its location."""
    fields: dict[str, Any] = msgspec.to_builtins(entry)
    for name in ("vectors", "pieces"):  # these are numbers
        fields.pop(name, None)
    for name, location in _LOCATIONS.items():
        if text := fields.pop(name, ""):
            yield location, text
    yield from _located_strings(fields, "")


def _located_strings(value: object, location: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield location, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield f"a name in {location or 'it'}", str(name)
            yield from _located_strings(inner, f"{location}.{name}".lstrip("."))
    elif isinstance(value, (list, tuple)):
        for number, inner in enumerate(value):
            yield from _located_strings(inner, f"{location}[{number}]")


def _decodings(text: str) -> Iterable[str]:
    """Return a string and its decodings, up to two levels deep."""
    decoded_texts = {text: None}  # a dict used as an ordered set
    for _ in range(2):
        for decoded in list(decoded_texts):
            decoded_texts.update(dict.fromkeys(_decode(decoded)))
    return decoded_texts


def _decode(text: str) -> Iterator[str]:
    """Yield a string's decodings (URL, JSON, HTML, base64, hex), and the string without spaces."""
    if "%" in text:
        yield unquote(text)
    if "\\" in text:
        yield _unescape(text)
    if "&" in text:
        yield html.unescape(text)
    if _WHITESPACE.search(text):
        yield _WHITESPACE.sub("", text)
    for run in _BASE64.findall(text):
        # The URL-safe alphabet differs from the standard alphabet in two characters.
        digits = run.rstrip("=").replace("-", "+").replace("_", "/")
        for start in range(4):  # a key may begin at any of the four offsets of a base64 group
            part = digits[start : len(digits) - ((len(digits) - start) % 4 == 1)]
            yield base64.b64decode(part + "=" * (-len(part) % 4)).decode("latin-1")
    for run in _HEX.findall(text):
        yield binascii.unhexlify(run).decode("latin-1")  # latin-1 decodes any bytes


def _unescape(text: str) -> str:
    r"""Decode ``\"``, ``\\``, ``\/`` and ``\u0041`` as JSON and Python do."""
    unescaped = re.sub(r"\\u([0-9a-fA-F]{4})", lambda code: chr(int(code[1], 16)), text)
    unescaped = re.sub(r"\\x([0-9a-fA-F]{2})", lambda code: chr(int(code[1], 16)), unescaped)
    return re.sub(r"\\(.)", r"\1", unescaped)
