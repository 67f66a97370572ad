"""The command `llm`, which needs no settings for a server."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients.conftest import CITY, DONE, MODEL, PNG

FUNCTION = """
def weather(city: str) -> str:
    "Return the weather of a city."
    return f"sunny in {city}"
"""


@pytest.fixture
def llm(gateway, tmp_path):
    """Return a function that runs `llm openai endpoint`."""

    def run(*arguments):
        return subprocess.run(
            [
                Path(sys.executable).with_name("llm"),
                *("openai", "endpoint", gateway.openai["base_url"], "--key", gateway.token),
                *arguments,
            ],
            env={**os.environ, "LLM_USER_PATH": str(tmp_path / "llm")},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture(params=[[], ["--responses"]], ids=["chat", "responses"])
def api(request):
    """Return the option that selects an API."""
    return request.param


@pytest.mark.parametrize("streamed", [[], ["--no-stream"]], ids=["streamed", "whole"])
def test_answer(llm, api, streamed):
    process = llm("-m", MODEL, "Hi", *api, *streamed)
    assert (process.stdout, process.returncode) == ("Hello.\n", 0), process.stderr


def test_models(llm):
    assert {"mock", "scripted", "scripted:script"} <= set(llm("--models").stdout.split())


def test_tools(gateway, llm, api):
    gateway.play_tool_call()
    process = llm("-m", MODEL, "Hi", "--functions", FUNCTION, *api)
    assert process.stdout == "It is sunny.\n", process.stderr
    gateway.check_tool_loop()


def test_image(gateway, llm, api, tmp_path):
    path = tmp_path / "image.png"
    path.write_bytes(PNG)
    process = llm("-m", MODEL, "Hi", "-a", path, *api)
    assert process.returncode == 0, process.stderr
    gateway.check_image()


def test_schema(gateway, llm, api):
    gateway.play([CITY, DONE])
    process = llm("-m", MODEL, "Hi", "--schema", "name str", *api)
    assert process.stdout.strip() == CITY, process.stderr


def test_failure(gateway, llm, api, failure):
    attempts = gateway.attempts(failure)
    process = llm("-m", MODEL, "Hi", *api)
    assert process.returncode == 1
    assert failure.message[:-1] in process.stderr
    assert len(gateway.engine.requests) == attempts


def test_broken_stream(gateway, llm, api):
    gateway.break_stream()
    process = llm("-m", MODEL, "Hi", *api)
    assert process.returncode == 1
    assert "the provider is gone" in process.stderr
