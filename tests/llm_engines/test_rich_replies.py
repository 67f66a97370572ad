"""An answer's contents are the same whether it is whole, streamed, recorded or sent back."""

import contextlib
import dataclasses
import json
import pickle

import pytest

from gatewayx_nb import Message, Reply, ToolResult
from gatewayx_nb.errors import ProviderError
from gatewayx_nb.replies import Citation
from tests.llm_engines.rich_recordings import ALL, TEXT, encoded_events
from tests.llm_engines.wire import Wire, body_script, stream_script

CHANGING = ("latency", "time_to_first", "replayed", "raw", "cost")
"""The fields that differ between calls; the cost is not known for these models."""

RESULT = Message("tool", [ToolResult("", "blue", name="look")])


@pytest.fixture(scope="module", params=ALL, ids=lambda rich: rich.name)
def rich(request):
    """Yield each recording."""
    return request.param


@pytest.fixture(scope="module")
def wire(rich, tmp_path_factory):
    """Yield its engine."""
    folder = tmp_path_factory.mktemp(rich.name) / "project"
    with Wire(folder, rich.engine, rich.path, rich.settings) as wire:
        yield wire


def _script(rich, *, is_streamed):
    if is_streamed:
        return stream_script(encoded_events(rich))
    return body_script(json.dumps(rich.body))


def _reply(wire, rich, *, is_streamed, **options):
    wire.respond_with(_script(rich, is_streamed=is_streamed))
    if not is_streamed:
        return wire.pool.ask("Hi", model=f"{rich.engine}:m", **options)
    stream = wire.pool.stream("Hi", model=f"{rich.engine}:m", **options)
    for _ in stream:
        pass
    return stream.reply


def _fields(reply):
    names = (field.name for field in dataclasses.fields(reply))
    return {name: getattr(reply, name) for name in names if name not in CHANGING}


@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "streamed"])
def test_a_reply_holds_all_that_the_provider_sent(wire, rich, is_streamed):
    """Citations, images and log probabilities are in the reply; a bad position is harmless."""
    reply = _reply(wire, rich, is_streamed=is_streamed)

    assert (reply.text, reply.reasoning) == (TEXT, rich.reasoning)
    assert reply.tool_calls == rich.tool_calls
    assert (reply.finish_reason, reply.usage) == ("tool_calls", rich.usage)
    assert reply.citations == rich.citations
    assert reply.images == rich.images
    assert reply.logprobs == rich.logprobs
    assert reply.carried.engine == rich.engine


def test_a_streamed_reply_equals_a_whole_one(wire, rich):
    """A streamed and a whole reply are equal in every public field that does not depend on time."""
    whole = _reply(wire, rich, is_streamed=False)
    streamed = _reply(wire, rich, is_streamed=True)

    assert _fields(whole) == _fields(streamed)
    assert json.loads(json.dumps(whole.raw)) == json.loads(json.dumps(rich.body))
    assert json.dumps(list(streamed.raw)[: len(rich.events)]) == json.dumps(rich.events)


@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "streamed"])
def test_a_replayed_reply_equals_the_recorded_one(wire, rich, is_streamed, tmp_path):
    """A cassette keeps every field of a reply, except those that belong to a single request."""
    path = tmp_path / "a.jsonl"
    with wire.pool.cassette(path, mode="record"):
        live = _reply(wire, rich, is_streamed=is_streamed)
    with wire.pool.cassette(path, mode="replay"):
        replayed = _reply(wire, rich, is_streamed=not is_streamed)

    assert replayed.replayed
    of_request = {"request_id": None, "rate_limits": None}
    assert _fields(replayed) == _fields(live) | of_request
    assert not wire.server.requests


def test_a_reply_can_be_pickled_and_is_json(wire, rich):
    """Pickle returns an equal reply, and `to_dict` returns only values that strict JSON allows."""
    reply = _reply(wire, rich, is_streamed=True)

    assert pickle.loads(pickle.dumps(reply)) == reply
    copied = json.loads(json.dumps(reply.to_dict(), allow_nan=False))
    assert len(copied["citations"]) == len(rich.citations)
    assert copied["carried"]["engine"] == rich.engine


def _next_request(wire, rich, messages, engine=None):
    """Return the messages of a request that continues a conversation."""
    wire.respond_with(_script(rich, is_streamed=False))
    with contextlib.suppress(Exception):
        wire.pool.ask(messages=messages, model=f"{engine or rich.engine}:m")
    return wire.request_body[rich.field]


@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "streamed"])
def test_the_answer_goes_back_as_it_came(wire, rich, is_streamed):
    """The next request has the turn as the provider sent it, then the results of its calls."""
    reply = _reply(wire, rich, is_streamed=is_streamed)
    sent = _next_request(wire, rich, [Message("user", "Hi"), reply.message, RESULT])

    end = rich.position + len(rich.sent_back)
    assert sent[rich.position : end] == rich.sent_back
    assert len(sent) == end + 1


def test_a_conversation_sends_the_answer_back(wire, rich):
    """`chat` does the same, even with an answer replayed from a pickle of its message."""
    chat = wire.pool.chat(name=f"of-{rich.name}")
    _reply(wire, rich, is_streamed=True, chat=chat)
    chat.turns[0] = pickle.loads(pickle.dumps(chat.turns[0]))
    wire.respond_with(_script(rich, is_streamed=False))
    chat.ask(messages=[RESULT], model=f"{rich.engine}:m")

    end = rich.position + len(rich.sent_back)
    assert wire.request_body[rich.field][rich.position : end] == rich.sent_back


def test_another_engine_gets_the_turn_without_carried_data(wire, rich):
    """The data that an answer carries for its engine is not sent to another engine."""
    reply = _reply(wire, rich, is_streamed=True)
    other = dataclasses.replace(reply.carried, engine="other")
    message = Message("assistant", reply.message.parts, carried=other)
    sent = json.dumps(_next_request(wire, rich, [Message("user", "Hi"), message, RESULT]))
    plain = Message("assistant", reply.message.parts)

    assert sent == json.dumps(_next_request(wire, rich, [Message("user", "Hi"), plain, RESULT]))


@pytest.mark.parametrize(
    "change", [lambda call: dataclasses.replace(call, arguments='{"at": "sea"}')], ids=["arguments"]
)
def test_an_edited_turn_is_sent_as_edited(wire, rich, change):
    """The carried data of a turn is left out if its text or a call was edited."""
    reply = _reply(wire, rich, is_streamed=False)
    edited = Message("assistant", ["No.", change(reply.tool_calls[0])], carried=reply.carried)
    sent = json.dumps(_next_request(wire, rich, [Message("user", "Hi"), edited, RESULT]))

    assert "sea" in sent
    assert TEXT not in json.loads(sent)


def test_calls_without_a_result_are_left_out_with_what_belongs_to_them(wire, rich):
    """If a conversation continues without the results of calls, only the text is sent."""
    chat = wire.pool.chat(name=f"on-{rich.name}")
    _reply(wire, rich, is_streamed=True, chat=chat)
    wire.respond_with(_script(rich, is_streamed=False))
    chat.ask("So?", model=f"{rich.engine}:m")
    sent = json.dumps(wire.request_body[rich.field])

    assert "look" not in sent
    assert "sky is blue" in sent


def test_a_citation_past_the_end_has_no_text():
    """A citation beyond the end of the text keeps its position and has an empty passage."""
    reply = Reply("Hi", "e", "m", citations=(Citation("", "T", start=900, end=999),))

    assert "T" in reply._repr_mimebundle_()["text/plain"]


UNVERIFIED = [
    "The encrypted content gAAA could not be verified.",
    "messages.1.content.0: Invalid `signature` in `thinking` block",
    "The thinking block is bound to a different conversation",
    "Thought signature is not valid.",
]


@pytest.mark.parametrize("message", UNVERIFIED)
def test_a_turn_that_cannot_be_verified_is_sent_without_carried_data(wire, rich, message):
    """Another model or key of the same engine may refuse what a turn carries."""
    reply = _reply(wire, rich, is_streamed=True)
    plain = Message("assistant", reply.message.parts)
    expected = _next_request(wire, rich, [Message("user", "Hi"), plain, RESULT])
    sent = []

    def script(request):
        sent.append(json.loads(request.body)[rich.field])
        if sent[-1] != expected:
            return body_script({"error": {"message": message}}, 400)
        return _script(rich, is_streamed=False)

    wire.respond_with(script)
    messages = [Message("user", "Hi"), reply.message, RESULT]
    answer = wire.pool.ask(messages=messages, model=f"{rich.engine}:other")

    assert answer.text == TEXT
    assert len(sent) == 2


def test_another_kind_of_error_causes_no_second_request(wire, rich):
    """Only an error that names what a turn carries is answered with another request."""
    reply = _reply(wire, rich, is_streamed=False)
    wire.respond_with(body_script({"error": {"message": "no such tool"}}, 400))
    with pytest.raises(ProviderError, match="no such tool"):
        wire.pool.ask(
            messages=[Message("user", "Hi"), reply.message, RESULT], model=f"{rich.engine}:m"
        )

    assert len(wire.server.requests) == 1
