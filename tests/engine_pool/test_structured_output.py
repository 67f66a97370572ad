"""Instructions in the prompt for a schema, and the one turn that corrects an answer."""

import asyncio

import pytest

from gatewayx_nb.calls import PartialReply
from gatewayx_nb.engine_pool.structured_output import parse_or_correct, with_schema_in_prompt
from gatewayx_nb.errors import ProviderError, TruncatedError
from gatewayx_nb.messages import Message, Request
from gatewayx_nb.replies import Chunk, Usage
from gatewayx_nb.schema import ResponseSchema

SCHEMA = ResponseSchema({"type": "object", "title": "CITY"})
REQUEST = Request((Message("user", "Where?"),), "m", schema={"type": "object"})


def answered(text, finish_reason="stop"):
    """Return the partial reply of a request that was answered with a text."""
    partial = PartialReply("scripted", "m")
    partial.add(Chunk(text=text))
    partial.add(Chunk(finish_reason=finish_reason, usage=Usage(3, 2)))
    return partial


def correct(partial, *answers):
    """Parse an answer, with the answers to corrections; return the result and the corrections."""
    requests, remaining = [], list(answers)

    async def send_again(request):
        requests.append(request)
        partial.add(Chunk(text=remaining.pop(0), finish_reason="stop", usage=Usage(5, 1)))

    return asyncio.run(parse_or_correct(SCHEMA, REQUEST, partial, send_again)), requests


@pytest.mark.parametrize(
    ("system", "start"), [(None, "Answer with "), ("Be brief.", "Be brief.\n\nAnswer with ")]
)
def test_a_schema_in_words_follows_the_system_prompt(system, start):
    """The instructions are added to the system prompt, and the schema itself is not sent."""
    request = with_schema_in_prompt(Request(REQUEST.messages, "m", system=system), SCHEMA)

    assert request.system.startswith(start)
    assert '"title": "CITY"' in request.system
    assert (request.schema, request.messages) == (None, REQUEST.messages)


def test_an_answer_that_matches_is_sent_once():
    """A matching answer needs no correction."""
    assert correct(answered('{"a": 1}')) == ({"a": 1}, [])


def test_a_correction_has_the_answer_and_the_reason():
    """The correction is a turn after the first answer, and both requests are counted."""
    partial = answered("It is Rome.")

    parsed, (correction,) = correct(partial, '{"a": 1}')

    assert parsed == {"a": 1}
    assert correction.messages[:2] == (*REQUEST.messages, Message("assistant", "It is Rome."))
    assert "it contains no JSON" in correction.prompt
    assert ("".join(partial.text), partial.total_usage) == ('{"a": 1}', Usage(8, 3))


def test_an_empty_answer_is_corrected_without_an_empty_turn():
    """Providers reject a turn without text."""
    _, (correction,) = correct(answered(""), "{}")

    assert correction.messages[1] == Message("assistant", "…")


def test_a_second_mismatch_and_a_truncated_answer_are_errors():
    """There is one correction at most, and none if the next answer would be truncated, too."""
    with pytest.raises(ProviderError, match="two answers of 'scripted' do not match the schema"):
        correct(answered("no"), "still no")
    with pytest.raises(TruncatedError, match="max_tokens"):
        correct(answered('{"a": ', "length"))
