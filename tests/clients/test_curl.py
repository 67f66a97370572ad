"""curl, as a shell or another language would use the server."""

import json
import subprocess

import pytest

from tests.clients.conftest import MESSAGES, MODEL


@pytest.fixture
def curl(gateway):
    """Return a function that runs curl with the token."""

    def run(path, *arguments):
        process = subprocess.run(
            [
                *("curl", "--silent", "--show-error", f"{gateway.url}{path}"),
                *("--header", f"Authorization: Bearer {gateway.token}", *arguments),
            ],
            capture_output=True,
            text=True,
            check=True,
        )
        return process.stdout

    return run


def test_answer(curl):
    body = json.dumps({"model": MODEL, "messages": MESSAGES})
    answer = json.loads(curl("/v1/chat/completions", "--json", body))
    assert answer["choices"][0]["message"]["content"] == "Hello."


def test_stream(curl):
    body = json.dumps({"model": MODEL, "messages": MESSAGES, "stream": True})
    text = curl("/v1/chat/completions", "--no-buffer", "--json", body)
    assert '"content":"Hel"' in text
    assert text.endswith("data: [DONE]\n\n")


def test_models(curl):
    models = {model["id"] for model in json.loads(curl("/v1/models"))["data"]}
    assert {"mock", "scripted", "scripted:script"} <= models
