"""A canary key that must never leak, and functions that search for it."""

import base64
import json
import urllib.parse

KEY = 'sk-canary/7Hq2+pVxN"4mTz\\K9wB=5uYcE0'
"""Escaping it for base64, URLs and JSON yields a different text each time."""


def forms(key: str) -> list[str]:
    """Return the encodings in which a key may leak."""
    shapes = [key, key[:12], key[-12:], json.dumps(key)[1:-1], repr(key)[1:-1]]
    shapes += [urllib.parse.quote(key), urllib.parse.quote(key, safe="")]
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + key.encode()).decode()
        shapes.append(encoded[4 if shift else 0 : -4])
    return shapes


def leaks(text: object, key: str = KEY) -> list[str]:
    """Return the encodings of a key found in a text, or in decoded bytes."""
    said = text.decode("latin-1") if isinstance(text, bytes) else str(text)
    return [form for form in forms(key) if form in said]
