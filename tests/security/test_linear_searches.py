"""Searches in text that a provider, a project or a clone controls take linear time.

No other thread runs while a regular expression searches: a quadratic one would freeze the kernel.
"""

import json

import pytest

from gatewayx_nb.cassettes import guard, privacy
from gatewayx_nb.commands import dispatch
from gatewayx_nb.errors import ProviderError
from gatewayx_nb.html import to_html
from gatewayx_nb.llm_engines import OpenAIResponsesEngine, ProviderErrors, json_body
from gatewayx_nb.llm_engines.anthropic_turn import BlockAssembler
from gatewayx_nb.llm_engines.cohere_chat import CohereParser
from gatewayx_nb.llm_engines.gemini import GeminiParser
from gatewayx_nb.llm_engines.openai_responses import ResponsesParser
from gatewayx_nb.llm_engines.rate_limit_headers import rate_limits
from gatewayx_nb.llm_engines.response_body import EventLog
from gatewayx_nb.magics import transforms
from gatewayx_nb.secure_config import dotenv, git
from gatewayx_nb.weights.download import _innermost_reason
from tests.processor import seconds

pytestmark = pytest.mark.no_cover  # under coverage, these would take several times as long

ERRORS = ProviderErrors("e", "m", "")


class Responses(OpenAIResponsesEngine):
    """An engine of the Responses API."""

    name = "responses"
    base_url = "https://example.invalid/v1"


def refuse(message):
    body = json.dumps({"error": {"message": message}}).encode()
    Responses("k").adapt_to_refusal(400, body)


def think(piece, count):
    turn = BlockAssembler()
    turn.start(0, {"type": "thinking", "thinking": ""})
    for _ in range(count):
        turn.extend(0, {"thinking": piece})


def log(count):
    events = EventLog()
    for _ in range(count):
        events.add(["{}"])


SEARCHES = {
    "keys": lambda: guard.contains_unencoded_key("sk-" * 200_000),
    "tokens": lambda: guard.contains_unencoded_key("eyJ-" * 200_000),
    "tables": lambda: privacy._MARKDOWN_TABLE.search("|a|\n|" + "-" * 500_000 + "x"),
    "key files": lambda: dotenv.parse_lines("A=x" + " " * 500_000 + "x\n"),
    "refusals": lambda: refuse("encrypted content " * 100_000),
    "durations": lambda: rate_limits({"x-ratelimit-reset-tokens": "0" * 200_000}, 0.0),
    "hash formats": lambda: git._OBJECT_FORMAT.search(b"\n" * 500_000),
    "magics": lambda: transforms.uses_magic(" " * 500_000),
    "questions": lambda: transforms.keep_question(["%gatewayx" + " " * 500_000]),
    "pages": lambda: json_body._MARKUP_PATTERN.sub("", "<script" * 100_000),
    "pip": lambda: _innermost_reason("(Caused by " + ")" * 500_000 + "x"),
    "models": lambda: dispatch._LIKELY_MODEL_NAME.fullmatch("a" * 500_000),
    "thoughts": lambda: think("a" * 200, 200_000),
    "logs": lambda: log(1_000_000),
    "code": lambda: to_html("```ipython\n" + "\n " * 6_000 + "x\n```"),
}


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_takes_linear_time(name):
    """With quadratic time, each of these would take minutes or hours."""
    assert seconds(SEARCHES[name]) < 20


def test_a_table_is_still_found():
    """The pattern needs a row of dashes below the names."""
    assert privacy._MARKDOWN_TABLE.search("| a | b |\n|---|:-:|\n| 1 | 2 |")
    assert not privacy._MARKDOWN_TABLE.search("| a | b |\n| c | d |")


CONTENTS = {
    "cohere": (
        CohereParser,
        {"type": "citation-start", "delta": {"message": {"citations": {"sources": [{}] * 500}}}},
    ),
    "responses": (
        ResponsesParser,
        {
            "type": "response.output_item.done",
            "item": {"type": "message", "content": [{"text": "a", "annotations": [{}] * 500}]},
        },
    ),
    "unfinished ends": (
        ResponsesParser,
        {"type": "response.incomplete", "response": {"status": "in_progress"}},
    ),
    "gemini": (
        GeminiParser,
        {"candidates": [{"content": {"parts": [{"executableCode": {}}] * 500}}]},
    ),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_the_contents_of_an_answer_are_counted_as_they_arrive(name):
    """They are kept until the end, when it would be too late to count them."""
    kind, event = CONTENTS[name]
    parser, data = kind(ERRORS), json.dumps(event)

    def feed(times):
        for _ in range(times):
            list(parser.feed(data))

    feed(15)
    with pytest.raises(ProviderError, match="more than 10,000 contents"):
        feed(200)


def test_empty_parts_of_a_gemini_answer_are_not_kept():
    """Each takes twenty times the memory of its text."""
    parser = GeminiParser(ERRORS)
    list(parser.feed(json.dumps({"candidates": [{"content": {"parts": [{}] * 50_000}}]})))

    assert parser._part_assembler.parts == []


def test_an_answer_with_very_many_ends_is_refused():
    """Each end collects all contents so far; some servers mark every event as the last one."""
    parser = GeminiParser(ERRORS)
    part = {"text": "a", "thoughtSignature": "s"}
    data = json.dumps({"candidates": [{"content": {"parts": [part]}, "finishReason": "STOP"}]})

    def feed(times):
        for _ in range(times):
            list(parser.feed(data))

    feed(900)
    with pytest.raises(ProviderError, match="ends too often"):
        feed(200)


def test_an_image_of_a_gemini_answer_is_kept_after_another_end():
    """Images are decoded once, and an end after them does not lose or repeat them."""
    parser = GeminiParser(ERRORS)
    image = {"inlineData": {"mimeType": "image/png", "data": "aaaa"}}
    end = {"content": {"parts": [image]}, "finishReason": "STOP"}
    data = json.dumps({"candidates": [end]})

    chunks = [chunk for _ in range(2) for chunk in parser.feed(data)]
    images = [image for chunk in chunks if chunk.details for image in chunk.details.images]
    assert len(images) == 2
