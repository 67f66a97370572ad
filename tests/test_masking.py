"""Masking of keys in text."""

import itertools
import json
import re
from base64 import b64encode, urlsafe_b64encode
from random import Random
from urllib.parse import quote

import pytest

from gatewayx_nb import masking
from gatewayx_nb.masking import (
    StreamRedactor,
    may_contain_part,
    may_mask_in_answer,
    redact,
    redact_json,
)
from gatewayx_nb.secrets import MASK
from tests.processor import seconds

CANARY = "sk-canary-0123456789"


def test_redaction_replaces_every_key():
    """The longest key is replaced first, so that no part of it remains if it contains another."""
    text = redact("a sk-1234567 b sk-12345 c", ["sk-12345", "", "sk-1234567"])

    assert text == "a <key> b <key> c"


LONG_KEY = "sk-proj-" + "".join(f"{(37 * n + 11) % 256:02x}" for n in range(78))
FORMS = {
    "plain": lambda text: text,
    "upper case": str.upper,
    "base64": lambda text: b64encode(text.encode()).decode(),
    "base64 within a text": lambda text: b64encode(b"x" + text.encode() + b"yz").decode(),
    "base64 of a URL": lambda text: urlsafe_b64encode(text.encode()).decode(),
    "hexadecimal": lambda text: text.encode().hex(),
    "upper hexadecimal": lambda text: text.encode().hex().upper(),
    "URL": lambda text: quote(text, safe=""),
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON with escaped slashes": lambda text: json.dumps(text)[1:-1].replace("/", r"\/"),
    "repr": lambda text: repr(text)[1:-1],
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "part", [slice(None), slice(80), slice(4, -4), slice(40, 60), slice(-20, None)], ids=str
)
@pytest.mark.parametrize("key", [LONG_KEY, 'canary/7Hq2+pVxN"4mTz\\K9wB=5uYcE0/Aa1Bb2Cc3Dd4Ee5Ff6'])
def test_every_long_part_of_a_key_is_masked(key, part, form):
    """If a provider quotes the middle of a key in any encoding, no eight characters remain."""
    quoted = FORMS[form](key[part])

    text = redact(f"bad key {quoted}, again: {quoted}.", [key])

    assert may_contain_part(json.dumps(f"bad key {quoted}\n"), key)
    whole = FORMS[form](key)
    assert MASK in text
    assert not any(text[at : at + 16] in whole for at in range(len(text) - 15))
    if form in ("plain", "upper case"):
        assert text == f"bad key {MASK}, again: {MASK}."


@pytest.mark.parametrize("escape", ["%{:02X}", r"\x{:02x}", r"\u{:04x}", "&#{};", "&#x{:x};"])
@pytest.mark.parametrize("part", [slice(None), slice(40, 60)], ids=str)
def test_a_key_with_every_character_escaped_is_masked(part, escape):
    """The escapes of URLs, Python, JSON and HTML do not hide a key, nor a part of it."""
    quoted = "".join(escape.format(ord(character)) for character in LONG_KEY[part])

    assert redact(f"bad key {quoted}, again", [LONG_KEY]) == f"bad key {MASK}, again"
    assert may_contain_part(json.dumps({"error": [f"bad key {quoted}"]}), LONG_KEY)


@pytest.mark.parametrize("key", ["k", "abc12345", "sk-1234", 'a"b\\c/d'])
def test_a_short_key_is_found_as_a_whole(key):
    """No part of it identifies a short key, also in JSON."""
    assert may_contain_part(json.dumps(f"x{key}y"), key)
    assert not may_contain_part(json.dumps("ABC"), key)


@pytest.mark.parametrize("place", [-20, -8, -1, 0, 1])
def test_a_key_between_two_windows_may_be_found(monkeypatch, place):
    """A part of a key that lies in two windows is not missed."""
    monkeypatch.setattr(masking, "_WINDOW_SIZE", 100)
    text = ("ä" * (100 + place) + LONG_KEY[80:100]).ljust(300, "ä")

    assert may_contain_part(text, LONG_KEY)
    assert not may_contain_part("ä" * 300, LONG_KEY)


@pytest.mark.parametrize(
    "text",
    ["Keys begin with sk-proj-.", "engine 'deepseek' failed", "an anthropic principle", "İ" * 20],
)
def test_text_that_does_not_identify_a_key_is_kept(text):
    """Common prefixes of keys and names of vendors are not masked."""
    assert redact(text, [LONG_KEY, "deepseek-0123456789", "anthropic-0123456789"]) == text


def feed(key, pieces):
    """Return the pieces of a stream with the key masked, as a caller that skips short ones."""
    redactor, fed = StreamRedactor(key), []
    for piece in pieces:
        if len(piece) < 8 and redactor.recent[-1:] + piece[:1] not in redactor.pairs:
            redactor.recent = piece or redactor.recent
            fed.append(piece)
        else:
            fed.append(redactor.feed(piece))
    return fed


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 15, 16, 40, 1000])
@pytest.mark.parametrize("change", [str, str.upper], ids=["as it is", "upper case"])
def test_a_key_that_is_split_over_pieces_is_masked(size, change):
    """At most seven characters are passed on before the mask, and the other text is kept."""
    key = "sk-proj-canary-0123456789abcdef"
    text = f"One {change(key)}, {change(key)} and {change(key)}{change(key[3:])}."
    pieces = [text[start : start + size] for start in range(0, len(text), size)]

    fed = "".join(feed(key, pieces))

    plain = fed.lower().replace("sk-proj-", "")
    assert not any(key[at : at + 8] in plain for at in range(len(key) - 7))
    assert re.fullmatch(r"One .{0,8}<key>, .{0,8}<key> and .{0,8}<key>.{0,8}(?:<key>)?\.", fed)


def test_pieces_without_a_key_are_unchanged_and_others_are_masked_as_a_whole():
    """Random streams of parts of a key never show eight of its characters in a row."""
    random = Random(1)
    for _ in range(2000):
        key = "".join(random.choices('ab1-/"\\%k', k=random.randint(9, 30)))
        parts = []
        while len(parts) < 12:
            start = random.randrange(len(key))
            part = key[start : random.randint(start, len(key))]
            parts.append(random.choice([part, key, "word ", "", random.choice(" xyab1é")]))
        text = "".join(parts)
        cuts = sorted(random.sample(range(len(text)), min(len(text) // 4, 20)))
        pieces = [text[i:j] for i, j in itertools.pairwise([0, *cuts, len(text)])]

        fed = feed(key, pieces)

        shown = "".join(fed).replace(MASK, "\0").lower()
        assert not any(key[at : at + 8] in shown for at in range(len(key) - 7))
        assert fed == pieces or redact(text, [key]) != text


@pytest.mark.parametrize(
    ("key", "is_masked"),
    [
        ("sk-1", False),
        ("lm-studio", False),
        ("sk-no-key-required", False),
        ("sk-12345", True),
        ("abcdefghijklmnopqrstuvwxyz", True),
        ("", False),
    ],
)
def test_a_placeholder_of_a_local_server_is_not_masked_in_answers(key, is_masked):
    """An answer may contain such a word, such as "required"."""
    assert may_mask_in_answer(key) is is_masked


PROSE = "The quick brown fox jumps over the lazy dog. " * 12_000
KEY_OF_44 = "sk-proj-AbCdEf0123456789GhIjKlMnOpQrStUvWxYz"


@pytest.mark.parametrize(
    "text",
    [
        KEY_OF_44 * 12_000,
        f"{KEY_OF_44[8:17]} " * 50_000,
        f"{KEY_OF_44[12:16]}...." * 60_000,
        PROSE + KEY_OF_44[12:16] * 3,
    ],
    ids=["key", "part", "block", "one block"],
)
def test_text_full_of_a_key_is_masked_fast(text):
    """Searching the worst text takes at most 40 times as long as ordinary text, not 100 times."""
    masked = redact(text, [KEY_OF_44])
    runs = {KEY_OF_44[start : start + 8] for start in range(len(KEY_OF_44) - 7)}
    assert not any(run in masked for run in runs)

    worst = min(seconds(lambda: redact(text, [KEY_OF_44])) for _ in range(3))
    ordinary = min(seconds(lambda: redact(PROSE, [KEY_OF_44])) for _ in range(3))
    assert worst < 40 * ordinary


@pytest.mark.parametrize("place", [-20, -8, -1, 0, 1])
def test_a_key_between_two_windows_is_masked(place):
    """A long text is searched in windows, which overlap."""
    before = PROSE * 3
    text = before[: (1 << 20) + place] + KEY_OF_44 + PROSE
    assert redact(text, [KEY_OF_44]) == text.replace(KEY_OF_44, "<key>")


@pytest.mark.parametrize("escape", ["%{:02x}", "\\x{:02x}", "&#x{:02x};"])
def test_a_huge_run_of_escapes_is_masked_as_a_whole(escape):
    """Decoding it would take much memory; ordinary text has no such run."""
    run = "".join(escape.format(ord(character)) for character in KEY_OF_44) * 1_000
    assert redact(f"before {run} after", [KEY_OF_44]) == "before <key> after"


@pytest.mark.parametrize("escape", ["%{:02x}", r"\x{:02x}", r"\u00{:02X}", "&#x{:02x};", "&#{};"])
@pytest.mark.parametrize("distance", [1, 20, 47, 48, 49, 130])
def test_an_escaped_key_at_the_end_of_a_window_is_masked(monkeypatch, escape, distance):
    """Long text is searched in windows; a run of escapes may begin in one and end in another."""
    monkeypatch.setattr(masking, "_WINDOW_SIZE", 1000)
    escaped = "".join(escape.format(ord(character)) for character in CANARY)
    other = "".join(escape.format(ord(character)) for character in "no key")

    before = ("." * 1000 + other * 40)[: 2000 - distance] + "\n"

    assert redact(before + escaped + " end", [CANARY]) == f"{before}{MASK} end"


def test_a_letter_that_grows_in_lower_case_moves_no_mask():
    """The lower-case form of a dotted I has two characters."""
    assert redact(f"\u0130 {CANARY.upper()} \u0130", [CANARY]) == f"\u0130 {MASK} \u0130"


@pytest.mark.parametrize("distance", [1, 7, 8, 19, 20, 40])
@pytest.mark.parametrize("escape", ["{}", r"\x{:02x}"], ids=["plain", "escaped"])
def test_the_beginning_of_a_long_text_ends_with_no_part_of_a_key(distance, escape):
    """Where the text is cut, up to seven characters of a key would not be recognized."""
    escaped = "".join(escape.format(c if escape == "{}" else ord(c)) for c in CANARY)
    text = "." * (masking.MAX_SEARCHED - distance) + escaped + "." * 100

    assert set(masking.redact_beginning(text, CANARY)) == {".", "…"}


def _mask(text):
    return redact(text, [CANARY])


@pytest.mark.parametrize("every", [1, 2, 3, 5, 7])
def test_a_key_with_some_escaped_characters_is_masked_in_json(every):
    """A key is masked even if some of its characters are escaped in JSON."""
    escaped = "".join(
        f"\\u{ord(letter):04x}" if number % every == 0 else letter
        for number, letter in enumerate(CANARY)
    )
    text = f'{{"a": ["x{escaped}"], "{escaped}": 1}}'

    assert CANARY not in str(json.loads(redact_json(text, _mask)))
    assert MASK in redact_json(text, _mask)


@pytest.mark.parametrize("template", ['{"a": "%s", "a": 1}', '{"a": "%s"} and more', '{"a": "%s'])
def test_an_escaped_key_is_masked_wherever_it_is(template):
    """A name may be repeated, and the text may be no valid JSON."""
    escaped = "".join(f"\\u{ord(c):04x}" if n % 3 == 0 else c for n, c in enumerate(CANARY))
    assert CANARY not in redact_json(template % escaped, _mask)
    assert escaped not in redact_json(template % escaped, _mask)


@pytest.mark.parametrize(
    "text", ['{"a": "\\u0073\\n"}', '{"a": "\\', "\\", "[" * 100_000 + "\\", '{"a": 1.50}', "plain"]
)
def test_json_without_a_key_stays_as_it_is(text):
    """A text without a key is returned unchanged, whether or not it is JSON."""
    assert redact_json(text, _mask) == text
