"""Sample streams in the five dialects, truncated at every byte."""

import json

import pytest

from gatewayx_nb.errors import TruncatedError
from gatewayx_nb.testing import DIALECTS, CloseConnection, Send, Server, head, reply
from tests.llm_engines.wire import ENGINES

pytestmark = pytest.mark.no_cover  # under coverage, these would take several times as long

HEAD_WITHOUT_LENGTH = head(content_type="text/event-stream", connection="close")
"""Headers of a stream without a length, in which only the end marker shows completeness."""


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_a_truncated_stream_raises_an_error(project, dialect):
    """A stream that ends before its end marker raises an error that holds the partial text."""
    name = ENGINES[dialect.name]
    stream_bytes = b"".join(dialect.events)
    marker_end = len(b"".join(dialect.events[: dialect.end + 1]).rstrip())
    scripts = [
        [Send(HEAD_WITHOUT_LENGTH), Send(stream_bytes[:length]), CloseConnection()]
        for length in range(len(stream_bytes) + 1)
    ]
    project.settings("limits.retries = 0")
    if dialect.name == "responses":
        project.settings('limits.retries = 0\nengines.openai.api = "responses"')
    texts = []
    with Server(*scripts) as server:
        base_url = server.url if name in ("anthropic", "google", "cohere") else f"{server.url}/v1"
        variable_part = name.upper()
        project.set_keys(
            f"GATEWAYX_{variable_part}_API_KEY=k\nGATEWAYX_{variable_part}_BASE_URL={base_url}\n"
        )
        with project.pool() as pool:
            for length in range(len(stream_bytes) + 1):
                stream = pool.stream("x", model=name)
                try:
                    list(stream)
                except TruncatedError as error:
                    assert length < marker_end, (
                        f"a complete answer of {length} bytes raised an error"
                    )
                    texts.append(error.partial)
                else:
                    assert length >= marker_end, (
                        f"truncation at byte {length} of {marker_end} raised no error"
                    )
                    texts.append(stream.reply.text)

    assert all(texts[-1].startswith(text) for text in texts)
    assert texts[-1]


@pytest.mark.parametrize(
    ("engine", "event"),
    [
        ("deepseek", {"choices": [{"index": 0, "delta": {"content": "Hel"}}]}),
        (
            "anthropic",
            {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "Hel"}},
        ),
        (
            "cohere",
            {"type": "content-delta", "delta": {"message": {"content": {"text": "Hel"}}}},
        ),
    ],
)
def test_one_json_line_of_a_stream_is_not_a_whole_answer(project, engine, event):
    """A stream of JSON lines that is cut after its first line is truncated."""
    with Server([Send(reply(json.dumps(event).encode() + b"\n"))]) as server:
        variable = f"GATEWAYX_{engine.upper()}"
        project.set_keys(f"{variable}_API_KEY=k-0123456789\n{variable}_BASE_URL={server.url}\n")
        with project.pool() as pool, pytest.raises(TruncatedError) as caught:
            list(pool.stream("hi", engine))
    assert caught.value.partial == "Hel"
