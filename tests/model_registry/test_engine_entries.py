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
from gatewayx_nb.model_registry.engine_entries import EnginesFile
from gatewayx_nb.secure_config import shipped_path
from gatewayx_nb.testing import Send, Server, reply

ENTRY_NAMES = [
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

COMPLETION_BODY = json.dumps(
    {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}
).encode()
MODELS_BODY = json.dumps({"data": [{"id": "first"}, {"id": "second"}]}).encode()


def _answer(request):
    return [Send(reply(MODELS_BODY if request.method == "GET" else COMPLETION_BODY))]


def _pool_with_entry(project, clean_environment, url):
    """Return a pool with the entry ``odd`` in the user folder, which has this URL and no key."""
    path = clean_environment / "config" / "gatewayx" / "config" / "engines.toml"
    path.parent.mkdir(parents=True)
    path.write_text(f'[odd]\nbase_url = "{url}"\nmodel = "m"\nrequires_key = false\n')
    return EnginePool(project.root, {"XDG_CONFIG_HOME": str(path.parents[2])})


def test_every_shipped_entry_is_an_engine(project):
    """Every shipped entry is an engine with an https or local URL."""
    file = EnginesFile(shipped_path("config/engines.toml"), "shipped")
    file.refresh()
    entries = {entry.name: entry for entry in file.entries}
    status_by_name = {row.name: row for row in project.pool().status()}

    assert sorted(entries) == sorted(ENTRY_NAMES)
    for name, entry in entries.items():
        assert entry.load().engine.model_name == entry.model
        assert entry.base_url.startswith(
            "https://" if entry.requires_key else "http://127.0.0.1:"
        ) or (name == "azure")
        assert status_by_name[name].state == ("no key" if entry.requires_key else "not running")


def test_an_entry_defines_field_names_and_the_key_header(project):
    """Calls use the field names and the key header that an entry defines."""
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
    request_body = json.loads(mistral.body)
    assert (request_body["random_seed"], request_body["model"]) == (3, "mistral-large-4")
    assert "stream_options" not in request_body
    assert "seed" not in request_body


def test_a_local_server_is_ready_if_it_answers(project):
    """A local server that answers is ready, and its first model is the default."""
    with Server(_answer) as server:
        project.set_keys(f"GATEWAYX_VLLM_BASE_URL={server.url}/v1\n")
        with project.pool() as pool:
            states = {row.name: row.state for row in pool.status()}
            references = [str(model) for model in pool.models("vllm", live=True)]
            reply = pool.ask("x", model="vllm")
            request_count = len(server.requests)
            states_without_probe = {row.name: row.state for row in pool.status(probe=False)}
            assert len(server.requests) == request_count  # the state is that of the last probe
        request_body = json.loads(server.requests[-1].body)

    assert states_without_probe["vllm"] == "ready"
    assert (states["vllm"], states["ollama"]) == ("ready", "not running")
    assert references == ["vllm:first", "vllm:second"]
    assert (reply.text, reply.model, request_body["model"]) == ("hi", "first", "first")
    assert "authorization" not in server.requests[-1].headers


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:99999",
        "http://127.0.0.1:x",
        "http://[::1",
        "http://..",
        f"http://{'a' * 70}.b",
        "http://a\\u0000b",
        "http://a b",
        "127.0.0.1:80",
    ],
)
def test_an_invalid_base_url_is_one_row_that_says_so(project, clean_environment, url):
    """A user's entry with an invalid URL does not affect the status of other engines."""
    with _pool_with_entry(project, clean_environment, url) as pool:
        (row,) = [row for row in pool.status() if row.name == "odd"]
        assert row.state == "no base URL"
        assert "of engine 'odd' " in row.error
        assert str(pool.models(live=True))
        assert str(pool.health())
        with pytest.raises(ConfigError, match="base URL"):
            pool.ask("x", "odd")


def test_a_name_that_cannot_be_encoded_is_a_server_that_is_not_running(project, clean_environment):
    """A host that IDNA cannot encode is a server that is not running."""
    with _pool_with_entry(project, clean_environment, f"http://{'ü' * 60}.b") as pool:
        assert {row.name: row.state for row in pool.status()}["odd"] == "not running"


def test_calling_a_server_that_is_not_running_raises(project):
    """Calling a server that is not running raises an error that names the engine."""
    with project.pool() as pool, pytest.raises(TransportError, match="lmstudio"):
        pool.ask("x", model="lmstudio:m", timeout=5)


def test_a_missing_key_or_base_url_of_an_entry_is_reported(project):
    """Calling an engine whose key or base URL is missing raises an error with its variable."""
    project.set_keys("GATEWAYX_AZURE_API_KEY=k")
    with project.pool() as pool:
        with pytest.raises(ConfigError, match="GATEWAYX_AZURE_BASE_URL"):
            pool.ask("x", model="azure:m")
        with pytest.raises(MissingKeyError, match="GATEWAYX_GROQ_API_KEY"):
            pool.ask("x", model="groq")


def test_an_unknown_model_suggests_the_nearest_name(project):
    """An unknown model raises an error with the nearest name in the provider's list."""
    error_body = json.dumps({"error": {"message": "no", "code": "model_not_found"}}).encode()

    def answer_not_found(request):
        return (
            [Send(reply(MODELS_BODY))]
            if request.method == "GET"
            else [Send(reply(error_body, 404))]
        )

    with Server(answer_not_found) as server:
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
        ("[a]\nschema = 'xml'", "has schema = 'xml', which must be strict or json_object or none"),
        ("a = 1", "is not a table"),
        ("['A-b']\nmodel = 'm'", "has a name that does not consist of 1 to 63 characters from a-z"),
        ("[status]\nmodel = 'm'", "reserved for the command"),
    ],
)
def test_an_invalid_entry_does_not_affect_other_engines(project, text, expected_message):
    """An invalid entry is reported in one line that names the entry and the file.

    Calling it raises an error; other engines are unaffected.
    """
    path = project.root / "config" / "engines.toml"
    path.write_text(f"{text}\n[working]\nbase_url = 'http://127.0.0.1:9'\nmodel = 'm'\n")
    pool = project.pool()
    rows = {row.name: row for row in pool.status()}

    (refused,) = [row for row in rows.values() if row.state == "refused"]
    assert f"[{refused.name}] in {path} " in refused.error
    assert re.search(expected_message, refused.error)
    assert "\n" not in refused.error
    assert rows["working"].state == "no key"
    with pytest.raises(EngineLoadError, match="refused"):
        pool.ask("x", model=refused.name)


@pytest.mark.parametrize("content", ["text", "folder", "bytes"])
def test_an_unreadable_engines_file_is_reported(project, content):
    """An unreadable engines.toml is reported in one line, and other engines work."""
    path = project.root / "config" / "engines.toml"
    write_by_type = {"folder": path.mkdir, "bytes": lambda: path.write_bytes(b"\xff")}
    write_by_type.get(content, lambda: path.write_text("[a"))()
    pool = project.pool()

    (problem,) = pool.problems
    assert f"{str(path)!r} cannot be read" in problem
    assert "\n" not in problem
    assert pool.ask("x", model="mock").text == "[mock] x"


def test_an_entry_in_the_user_folder_is_an_engine(project, clean_environment):
    """An entry added to the user folder's engines.toml is read without a restart.

    If the file is invalid, other engines are unaffected.
    """
    path = clean_environment / "config" / "gatewayx" / "config" / "engines.toml"
    path.parent.mkdir(parents=True)
    pool = EnginePool(home=project.root, env={"XDG_CONFIG_HOME": str(path.parents[2])})
    path.write_text("[mine]\nbase_url = 'http://127.0.0.1:9'\nmodel = 'm'\n")
    (status,) = [row for row in pool.status() if row.name == "mine"]
    assert (status.state, status.model, status.source) == (
        "no key",
        "m",
        "user: engines.toml",
    )

    path.write_text("[mine")
    assert "mine" not in {row.name for row in pool.status()}
    assert "engines.toml" in pool.problems[0]
    assert pool.ask("x", model="mock").text == "[mock] x"
