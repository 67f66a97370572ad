"""A canary key that must never leak, and functions that search for it."""

import base64
import json
import urllib.parse

KEY = 'sk-canary/7Hq2+pVxN"4mTz\\K9wB=5uYcE0'
"""A key whose encodings in base64, in URLs and in JSON all differ."""


def key_encodings(key: str) -> list[str]:
    """Return the encodings and the ends of a key that may leak."""
    encodings = [key, key[:12], key[-12:], json.dumps(key)[1:-1], repr(key)[1:-1]]
    encodings += [urllib.parse.quote(key), urllib.parse.quote(key, safe="")]
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + key.encode()).decode()
        encodings.append(encoded[4 if shift else 0 : -4])
    return encodings


def leaks(text: object, key: str = KEY) -> list[str]:
    """Return the encodings of a key that are found in a text or in decoded bytes."""
    searched_text = text.decode("latin-1") if isinstance(text, bytes) else str(text)
    return [encoding for encoding in key_encodings(key) if encoding in searched_text]
