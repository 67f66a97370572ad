"""Clients that read slowly or not at all: little waits for them, and nothing is lost."""

import re
import time

import pytest

from gatewayx_nb.llm_engines import Chunk, LLMEngine
from tests.server.conftest import post, serving
from tests.server.test_disconnection import BODIES, connect

SIZE = 60_000
COUNT = 500


class LongAnswerEngine(LLMEngine):
    """An engine that generates 30 MB as fast as they are taken."""

    name, model_name, requires_key, generated = "long", "m", False, 0

    async def stream(self, request):
        """Yield numbered chunks."""
        for number in range(COUNT):
            self.generated += 1
            yield Chunk(text=f"<{number}>" + "x" * SIZE)
        yield Chunk(finish_reason="stop")


def wait_until_it_pauses(engine):
    """Wait until the engine has generated nothing for half a second."""
    generated = -1
    while engine.generated != generated:
        generated = engine.generated
        time.sleep(0.5)


@pytest.mark.parametrize("path", BODIES)
def test_an_answer_waits_for_a_client_that_does_not_read(path):
    """The engine pauses, so that the server keeps about 1 MB; the client then reads everything."""
    engine = LongAnswerEngine()
    with serving(engine) as server:
        body = {"model": "long", "stream": True, **BODIES[path], "max_tokens": 9}
        if path == "/v1/responses":
            del body["max_tokens"]
        with connect(server, path, body) as connection:
            assert connection.recv(100)
            wait_until_it_pauses(engine)
            # Besides, the buffers of the operating system hold a few megabytes.
            assert engine.generated < COUNT / 2

            connection.settimeout(60)
            received = bytearray()
            while data := connection.recv(1 << 20):
                received += data
                if b"\r\n0\r\n\r\n" in received[-10:]:
                    break
    numbers = [int(number) for number in re.findall(rb"<(\d+)>x", received)]
    assert numbers[:COUNT] == list(range(COUNT))


class QuickAnswerEngine(LLMEngine):
    """An engine whose chunks arrive together."""

    name, model_name, requires_key = "quick", "m", False

    async def stream(self, request):
        """Yield numbered chunks without waiting."""
        for number in range(100):
            yield Chunk(text=f"<{number}>x")
        yield Chunk(finish_reason="stop")


@pytest.mark.parametrize("path", BODIES)
def test_chunks_that_arrive_together_are_all_sent_in_order(path):
    """Their events may be sent together, so that there are fewer writes than chunks."""
    with serving(QuickAnswerEngine()) as server:
        answer = post(server, path, {"model": "quick", "stream": True, **BODIES[path]})
    deltas = [line for line in answer.text.splitlines() if line.startswith("data: ")]
    numbers = [int(number) for line in deltas for number in re.findall(r"<(\d+)>x", line)]
    assert numbers[:100] == list(range(100))
