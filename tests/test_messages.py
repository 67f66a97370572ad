import asyncio
import json
from decimal import Decimal

import pytest

from gatewayx_nb.messages import Message, ModelInfo, ModelRef, Request
from gatewayx_nb.replies import Reply


@pytest.mark.parametrize(
    ("text", "engine", "model"),
    [
        ("grok", "grok", None),
        ("openrouter:meta-llama/llama-4", "openrouter", "meta-llama/llama-4"),
        ("ollama:llama3:8b", "ollama", "llama3:8b"),
        (" grok: ", "grok", None),
    ],
)
def test_only_the_first_colon_counts(text, engine, model):
    """A reference is split at its first colon into engine and model."""
    assert ModelRef.parse(text) == ModelRef(engine, model)


def test_a_reference_can_be_parsed_from_its_text():
    """The text of a reference parses to an equal reference."""
    for ref in (ModelRef("grok"), ModelRef("a", "b:c")):
        assert ModelRef.parse(str(ref)) == ref
    assert str(ModelInfo("grok", "grok-4.6")) == "grok:grok-4.6"


def test_unset_options_are_not_passed_to_an_engine():
    """The keywords of a request are the options that are set, without the prompt."""
    request = Request((Message("user", "hi"),), "m", temperature=0.0, params={"top_p": 0.5})

    assert request.keywords() == {"temperature": 0.0, "top_p": 0.5}
    assert request.prompt == "hi"


def test_a_reply_is_displayed_as_text_and_safe_html():
    """A reply is displayed as text and as safe HTML, not as Markdown, which a page would trust."""
    reply = Reply("**hi** <script>", engine="mock", model="m")

    bundle = reply._repr_mimebundle_()

    assert str(reply) == bundle["text/plain"] == "**hi** <script>"
    assert "<strong>hi</strong>" in bundle["text/html"]
    assert "<script" not in bundle["text/html"]
    assert set(bundle) == {"text/plain", "text/html"}


def test_a_reply_has_a_short_repr():
    """The repr of a reply is one line of limited length."""
    assert len(repr(Reply("long " * 1000, engine="mock", model="m"))) < 120


REPLY = Reply("Paris", engine="mock", model="m", cost=Decimal("0.01"), parsed={"city": "Paris"})


def test_a_reply_can_be_used_like_its_text():
    """`in`, `len`, `+` and format specifications use the text; an empty reply is still true."""
    assert "Par" in REPLY
    assert len(REPLY) == 5
    assert REPLY + "!" == "Paris!"
    assert "In " + REPLY + REPLY == "In ParisParis"
    assert f"{REPLY:>7}" == "  Paris"
    assert Reply("", engine="mock", model="m")


@pytest.mark.parametrize(
    ("use", "error", "message"),
    [
        (lambda reply: reply.upper(), AttributeError, r"use `reply\.text\.upper`"),
        (lambda reply: reply.txt, AttributeError, "a reply has no attribute 'txt'$"),
        (lambda reply: reply[0], TypeError, r"use `reply\.text`"),
        (list, TypeError, r"use `reply\.text`"),
        (lambda reply: reply + 1, TypeError, "unsupported operand"),
        (lambda reply: asyncio.run(_await(reply)), TypeError, "await `gx.aask"),
    ],
)
def test_other_uses_of_a_reply_raise_an_error_that_says_what_to_use(use, error, message):
    """Where a reply cannot stand for a text, the error names `reply.text` or `gx.aask`."""
    with pytest.raises(error, match=message):
        use(REPLY)


async def _await(reply):
    return await reply


def test_a_reply_as_a_dict_can_be_written_as_json():
    """`to_dict` has every field but the body, with a float for the cost."""
    values = json.loads(json.dumps(REPLY.to_dict()))

    assert values["text"] == "Paris"
    assert values["cost"] == 0.01
    assert values["parsed"] == {"city": "Paris"}
    assert values["usage"]["input_tokens"] is None
    assert "raw" not in values
