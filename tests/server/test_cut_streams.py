"""Providers' streams cut at every byte, in every dialect and through every API of the server."""

import http.client
import json

import pytest

from gatewayx_nb.testing import DIALECTS, CloseConnection, Send, Server, head
from tests.llm_engines.wire import ENGINES
from tests.server.conftest import serving

pytestmark = pytest.mark.no_cover  # under coverage, these would take several times as long

HEAD_WITHOUT_LENGTH = head(content_type="text/event-stream", connection="close")

MESSAGES = [{"role": "user", "content": "x"}]

APIS = {
    "/v1/chat/completions": (
        {"messages": MESSAGES},
        (b"[DONE]", b'"finish_reason":"'),
    ),
    "/v1/responses": ({"input": "x"}, (b"response.completed",)),
    "/v1/messages": (
        {"messages": MESSAGES, "max_tokens": 9},
        (b"message_stop", b'"stop_reason":"'),
    ),
}
"""The body of a request to each API, and what only a whole answer contains."""


@pytest.mark.parametrize("path", APIS)
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_a_cut_answer_never_looks_whole(project, dialect, path):
    """Before the first text, the error has an HTTP status; after it, it is an event."""
    name = ENGINES[dialect.name]
    stream_bytes = b"".join(dialect.events)
    marker_end = len(b"".join(dialect.events[: dialect.end + 1]).rstrip())
    lengths = range(len(stream_bytes) + 1)
    scripts = [
        [Send(HEAD_WITHOUT_LENGTH), Send(stream_bytes[:length]), CloseConnection()]
        for length in lengths
    ]
    is_responses = dialect.name == "responses"
    project.settings(
        "limits.retries = 0" + ('\nengines.openai.api = "responses"' if is_responses else "")
    )
    body, marks = APIS[path]
    text = json.dumps({"model": name, "stream": True, **body})
    with Server(*scripts) as provider:
        base_url = (
            provider.url if name in ("anthropic", "google", "cohere") else f"{provider.url}/v1"
        )
        project.set_keys(
            f"GATEWAYX_{name.upper()}_API_KEY=k\nGATEWAYX_{name.upper()}_BASE_URL={base_url}\n"
        )
        with project.pool() as pool, serving(pool=pool) as server:
            connection = http.client.HTTPConnection("127.0.0.1", int(server.url.rpartition(":")[2]))
            statuses = set()
            for length in lengths:
                headers = {"x-api-key": str(server.token), "content-type": "application/json"}
                connection.request("POST", path, text, headers)
                response = connection.getresponse()
                content = response.read()
                statuses.add(response.status)
                is_whole = all(mark in content for mark in marks)
                assert is_whole == (length >= marker_end), (length, content)
                assert is_whole or not any(mark in content for mark in marks), (length, content)
                assert is_whole or b'"error"' in content, (length, content)
                assert is_whole or response.status != 200 or b"Hel" in content, (length, content)
            connection.close()

    assert statuses == {200, 502}
