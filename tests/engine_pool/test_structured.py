"""Structured replies, unsupported features and parameters, and prices."""

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal

import pytest

from gatewayx_nb import output_formats
from gatewayx_nb.calls import build_request, check_options
from gatewayx_nb.errors import (
    ConfigError,
    ProviderError,
    TruncatedError,
    UnsupportedFeatureError,
    UsageError,
)
from gatewayx_nb.llm_engines import Chunk, RejectedParameterError, Usage
from gatewayx_nb.schema import ResponseSchema
from gatewayx_nb.testing import ScriptedEngine

END = Chunk(finish_reason="stop", usage=Usage(input_tokens=3, output_tokens=2))


def test_a_reply_is_parsed_according_to_its_schema(make_scripted_pool):
    """A reply is parsed according to the schema; an engine that supports schemas receives it."""
    pool, engine = make_scripted_pool(['{"a": ', "1}", END])

    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}

    reply = pool.ask("x", model="scripted", schema=schema)

    assert reply.parsed == {"a": 1}
    assert engine.requests[0].schema == schema


def test_a_reply_that_does_not_match_is_corrected_once(make_scripted_pool):
    """If a reply does not match the schema, one more request is made, which states the reason.

    The usage includes both requests; a stream yields only the first reply.
    """
    pool, engine = make_scripted_pool(["no json", END], ['{"a": 1}', END])

    stream = pool.stream("x", model="scripted", schema={})

    assert [chunk.text for chunk in stream] == ["no json", ""]
    assert (stream.reply.parsed, stream.reply.text) == ({"a": 1}, '{"a": 1}')
    assert (stream.reply.usage, stream.reply.attempts) == (Usage(6, 4), 2)
    first, second = engine.requests
    assert [message.role for message in second.messages] == ["user", "assistant", "user"]
    assert second.messages[:1] == first.messages
    assert "it contains no JSON" in second.prompt


def test_a_second_mismatch_raises_an_error_with_the_text(make_scripted_pool):
    """A second mismatch raises an error with the text; a truncated reply is not requested again."""
    truncated = Chunk(finish_reason="length")
    pool, engine = make_scripted_pool(["no", END], ["never", END], ['{"a": ', truncated])

    with pytest.raises(ProviderError, match="the answer and its correction of") as caught:
        pool.ask("x", model="scripted", schema={})
    assert caught.value.partial == "never"
    with pytest.raises(TruncatedError, match="max_tokens"):
        pool.ask("x", model="scripted", schema={})
    assert len(engine.requests) == 3


def test_an_engine_without_schema_support_receives_the_schema_in_the_prompt(project):
    """An engine without support for schemas receives the schema in the system prompt."""
    reply = project.pool().ask('{"a": 1}', model="mock", schema={"title": "MINE"})

    assert '"title": "MINE"' in reply.text
    assert reply.parsed is not None


def test_an_unsupported_feature_raises_an_error(project):
    """An unsupported feature raises an error before anything is sent."""
    image = b"\x89PNG\r\n\x1a\n"
    with pytest.raises(UnsupportedFeatureError, match="does not support images"):
        project.pool().ask("x", model="mock", images=[image])


def test_a_rejected_parameter_is_dropped_on_request(make_scripted_pool):
    """With `drop_unsupported`, rejected parameters are dropped, one per attempt.

    These attempts do not count as retries, and the reply names the parameters.
    """
    rejections = [
        [RejectedParameterError("no", code="temperature", status=400)],
        [RejectedParameterError("no", code="logit_bias", status=400)],
    ]
    pool, engine = make_scripted_pool(*rejections, ["ok", END])
    params = {"drop_unsupported": True, "logit_bias": {}, "n": 1}

    reply = pool.ask("x", model="scripted", temperature=0, params=params)

    assert (reply.text, reply.dropped) == ("ok", ("temperature", "logit_bias"))
    assert engine.requests[0].params == {"logit_bias": {}, "n": 1}
    assert (engine.requests[2].temperature, engine.requests[2].params) == (None, {"n": 1})


def test_a_rejected_parameter_raises_an_error_with_its_name(make_scripted_pool):
    """By default a rejected parameter raises an error that names it."""
    pool, engine = make_scripted_pool([RejectedParameterError("no", code="temperature")])

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


@pytest.mark.parametrize(("format_name", "text"), [("json", '{"a": 1}'), ("frame", '[{"a": 1}]')])
def test_data_is_requested_in_the_prompt_at_most_twice(make_scripted_pool, format_name, text):
    """Data without a fixed structure is requested in the prompt, not with a schema.

    Strict modes of providers accept only objects with named fields. After a reply in prose the
    data is requested once more.
    """
    pool, engine = make_scripted_pool(["I think it is one.", END], [f"```json\n{text}\n```", END])

    reply = pool.ask("x", model="scripted", schema=output_formats.schema_for(format_name))

    first, second = engine.requests
    assert first.schema is None
    assert first.system.startswith("Answer with ")
    assert first.system.endswith(", without a word around it.")
    assert second.messages[-1].content.startswith("That is not the JSON")
    assert output_formats.render(format_name, reply).text.count("a") == 1


def test_two_replies_in_prose_raise_an_error_with_the_text(make_scripted_pool):
    """If both replies are prose, the error contains the second one."""
    pool, _ = make_scripted_pool(["no", END], ["still no", END])

    with pytest.raises(ProviderError, match=r"correction .*: it contains no JSON") as caught:
        pool.ask("x", model="scripted", schema=output_formats.schema_for("json"))
    assert caught.value.partial == "still no"


@dataclass
class City:
    """A type with a named field."""

    name: str


@pytest.mark.parametrize(
    ("schema", "answer", "is_schema_sent"),
    [
        (dict, '{"a": 1}', False),
        (list[dict], '[{"a": 1}]', False),
        (list[City], '[{"name": "Rome"}]', True),
        (list[City], '{"answer": [{"name": "Rome"}]}', True),
        (City, '{"name": "Rome"}', True),
        ({"type": "object"}, '{"a": 1}', False),
    ],
)
def test_a_type_without_named_fields_is_described_in_the_prompt(
    make_scripted_pool, schema, answer, is_schema_sent
):
    """A type without named fields is described in the prompt, because strict modes need them."""
    pool, engine = make_scripted_pool([answer, END])

    pool.ask("x", model="scripted", schema=schema)

    (request,) = engine.requests
    assert (request.schema is not None, request.system is None) == (is_schema_sent, is_schema_sent)


def test_an_engine_that_enforces_only_objects_also_gets_the_schema_in_the_prompt(project):
    """The prompt asks for an object with the value; the request asks the provider for JSON."""

    class Scripted(ScriptedEngine):
        def enforceable_schema(self, request):
            return {}

    engine = Scripted(['{"answer": [{"name": "Rome"}]}', END])
    with project.pool(engines=[engine]) as pool:
        reply = pool.ask("x", model="scripted", schema=list[City])

    (request,) = engine.requests
    assert reply.parsed == [City("Rome")]
    assert (request.schema, '"properties": {"answer": {"type": "array"' in request.system) == (
        {},
        True,
    )


@pytest.mark.parametrize("schema", [list[City], dict, dt.datetime])
def test_the_schema_is_recorded_as_the_caller_passed_it(schema):
    """A recording does not depend on the variant of the schema that a provider receives."""
    options = check_options({"schema": schema})

    assert build_request("x", "", options, streamed=False).schema == ResponseSchema(schema).schema
    assert ResponseSchema(dt.datetime).schema == {"type": "string"}
    assert ResponseSchema(dt.datetime).described == {"type": "string", "format": "date-time"}


def test_a_truncated_list_is_not_mistaken_for_its_first_object(make_scripted_pool):
    """A truncated answer raises an error even if it contains a complete object."""
    pool, _ = make_scripted_pool(['[{"a": 1}, {"a"', Chunk(finish_reason="length")])

    with pytest.raises(TruncatedError, match="before its JSON ended"):
        pool.ask("x", model="scripted", schema={"type": "array", "items": {"type": "object"}})


CITY_SCHEMA = {"type": "object", "properties": {"people": {"type": "integer"}}}


def test_an_answer_is_compared_with_a_json_schema(make_scripted_pool):
    """The error has the path of the value and what was expected; the correction states it."""
    pool, engine = make_scripted_pool(['{"people": "3"}', END], ['{"people": "4"}', END])

    with pytest.raises(ProviderError, match=r"Expected `integer`, got `string` - at `\$.people`"):
        pool.ask("x", model="scripted", schema=CITY_SCHEMA)
    assert "Expected `integer`" in engine.requests[1].prompt


def test_an_invalid_json_schema_is_refused_before_anything_is_sent(make_scripted_pool):
    pool, engine = make_scripted_pool(["{}", END])

    with pytest.raises(UsageError, match="points to nothing"):
        pool.ask("x", model="scripted", schema={"$ref": "#/$defs/City"})
    assert engine.requests == []


def test_a_row_is_compared_with_a_json_schema(make_scripted_pool):
    """A row whose answer does not match has an error; the others keep their answers."""
    pool, _ = make_scripted_pool(
        ['{"people": 3}', END], ['{"people": "x"}', END], ['{"people": "x"}', END]
    )

    options = {"schema": CITY_SCHEMA, "concurrency": 1, "progress": False}
    replies = pool.map(["Rome", "Paris"], "{{input}}", "scripted", **options)

    assert replies[0].parsed == {"people": 3}
    assert "Expected `integer`" in replies.failed[1].message


def test_a_recorded_answer_is_compared_with_a_json_schema(make_scripted_pool, tmp_path):
    """A file that was edited, or recorded by an older version, may not match."""
    pool, engine = make_scripted_pool(['{"people": 3}', END])
    path = tmp_path / "city.jsonl"
    with pool.cassette(path, "record"):
        pool.ask("x", model="scripted", schema=CITY_SCHEMA)
    path.write_text(path.read_text().replace("3}", "true}"))

    with pool.cassette(path, "replay"), pytest.raises(ConfigError, match="Expected `integer`"):
        pool.ask("x", model="scripted", schema=CITY_SCHEMA)
    assert len(engine.requests) == 1
