import copy
import pickle

import pytest

from gatewayx_nb.secure_config import Secret, key_state, redact, vendor_of_key

CANARY = "sk-canary-0123456789"


def test_a_secret_is_the_key_where_it_is_used():
    """`str` and format of a secret return the key, as vendors' code expects."""
    key = Secret(CANARY)

    assert str(key) == f"{key}" == CANARY
    assert type(str(key)) is str
    assert key == CANARY


def test_a_secret_is_a_mask_where_it_is_shown():
    """`repr` and every display of a secret are a mask without any part of the key."""
    key = Secret(CANARY)

    shown = [repr(key), key[:4], key[-4:], key[0], repr({"k": key}), f"{key!r}"]

    assert not any(part in text for text in shown for part in (CANARY[:4], CANARY[-4:]))


def test_a_pickled_secret_carries_no_key():
    """A pickled secret has no key, because pickles leave the machine; a copy has it."""
    assert CANARY.encode() not in pickle.dumps(Secret(CANARY))
    assert copy.deepcopy({"k": Secret(CANARY)}) == {"k": CANARY} == {"k": copy.copy(Secret(CANARY))}


@pytest.mark.parametrize(
    "value",
    [
        "your_real_grok_key_here",
        "your_grok_key_here",
        "your-api-key",
        "YOUR_API_KEY",
        "changeme",
        "sk-...",
        "sk-grok-...",
        "<key>",
        "<your key>",
        "xxx",
        "XXXXXXXX",
        "****",
        "placeholder",
        "sk-ключ",
        "sk-\x07bell",
        "two words",
    ],
)
def test_a_placeholder_is_not_a_key(value):
    """A placeholder of an example file is not a key and is never sent."""
    assert key_state(value) == "placeholder"


@pytest.mark.parametrize(
    "value", ["EMPTY", "sk-1234", "x", " padded ", "your", "ollama", "a" * 500]
)
def test_a_short_key_is_a_key(value):
    """A short text is a valid key, because local servers accept any."""
    assert key_state(value) == "set"


@pytest.mark.parametrize("value", [None, "", "  ", "\n"])
def test_nothing_is_missing(value):
    """An empty value counts as missing."""
    assert key_state(value) == "missing"


@pytest.mark.parametrize(
    ("key", "engine"),
    [("sk-ant-api03-x", "anthropic"), ("sk-or-v1-x", "openrouter"), ("sk-x", None), ("", None)],
)
def test_a_key_may_tell_whose_it_is(key, engine):
    """The prefix of a key may identify its vendor."""
    assert vendor_of_key(Secret(key)) == engine


def test_redacting_takes_every_key_out():
    """Redaction replaces the longest key first, so that a key within another leaves no rest."""
    text = redact("a sk-1234567 b sk-12345 c", ["sk-12345", "", "sk-1234567"])

    assert text == "a <key> b <key> c"
