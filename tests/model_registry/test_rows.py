import json
import re

import pytest

from gatewayx_nb.engine_pool import EnginePool
from gatewayx_nb.errors import (
    ConfigError,
    EngineLoadError,
    MissingKeyError,
    ModelNotFoundError,
    TransportError,
)
from gatewayx_nb.model_registry.rows import RowFile
from gatewayx_nb.secure_config import shipped_path
from gatewayx_nb.testing import Send, Server, reply

ROWS = [
    "mistral",
    "deepseek",
    "groq",
    "openrouter",
    "together",
    "fireworks",
    "perplexity",
    "cerebras",
    "moonshot",
    "nvidia",
    "huggingface",
    "azure",
    "ollama",
    "vllm",
    "lmstudio",
    "llamacpp",
]

WHOLE = json.dumps({"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}).encode()
MODELS = json.dumps({"data": [{"id": "first"}, {"id": "second"}]}).encode()


def _answer(request):
    return [Send(reply(MODELS if request.method == "GET" else WHOLE))]


def test_every_shipped_row_is_an_engine(project):
    """Every shipped row is an engine with an https or local URL."""
    file = RowFile(shipped_path("config/engines.toml"), "shipped")
    file.refresh()
    rows = {row.name: row for row in file.rows}
    known = {row.name: row for row in project.pool().status()}

    assert sorted(rows) == sorted(ROWS)
    for name, row in rows.items():
        assert row.load().engine.model_name == row.model
        assert row.base_url.startswith("https://" if row.requires_key else "http://127.0.0.1:") or (
            name == "azure"
        )
        assert known[name].state == ("no key" if row.requires_key else "not running")


def test_a_row_sends_what_it_says(project):
    """A row may define its own field names and key header."""
    with Server(_answer) as server:
        project.set_keys(
            f"AZURE_OPENAI_API_KEY=k1\nGATEWAYX_AZURE_BASE_URL={server.url}/openai/v1\n"
            f"GATEWAYX_MISTRAL_API_KEY=k2\nGATEWAYX_MISTRAL_BASE_URL={server.url}/v1\n"
        )
        with project.pool() as pool:
            pool.ask("x", model="azure:mine", max_tokens=5)
            list(pool.stream("x", model="mistral", seed=3))
        azure, mistral = server.requests

    assert (azure.target, azure.headers["api-key"]) == ("/openai/v1/chat/completions", "k1")
    assert "authorization" not in azure.headers
    assert json.loads(azure.body)["max_completion_tokens"] == 5
    sent = json.loads(mistral.body)
    assert (sent["random_seed"], sent["model"]) == (3, "mistral-large-4")
    assert "stream_options" not in sent
    assert "seed" not in sent


def test_a_server_on_this_machine_is_ready_when_it_answers(project):
    """A local server is ready once it answers; its first model is the default."""
    with Server(_answer) as server:
        project.set_keys(f"GATEWAYX_VLLM_BASE_URL={server.url}/v1\n")
        with project.pool() as pool:
            states = {row.name: row.state for row in pool.status()}
            listed = [str(model) for model in pool.models("vllm", live=True)]
            reply = pool.ask("x", model="vllm")
            before = len(server.requests)
            again = {row.name: row.state for row in pool.status(probe=False)}
            assert len(server.requests) == before  # state of the last probe
        sent = json.loads(server.requests[-1].body)

    assert again["vllm"] == "ready"
    assert (states["vllm"], states["ollama"]) == ("ready", "not running")
    assert listed == ["vllm:first", "vllm:second"]
    assert (reply.text, reply.model, sent["model"]) == ("hi", "first", "first")
    assert "authorization" not in server.requests[-1].headers


def test_a_server_that_is_not_there_is_an_error_when_asked(project):
    """Calling a server that is not running raises an error that names the engine."""
    with project.pool() as pool, pytest.raises(TransportError, match="lmstudio"):
        pool.ask("x", model="lmstudio:m", timeout=5)


def test_what_a_row_lacks_is_reported(project):
    """The row of an engine says whether its key or its URL is missing."""
    project.set_keys("GATEWAYX_AZURE_API_KEY=k")
    with project.pool() as pool:
        with pytest.raises(ConfigError, match="GATEWAYX_AZURE_BASE_URL"):
            pool.ask("x", model="azure:m")
        with pytest.raises(MissingKeyError, match="GATEWAYX_GROQ_API_KEY"):
            pool.ask("x", model="groq")


def test_a_model_that_does_not_exist_is_answered_with_the_nearest(project):
    """An unknown model raises an error with the nearest name in the provider's list."""
    fault = json.dumps({"error": {"message": "no", "code": "model_not_found"}}).encode()

    def answer(request):
        return [Send(reply(MODELS))] if request.method == "GET" else [Send(reply(fault, 404))]

    with Server(answer) as server:
        project.set_keys(f"GATEWAYX_GROQ_API_KEY=k\nGATEWAYX_GROQ_BASE_URL={server.url}/v1\n")
        with project.pool() as pool, pytest.raises(ModelNotFoundError, match="mean 'second'"):
            pool.ask("x", model="groq:secnd")


@pytest.mark.parametrize(
    ("text", "expected_message"),
    [
        ("[a]\nbase = 'x'", "unknown field 'base'.*Did you mean 'base_url'"),
        ("[a]\nrefusal_reason = 'x'", "unknown field 'refusal_reason'"),
        ("[a]\nmodel = 3", "has model = 3, which must be a str"),
        ("[a]\nrequires_key = 'no'", "has requires_key = 'no', which must be a bool"),
        ("[a]\napi = 'soap'", "has api = 'soap', which must be chat or responses"),
        ("a = 1", "is not a table"),
        ("['A-b']\nmodel = 'm'", "has a name that is not 1 to 63 characters of a-z"),
        ("[status]\nmodel = 'm'", "reserved for the command"),
    ],
)
def test_an_invalid_row_is_refused_and_the_others_work(project, text, expected_message):
    """An invalid row is reported in one line with row and file, and calling it is an error.

    Other engines are unaffected.
    """
    path = project.root / "config" / "engines.toml"
    path.write_text(f"{text}\n[whole]\nbase_url = 'http://127.0.0.1:9'\nmodel = 'm'\n")
    pool = project.pool()
    rows = {row.name: row for row in pool.status()}

    (bad,) = [row for row in rows.values() if row.state == "refused"]
    assert f"[{bad.name}] in {path} " in bad.error
    assert re.search(expected_message, bad.error)
    assert "\n" not in bad.error
    assert rows["whole"].state == "no key"
    with pytest.raises(EngineLoadError, match="refused"):
        pool.ask("x", model=bad.name)


@pytest.mark.parametrize("make", ["text", "folder", "bytes"])
def test_a_file_of_rows_that_cannot_be_read_is_a_problem_and_no_failure(project, make):
    """An unreadable engines.toml is reported as a problem, and other files' engines work."""
    path = project.root / "config" / "engines.toml"
    makers = {"folder": path.mkdir, "bytes": lambda: path.write_bytes(b"\xff")}
    makers.get(make, lambda: path.write_text("[a"))()
    pool = project.pool()

    (problem,) = pool.problems
    assert f"{str(path)!r} cannot be read" in problem
    assert "\n" not in problem
    assert pool.ask("x", model="mock").text == "[mock] x"


def test_a_row_of_the_users_own_is_an_engine(project, clean_environment):
    """The engines.toml of the user folder is read without a restart.

    An invalid one does not affect other engines.
    """
    path = clean_environment / "config" / "gatewayx" / "config" / "engines.toml"
    path.parent.mkdir(parents=True)
    pool = EnginePool(home=project.root, env={"XDG_CONFIG_HOME": str(path.parents[2])})
    path.write_text("[mine]\nbase_url = 'http://127.0.0.1:9'\nmodel = 'm'\n")
    (mine,) = [row for row in pool.status() if row.name == "mine"]
    assert (mine.state, mine.model, mine.source) == ("no key", "m", "user: engines.toml")

    path.write_text("[mine")
    assert "mine" not in {row.name for row in pool.status()}
    assert "engines.toml" in pool.problems[0]
    assert pool.ask("x", model="mock").text == "[mock] x"
