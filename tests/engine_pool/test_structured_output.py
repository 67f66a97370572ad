"""Instructions for a schema in the prompt, and the request that corrects an answer."""

import asyncio

import pytest

from gatewayx_nb.calls import PartialReply
from gatewayx_nb.engine_pool.structured_output import parse_or_correct, with_schema_in_prompt
from gatewayx_nb.errors import ProviderError, TruncatedError
from gatewayx_nb.images import Image
from gatewayx_nb.messages import Message, Request, ToolResult
from gatewayx_nb.replies import Chunk, Usage
from gatewayx_nb.schema import ResponseSchema

SCHEMA = ResponseSchema({"type": "object", "title": "CITY"})
REQUEST = Request((Message("user", "Where?"),), "m", schema={"type": "object"})


def make_partial_reply(text, finish_reason="stop"):
    """Return a partial reply that contains the given text."""
    partial = PartialReply("scripted", "m")
    partial.add(Chunk(text=text))
    partial.add(Chunk(finish_reason=finish_reason, usage=Usage(3, 2)))
    return partial


def parse_with_corrections(partial, *answers):
    """Parse an answer; return the result and the requests for corrections.

    Args:
        partial: The partial reply that contains the answer.
        answers: Answers to the requests for corrections.
    """
    requests, remaining = [], list(answers)

    async def send_again(request):
        requests.append(request)
        partial.add(Chunk(text=remaining.pop(0), finish_reason="stop", usage=Usage(5, 1)))

    return asyncio.run(parse_or_correct(SCHEMA, REQUEST, partial, send_again)), requests


@pytest.mark.parametrize(
    ("system", "start"), [(None, "Answer with "), ("Be brief.", "Be brief.\n\nAnswer with ")]
)
def test_instructions_for_a_schema_follow_the_system_prompt(system, start):
    """The instructions are appended to the system prompt, and the request has no schema."""
    request = with_schema_in_prompt(
        Request(REQUEST.messages, "m", system=system), SCHEMA, takes_system=True
    )

    assert request.system.startswith(start)
    assert '"title": "CITY"' in request.system
    assert (request.schema, request.messages) == (None, REQUEST.messages)


IMAGE = Image("", url="https://x/y.png")


@pytest.mark.parametrize(
    ("prompt", "roles", "parts"),
    [
        (Message("user", "Where?"), ["user"], ("Where?\n\nA",)),
        (Message("user", ["Where?", IMAGE]), ["user"], ("Where?\n\nA", IMAGE)),
        (Message("user", [IMAGE]), ["user"], (IMAGE, "A")),
        (Message("user", ["a", IMAGE, "b"]), ["user"], ("a", IMAGE, "b", "A")),
        (Message("tool", [ToolResult("1", "x")]), ["tool", "user"], ("A",)),
    ],
)
def test_instructions_follow_the_prompt_of_an_engine_without_system_prompts(prompt, roles, parts):
    """The instructions are appended to a text, added as a part, or sent after tool results."""
    request = with_schema_in_prompt(Request((prompt,), "m"), SCHEMA, takes_system=False)

    last = request.messages[-1].parts
    assert [message.role for message in request.messages] == roles
    assert (
        tuple(part.split("nswer with")[0] if isinstance(part, str) else part for part in last)
        == parts
    )


def test_a_matching_answer_is_not_corrected():
    """If an answer matches the schema, no second request is sent."""
    assert parse_with_corrections(make_partial_reply('{"a": 1}')) == ({"a": 1}, [])


def test_a_correction_contains_the_answer_and_the_reason():
    """A correction follows the first answer in the conversation; usage includes both requests."""
    partial = make_partial_reply("It is Rome.")

    parsed, (correction,) = parse_with_corrections(partial, '{"a": 1}')

    assert parsed == {"a": 1}
    assert correction.messages[:2] == (*REQUEST.messages, Message("assistant", "It is Rome."))
    assert "it contains no JSON" in correction.prompt
    assert ("".join(partial.text), partial.total_usage) == ('{"a": 1}', Usage(8, 3))


def test_a_correction_contains_no_empty_message():
    """An empty answer is replaced by an ellipsis, because providers reject empty messages."""
    _, (correction,) = parse_with_corrections(make_partial_reply(""), "{}")

    assert correction.messages[1] == Message("assistant", "…")


def test_a_second_mismatch_or_a_truncated_answer_raises_an_error():
    """There is at most one correction, and none after a truncated answer."""
    with pytest.raises(ProviderError, match="correction of 'scripted' must match"):
        parse_with_corrections(make_partial_reply("no"), "still no")
    with pytest.raises(TruncatedError, match="max_tokens"):
        parse_with_corrections(make_partial_reply('{"a": ', "length"))


def test_a_schema_follows_the_prompt_if_the_engine_takes_no_system_prompt():
    """An engine without system prompts receives the schema in the prompt."""
    request = with_schema_in_prompt(REQUEST, SCHEMA, takes_system=False)

    assert request.system is None
    assert request.prompt.startswith(f"{REQUEST.prompt}\n\nAnswer with ")
