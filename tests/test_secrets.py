import copy
import pickle

import pytest

from gatewayx_nb.secure_config import Secret, key_fault, key_state, vendor_of_key

CANARY = "sk-canary-0123456789"


def test_a_secret_can_be_used_as_a_str():
    """`str(secret)` and `format(secret)` return the key, as vendors' code expects."""
    key = Secret(CANARY)

    assert str(key) == f"{key}" == CANARY
    assert type(str(key)) is str
    assert key == CANARY


def test_the_repr_and_slices_of_a_secret_are_masked():
    """The repr and the slices of a secret contain no part of the key."""
    key = Secret(CANARY)

    texts = [repr(key), key[:4], key[-4:], key[0], repr({"k": key}), f"{key!r}"]

    assert not any(fragment in text for text in texts for fragment in (CANARY[:4], CANARY[-4:]))


def test_a_pickled_secret_does_not_contain_the_key():
    """A pickled secret does not contain the key, because pickles may be shared; a copy does."""
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
    """A placeholder, as in an example file, is not a key."""
    assert key_state(value) == "placeholder"


@pytest.mark.parametrize(
    "value", ["EMPTY", "sk-1234", "x", " padded ", "your", "ollama", "a" * 500]
)
def test_short_and_unusual_keys_are_valid(value):
    """A short or unusual text is a valid key, because local servers accept any key."""
    assert key_state(value) == "set"


@pytest.mark.parametrize("value", [None, "", "  ", "\n"])
def test_an_empty_key_is_missing(value):
    """The state of an empty key is "missing"."""
    assert key_state(value) == "missing"


@pytest.mark.parametrize(
    ("key", "engine"),
    [("sk-ant-api03-x", "anthropic"), ("sk-or-v1-x", "openrouter"), ("sk-x", None), ("", None)],
)
def test_the_vendor_of_a_key_is_recognized_by_its_prefix(key, engine):
    """The vendor of a key is recognized by its prefix, if that is unambiguous."""
    assert vendor_of_key(Secret(key)) == engine


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("\u201cxai-1234\u201d", "is in curly quotes"),
        ("\u2018xai-1234\u2019", "is in curly quotes"),
        ("xai-1234\u200b", "contains an invisible character, U+200B ZERO WIDTH SPACE"),
        ("\ufeffxai-1234", "contains an invisible character, U+FEFF ZERO WIDTH NO-BREAK SPACE"),
        ("xai-\u00ad1234", "contains an invisible character, U+00AD SOFT HYPHEN"),
        ("xai-1 234", "contains a space"),
        ("xai-1\u00a0234", "contains a space"),
        ("xai\u20131234", "contains U+2013 EN DASH, which looks like a hyphen"),
        ("xai-\x00234", "contains a character that is not text, U+0000"),
        ("xai-é234", "contains a character that is not ASCII"),
        ("your_key_here", ""),
        ("xai-1234", ""),
        (" xai-1234\u00a0", ""),  # spaces around a key are removed
    ],
)
def test_the_fault_of_an_invalid_key_is_described(value, fault):
    """Characters copied along with a key may be invisible, so the error names them."""
    assert key_fault(value) == fault
    assert (key_state(value) == "set") == (value.strip() == "xai-1234")
