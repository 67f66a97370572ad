"""Cassettes never contain a key, in any encoding or field."""

import base64
import html
import json
from urllib.parse import quote

import pytest

from gatewayx_nb.cassettes import RecordedChunk, body_of, entry_of
from gatewayx_nb.cassettes.guard import check
from gatewayx_nb.errors import ConfigError
from gatewayx_nb.messages import Message, Request, ToolCall
from gatewayx_nb.replies import Reply
from tests import canary

SECRETS = {"GATEWAYX_GROK_API_KEY": canary.KEY}
KEY_LIKE_TEXTS = [
    "sk-proj-abcdefghij1234567890",
    "AIza" + "Sy0123456789abcdefghijklmnopqrstuvw"[:35],
    "gsk_abcdefghij0123456789abcd",
    "xai-abcdefghij0123456789abcd",
    "ghp_abcdefghij0123456789abcdefghij012345",
    "AKIAABCDEFGHIJKLMNOP",
    "-----BEGIN RSA PRIVATE KEY-----",
]
ENCODINGS = {
    "plain": str,
    "first 12": lambda key: key[:12],
    "last 12": lambda key: key[-12:],
    "url": lambda key: quote(key, safe=""),
    "json": json.dumps,
    "json in json": lambda key: json.dumps(json.dumps(key)),
    "python": repr,
    "html": html.escape,
    "hex": lambda key: key.encode().hex(),
    "base64": lambda key: base64.b64encode(key.encode()).decode(),
    "base64 at offset 1": lambda key: base64.b64encode(b"=" + key.encode() + b"&").decode(),
    "base64 at offset 2": lambda key: base64.b64encode(b"xy" + key.encode()).decode(),
    "base64 for URLs": lambda key: base64.urlsafe_b64encode(b"?>" + key.encode()).decode(),
    "base64 in base64": lambda key: base64.b64encode(base64.b64encode(key.encode())).decode(),
    "two lines": lambda key: key[:9] + "\n" + key[9:],
}


def keep(text):
    """Return the text unchanged."""
    return text


def make_entry(prompt="Hi", chunks=(), **reply):
    """Return a cassette entry."""
    identity = {"recorded": "", "engine": "e", "model": ""}
    request = Request((Message("user", prompt),), "")
    text = "".join(chunk.text for chunk in chunks)
    return entry_of(
        body_of(request, (), keep), identity, Reply(text, "e", "m", **reply), chunks, keep
    )


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_loaded_key_is_found_in_every_encoding(encoding):
    """A loaded key is found in the prompt and in the answer, in every encoding.

    The error names the field and the key's variable, and contains no part of the key.
    """
    text = f"before {ENCODINGS[encoding](canary.KEY)} after"
    for value, field in (
        (make_entry(text), "messages"),
        (make_entry(chunks=[RecordedChunk(0, text)]), "the answer"),
    ):
        with pytest.raises(ConfigError, match="nothing was written") as caught:
            check(value, SECRETS)
        assert field in str(caught.value)
        assert "GATEWAYX_GROK_API_KEY" in str(caught.value)
        assert not canary.leaks(caught.value)


@pytest.mark.parametrize("key", [canary.KEY, *KEY_LIKE_TEXTS])
@pytest.mark.parametrize("size", [1, 2, 5, 7])
def test_a_key_that_is_split_over_chunks_is_found(key, size):
    """A key that is split across chunks of any size is found, in the text and in the reasoning."""
    fragments = [key[start : start + size] for start in range(0, len(key), size)]
    text_chunks = [RecordedChunk(number, text) for number, text in enumerate(fragments)]
    reasoning_chunks = [RecordedChunk(number, "", text) for number, text in enumerate(fragments)]

    with pytest.raises(ConfigError, match="the answer contains"):
        check(make_entry(chunks=text_chunks), SECRETS)
    with pytest.raises(ConfigError, match="the reasoning contains"):
        check(make_entry(chunks=reasoning_chunks, reasoning=key), SECRETS)


@pytest.mark.parametrize("form", canary.key_encodings(canary.KEY))
def test_all_forms_of_the_canary_are_found(form):
    """The guard finds every form of the canary that other tests search for."""
    with pytest.raises(ConfigError):
        check(make_entry(f"x{form}x"), SECRETS)


@pytest.mark.parametrize(
    "value",
    [
        make_entry(reasoning=canary.KEY),
        make_entry(tool_calls=(ToolCall("1", "f", json.dumps({"key": canary.KEY})),)),
        make_entry(dropped=(canary.KEY,)),
        make_entry(fallback_from=canary.KEY),
        body_of(Request((), "", system=canary.KEY), (), keep),
        body_of(Request((), "", params={canary.KEY: 1}), (), keep),
        body_of(Request((), "", params={"a": [{"b": canary.KEY}]}), (), keep),
        body_of(Request((), "", schema={"title": canary.KEY}), (), keep),
        body_of(Request((), "", stop=(canary.KEY,)), (), keep),
        body_of(Request((), ""), (canary.KEY,), keep),
    ],
)
def test_every_field_is_searched_for_keys(value):
    """Every field of the request and of the reply is searched for keys."""
    with pytest.raises(ConfigError):
        check(value, SECRETS)


@pytest.mark.parametrize("key", KEY_LIKE_TEXTS)
@pytest.mark.parametrize(
    "encoding", ["plain", "url", "json", "hex", "base64", "base64 at offset 1"]
)
def test_texts_that_look_like_keys_are_found(key, encoding):
    """A text that looks like a key is found, even if no such key is loaded."""
    with pytest.raises(ConfigError, match="what looks like a key"):
        check(make_entry(f"see {ENCODINGS[encoding](key)} there"), {})


@pytest.mark.parametrize(
    "text",
    [
        "A risk-free and ask-me-anything approach for 2024-01-01, task-oriented.",
        "sk-... and sk-your-key-here",
        "sha256 b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        "hf_ and xai- are prefixes; AIza is one too. EMPTY is none.",
        "%zz \\u12 & &amp; \\",
        "word " * 2000,
    ],
)
def test_texts_that_do_not_look_like_keys_are_accepted(text):
    """Words, digests, prefixes and the dummy keys of local servers are not reported as keys."""
    check(make_entry(text, [RecordedChunk(0, text)]), {**SECRETS, "GATEWAYX_VLLM_API_KEY": "EMPTY"})
