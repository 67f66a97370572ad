"""Replies with a schema, unsupported features and parameters, and prices."""

from dataclasses import dataclass
from decimal import Decimal

import pytest

from gatewayx_nb import output_formats
from gatewayx_nb.errors import (
    ProviderError,
    TruncatedError,
    UnsupportedFeatureError,
)
from gatewayx_nb.llm_engines import Chunk, RejectedParameterError, Usage
from gatewayx_nb.testing import ScriptedEngine

END = Chunk(finish_reason="stop", usage=Usage(input_tokens=3, output_tokens=2))


def test_an_answer_to_a_schema_is_parsed(scripted):
    """A reply to a schema is parsed; an engine that supports schemas receives it."""
    pool, engine = scripted(['{"a": ', "1}", END])

    reply = pool.ask("x", model="scripted", schema={"type": "object"})

    assert reply.parsed == {"a": 1}
    assert engine.requests[0].schema == {"type": "object"}


def test_an_answer_that_does_not_match_is_corrected_once(scripted):
    """A reply that does not match the schema is requested once more, with the reason.

    Both calls are counted; a stream yields only the first.
    """
    pool, engine = scripted(["no json", END], ['{"a": 1}', END])

    stream = pool.stream("x", model="scripted", schema={})

    assert [chunk.text for chunk in stream] == ["no json", ""]
    assert (stream.reply.parsed, stream.reply.text) == ({"a": 1}, '{"a": 1}')
    assert (stream.reply.usage, stream.reply.attempts) == (Usage(6, 4), 2)
    first, second = engine.requests
    assert [message.role for message in second.messages] == ["user", "assistant", "user"]
    assert second.messages[:1] == first.messages
    assert "it contains no JSON" in second.prompt


def test_a_second_mismatch_raises_an_error_with_the_text(scripted):
    """A second mismatch raises an error that holds the text; a truncated reply is not repeated."""
    cut = Chunk(finish_reason="length")
    pool, engine = scripted(["no", END], ["never", END], ['{"a": ', cut])

    with pytest.raises(ProviderError, match=r"two answers of .* do not match the schema") as caught:
        pool.ask("x", model="scripted", schema={})
    assert caught.value.partial == "never"
    with pytest.raises(TruncatedError, match="max_tokens"):
        pool.ask("x", model="scripted", schema={})
    assert len(engine.requests) == 3


def test_an_engine_without_schemas_gets_it_in_the_prompt(project):
    """An engine without schema support gets the schema in the system prompt."""
    reply = project.pool().ask('{"a": 1}', model="mock", schema={"title": "MINE"})

    assert '"title": "MINE"' in reply.text
    assert reply.parsed is not None


def test_an_unsupported_feature_raises_an_error(project):
    """The error is raised before anything is sent."""
    picture = b"\x89PNG\r\n\x1a\n"
    with pytest.raises(UnsupportedFeatureError, match="does not support images"):
        project.pool().ask("x", model="mock", images=[picture])


def test_a_rejected_parameter_is_dropped_on_request(scripted):
    """With `drop_unsupported` rejected parameters are dropped, one per attempt.

    These attempts do not count as retries; the reply names the parameters.
    """
    rejections = [
        [RejectedParameterError("no", code="temperature", status=400)],
        [RejectedParameterError("no", code="logit_bias", status=400)],
    ]
    pool, engine = scripted(*rejections, ["ok", END])
    params = {"drop_unsupported": True, "logit_bias": {}, "n": 1}

    reply = pool.ask("x", model="scripted", temperature=0, params=params)

    assert (reply.text, reply.dropped) == ("ok", ("temperature", "logit_bias"))
    assert engine.requests[0].params == {"logit_bias": {}, "n": 1}
    assert (engine.requests[2].temperature, engine.requests[2].params) == (None, {"n": 1})


def test_a_rejected_parameter_raises_an_error_with_its_name(scripted):
    """By default a rejected parameter raises an error that names it."""
    pool, engine = scripted([RejectedParameterError("no", code="temperature")])

    with pytest.raises(UnsupportedFeatureError) as caught:
        pool.ask("x", model="scripted", temperature=0)
    assert (caught.value.code, len(engine.requests)) == ("temperature", 1)


def test_the_price_of_a_known_provider_is_looked_up(project):
    """The price of a known provider is looked up; billed tokens override counted tokens."""

    class Priced(ScriptedEngine):
        prices = "x-ai"
        model_name = "grok-4.6"

        def get_cost_per_token(self):
            return None

    billed = Chunk(finish_reason="stop", usage=Usage(9_000, 9_000), billed=Usage(1_000, 1_000))
    with project.pool(engines=[Priced(["a", billed])]) as pool:
        reply = pool.ask("x", model="priced")

    assert (reply.cost, reply.usage) == (Decimal("0.008"), Usage(9_000, 9_000))


@pytest.mark.parametrize(("form", "text"), [("json", '{"a": 1}'), ("frame", '[{"a": 1}]')])
def test_data_is_requested_in_the_prompt_and_corrected_once(scripted, form, text):
    """Free-form data is requested in the prompt, because strict modes take no open objects.

    A reply in prose is requested once more.
    """
    pool, engine = scripted(["I think it is one.", END], [f"```json\n{text}\n```", END])

    reply = pool.ask("x", model="scripted", schema=output_formats.schema_for(form))

    first, second = engine.requests
    assert first.schema is None
    assert first.system.startswith("Answer with ")
    assert first.system.endswith(", without a word around it.")
    assert second.messages[-1].content.startswith("That is not the JSON")
    assert output_formats.render(form, reply).text.count("a") == 1


def test_prose_in_both_turns_raises_an_error_with_the_text(scripted):
    """Prose in both turns raises an error that holds the text."""
    pool, _ = scripted(["no", END], ["still no", END])

    with pytest.raises(ProviderError, match=r"two answers .*: it contains no JSON") as caught:
        pool.ask("x", model="scripted", schema=output_formats.schema_for("json"))
    assert caught.value.partial == "still no"


@dataclass
class City:
    """A type with named fields."""

    name: str


@pytest.mark.parametrize(
    ("kind", "answer", "is_held"),
    [
        (dict, '{"a": 1}', False),
        (list[dict], '[{"a": 1}]', False),
        (list[City], '[{"name": "Rome"}]', False),
        (City, '{"name": "Rome"}', True),
        ({"type": "object"}, '{"a": 1}', True),
    ],
)
def test_a_loose_type_is_described_in_the_prompt(scripted, kind, answer, is_held):
    """A type without named fields is described in the prompt: strict modes need named fields.

    A schema passed as a dict is sent unchanged.
    """
    pool, engine = scripted([answer, END])

    pool.ask("x", model="scripted", schema=kind)

    (request,) = engine.requests
    assert (request.schema is not None, request.system is None) == (is_held, is_held)
