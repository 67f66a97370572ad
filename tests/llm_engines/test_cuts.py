"""Recorded streams cut at every byte, in each of the five formats."""

import pytest

from gatewayx_nb.errors import TruncatedError
from gatewayx_nb.testing import DIALECTS, CloseConnection, Send, Server, head

ENGINES = {
    "chat": "grok",
    "responses": "openai",
    "anthropic": "anthropic",
    "gemini": "google",
    "cohere": "cohere",
}
OPEN_END = head(content_type="text/event-stream", connection="close")
"""Headers of a stream delimited by the connection's end: only the end marker shows completeness."""


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_no_cut_is_silent(project, dialect):
    """A stream that ends before its end marker raises an error that holds the partial text."""
    name = ENGINES[dialect.name]
    whole = b"".join(dialect.events)
    marked = len(b"".join(dialect.events[: dialect.end + 1]).rstrip())
    script = [[Send(OPEN_END), Send(whole[:at]), CloseConnection()] for at in range(len(whole) + 1)]
    project.settings("limits.retries = 0")
    if dialect.name == "responses":
        project.settings('limits.retries = 0\nengines.openai.api = "responses"')
    texts = []
    with Server(*script) as server:
        base = server.url if name in ("anthropic", "google", "cohere") else f"{server.url}/v1"
        upper = name.upper()
        project.set_keys(f"GATEWAYX_{upper}_API_KEY=k\nGATEWAYX_{upper}_BASE_URL={base}\n")
        with project.pool() as pool:
            for at in range(len(whole) + 1):
                stream = pool.stream("x", model=name)
                try:
                    list(stream)
                except TruncatedError as error:
                    assert at < marked, f"an answer with its end marker was taken for cut at {at}"
                    texts.append(error.partial)
                else:
                    assert at >= marked, f"a cut at byte {at} of {marked} was silent"
                    texts.append(stream.reply.text)

    assert all(texts[-1].startswith(text) for text in texts)
    assert texts[-1]
