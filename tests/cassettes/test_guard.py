"""Cassettes never contain a key, in any encoding and field."""

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
SHAPED = [
    "sk-proj-abcdefghij1234567890",
    "AIza" + "Sy0123456789abcdefghijklmnopqrstuvw"[:35],
    "gsk_abcdefghij0123456789abcd",
    "xai-abcdefghij0123456789abcd",
    "ghp_abcdefghij0123456789abcdefghij012345",
    "AKIAABCDEFGHIJKLMNOP",
    "-----BEGIN RSA PRIVATE KEY-----",
]
WRITINGS = {
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
    "base64 at 1": lambda key: base64.b64encode(b"=" + key.encode() + b"&").decode(),
    "base64 at 2": lambda key: base64.b64encode(b"xy" + key.encode()).decode(),
    "base64 for URLs": lambda key: base64.urlsafe_b64encode(b"?>" + key.encode()).decode(),
    "base64 in base64": lambda key: base64.b64encode(base64.b64encode(key.encode())).decode(),
    "broken over lines": lambda key: key[:9] + "\n" + key[9:],
}


def same(text):
    """Return the text unchanged."""
    return text


def entry(prompt="Hi", chunks=(), **reply):
    """Return an entry."""
    identity = {"recorded": "", "engine": "e", "model": ""}
    request = Request((Message("user", prompt),), "")
    text = "".join(chunk.text for chunk in chunks)
    return entry_of(
        body_of(request, (), same), identity, Reply(text, "e", "m", **reply), chunks, same
    )


@pytest.mark.parametrize("writing", WRITINGS)
def test_a_loaded_key_is_found_in_every_encoding(writing):
    """A loaded key is found in the prompt and the answer in every encoding.

    The error says where it is and contains no part of it.
    """
    text = f"before {WRITINGS[writing](canary.KEY)} after"
    for held, place in (
        (entry(text), "messages"),
        (entry(chunks=[RecordedChunk(0, text)]), "chunks"),
    ):
        with pytest.raises(ConfigError, match="Nothing was written") as refused:
            check(held, SECRETS)
        assert place in str(refused.value)
        assert "GATEWAYX_GROK_API_KEY" in str(refused.value)
        assert not canary.leaks(refused.value)


@pytest.mark.parametrize("key", [canary.KEY, *SHAPED])
@pytest.mark.parametrize("size", [1, 2, 5, 11])
def test_a_key_that_is_split_over_chunks_is_found(key, size):
    """A key split over chunks of any size and seconds apart is found, in text and in reasoning."""
    parts = [key[start : start + size] for start in range(0, len(key), size)]
    texts = [RecordedChunk(number, part) for number, part in enumerate(parts)]
    thoughts = [RecordedChunk(number, "", part) for number, part in enumerate(parts)]

    with pytest.raises(ConfigError, match="the answer contains"):
        check(entry(chunks=texts), SECRETS)
    with pytest.raises(ConfigError, match="the reasoning contains"):
        check(entry(chunks=thoughts, reasoning=key), SECRETS)


@pytest.mark.parametrize("name", canary.forms(canary.KEY))
def test_encodings_of_the_canary_are_found(name):
    """The guard finds every form of the canary that other tests search for."""
    with pytest.raises(ConfigError):
        check(entry(f"x{name}x"), SECRETS)


@pytest.mark.parametrize(
    "held",
    [
        entry(reasoning=canary.KEY),
        entry(tool_calls=(ToolCall("1", "f", json.dumps({"key": canary.KEY})),)),
        entry(dropped=(canary.KEY,)),
        entry(fallback_from=canary.KEY),
        body_of(Request((), "", system=canary.KEY), (), same),
        body_of(Request((), "", params={canary.KEY: 1}), (), same),
        body_of(Request((), "", params={"a": [{"b": canary.KEY}]}), (), same),
        body_of(Request((), "", schema={"title": canary.KEY}), (), same),
        body_of(Request((), "", stop=(canary.KEY,)), (), same),
        body_of(Request((), ""), (canary.KEY,), same),
    ],
)
def test_every_place_is_searched(held):
    """Every field of the request and of the reply is searched for keys."""
    with pytest.raises(ConfigError):
        check(held, SECRETS)


@pytest.mark.parametrize("key", SHAPED)
@pytest.mark.parametrize("writing", ["plain", "url", "json", "hex", "base64", "base64 at 1"])
def test_texts_that_look_like_keys_are_found(key, writing):
    """A text that looks like any provider's key is found, even if it was never loaded."""
    with pytest.raises(ConfigError, match="what looks like a key"):
        check(entry(f"see {WRITINGS[writing](key)} there"), {})


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
def test_texts_that_are_not_keys_pass(text):
    """Words, digests, prefixes and the dummy keys of local servers are not taken for keys."""
    check(entry(text, [RecordedChunk(0, text)]), {**SECRETS, "GATEWAYX_VLLM_API_KEY": "EMPTY"})
