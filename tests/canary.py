"""A key that must be found nowhere, and how to look for it."""

import base64
import json
import urllib.parse

KEY = 'sk-canary/7Hq2+pVxN"4mTz\\K9wB=5uYcE0'
"""Each way of writing it down, base64, URL and JSON, is another text."""


def forms(key: str) -> list[str]:
    """Give the shapes in which a key may leak."""
    shapes = [key, key[:12], key[-12:], json.dumps(key)[1:-1], repr(key)[1:-1]]
    shapes += [urllib.parse.quote(key), urllib.parse.quote(key, safe="")]
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + key.encode()).decode()
        shapes.append(encoded[4 if shift else 0 : -4])
    return shapes


def leaks(text: object, key: str = KEY) -> list[str]:
    """Give the shapes of a key that stand in a text, or in what bytes say."""
    said = text.decode("latin-1") if isinstance(text, bytes) else str(text)
    return [form for form in forms(key) if form in said]
