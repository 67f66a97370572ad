"""Answers with very many tool calls, citations and tags take bounded time and memory."""

import json
import random

import pytest

from gatewayx_nb.calls import AnswerCleaner, PartialReply
from gatewayx_nb.errors import ProviderError
from gatewayx_nb.images import Image
from gatewayx_nb.llm_engines import Chunk, Citation, LLMEngine, ProviderErrors, ToolCall
from gatewayx_nb.llm_engines.answer_details import NewDetails
from gatewayx_nb.llm_engines.anthropic_turn import BlockAssembler
from gatewayx_nb.llm_engines.gemini_turn import _Positions
from gatewayx_nb.replies import Details
from gatewayx_nb.testing import Send, Server, reply
from tests.processor import seconds

pytestmark = pytest.mark.no_cover  # under coverage, these would take several times as long

ITEMS = {
    "tool calls": Chunk(tool_calls=(ToolCall("1", "f", "{}"),)),
    "citations": Chunk(details=Details(citations=(Citation("x"),))),
    "images": Chunk(details=Details(images=(Image("image/png", b"x"),))),
}


@pytest.mark.parametrize("kind", ITEMS)
def test_an_answer_has_at_most_ten_thousand_items(project, kind):
    """Beyond that, the answer is an error, whichever engine sends it."""

    class ManyItems(LLMEngine):
        name = "many"
        requires_key = False

        async def stream(self, request):
            for _ in range(int(request.prompt)):
                yield ITEMS[kind]
            yield Chunk(text="done", finish_reason="stop")

    with project.pool(engines=[ManyItems()]) as pool:
        assert pool.ask("10000", model="many").text == "done"
        with pytest.raises(ProviderError, match="more than 10,000 tool calls, citations"):
            pool.ask("10001", model="many")


def test_quotes_of_an_answer_are_short():
    """Thousands of citations of the whole answer once took gigabytes."""
    partial = PartialReply("e", "m")
    cited = tuple(Citation(url=f"{number}", start=0, end=10**6) for number in range(5_000))
    partial.add(Chunk(text="x" * 10**6, details=Details(citations=cited)))

    (quote,) = {citation.text for citation in partial.reply().citations}
    assert quote == "x" * 1_000


def test_new_citations_are_found_in_linear_time():
    """The last event of an answer may repeat all of its citations."""
    old, new = (tuple(Citation(url=f"{kind}{n}") for n in range(30_000)) for kind in "ab")
    details = NewDetails(ProviderErrors("e", "m", ""))
    list(details.chunk(Details(citations=old), len(old)))
    both = Details(citations=(*old, *new))

    assert seconds(lambda: list(details.chunk(both, len(both.citations)))) < 5


def test_citations_of_a_block_are_added_in_linear_time():
    """Each event of an Anthropic answer may add one."""
    blocks = BlockAssembler()
    blocks.start(0, {"type": "text", "text": ""})

    def add():
        for number in range(100_000):
            blocks.extend(0, {"citation": {"cited_text": str(number)}})

    assert seconds(add) < 5


def test_positions_in_bytes_become_positions_in_characters():
    """The position within a character is that of its beginning; a position beyond is the end."""
    rng = random.Random(7)
    for length in (0, 1, 10, 5_000, 20_000):
        text = "".join(rng.choice("aé€😀\ud800") for _ in range(length))
        data, positions = text.encode(errors="replace"), _Positions(text)
        edges = [0, 1, 4_095, 4_096, 4_097, len(data), len(data) + 9]
        for end in (*edges, *(rng.randrange(len(data) + 1) for _ in range(100))):
            found = positions.span({"endIndex": end})
            assert found == (0, len(data[:end].decode(errors="ignore")))


def test_many_tags_are_read_in_linear_time():
    """After a hundred tags, the rest is the answer."""
    text = "<think></think>" * 500_000
    cleaner = AnswerCleaner()

    chunks = []
    assert seconds(lambda: chunks.extend(cleaner.feed(Chunk(text=text)))) < 5
    assert "".join(chunk.text for chunk in chunks).startswith("<think>")


KEY = "sk-proj-0123456789abcdef"


@pytest.mark.parametrize(
    "pieces",
    [
        ["<think>", KEY[:7], "</think><think>", KEY[7:], "</think>done"],
        [f"<think>{KEY[:7]}</think><think>{KEY[7:14]}</think>", f"<think>{KEY[14:]}</think>done"],
    ],
    ids=["pieces", "whole tags"],
)
def test_tags_between_the_parts_of_a_key_do_not_hide_it(project, pieces):
    """The tags are removed, so the parts would follow each other in the reasoning."""
    events = [{"choices": [{"index": 0, "delta": {"content": piece}}]} for piece in pieces]
    events.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    data = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
    answer = reply(data.encode(), content_type="text/event-stream")
    with Server(lambda _: [Send(answer)]) as server:
        project.set_keys(f"GATEWAYX_GROQ_API_KEY={KEY}\nGATEWAYX_GROQ_BASE_URL={server.url}/v1\n")
        with project.pool() as pool:
            stream = pool.stream("x", model="groq:m")
            shown = "".join(chunk.reasoning + chunk.text for chunk in stream)

    assert not any(KEY[start : start + 8] in shown for start in range(8, len(KEY) - 7))
    assert KEY[:8] not in shown
    assert KEY[:8] not in stream.reply.reasoning
