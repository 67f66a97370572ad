"""Recorded results of tools: what a private cassette keeps, and what a foreign one can do."""

import contextlib
import json
import random
from pathlib import Path

import pytest

import gatewayx_nb as gx
from gatewayx_nb import EnginePool
from gatewayx_nb.cassettes.entry import MAX_RESULT_IMAGE_BYTES
from gatewayx_nb.errors import CassetteMissError, GatewayError, ProviderError
from gatewayx_nb.messages import ToolCall
from gatewayx_nb.replies import Chunk
from gatewayx_nb.testing import ScriptedEngine

PROMPT = 'call weather {"city": "Rome"}'


@pytest.fixture
def ran():
    """Return the cities for which the function ran."""
    return []


@pytest.fixture
def weather(ran):
    """Return a function that has no marks."""

    def weather(city: str) -> str:
        """Return the weather in a city."""
        ran.append(city)
        return f"sunny in {city}, says Anna"

    return weather


def test_a_hook_redacts_results_and_a_replay_finds_them(project, weather, ran):
    """The replayed step has the text that the file has."""
    (project.root / "hook.py").write_text(
        "def redact(text):\n    return text.replace('Anna', '***')\n", "utf-8"
    )
    project.settings('cassettes.redact = "hook:redact"')
    with project.pool() as pool:
        pool.trust(pool.untrusted_engines())
        for mode in ("record", "replay"):
            with pool.cassette("c.jsonl", mode=mode):
                reply = pool.ask(PROMPT, "mock", tools=weather)

    assert reply.steps[0].sent == "sunny in Rome, says ***"
    assert ran == ["Rome"]


def test_digests_keep_no_result(project, weather, ran):
    """Nobody can read it, so that a replay needs the function."""
    project.settings('cassettes.prompts = "digest"')
    with project.pool() as pool:
        with pool.cassette("c.jsonl", mode="record") as cassette:
            pool.ask(PROMPT, "mock", tools=gx.tool(read_only=True)(weather))
        with pool.cassette("c.jsonl", mode="replay"), pytest.raises(GatewayError, match="digests"):
            pool.ask(PROMPT, "mock", tools=weather)
        with pool.cassette("c.jsonl", mode="auto"):
            assert pool.ask(PROMPT, "mock", tools=weather).steps[0].allowed_by == "tools"

    assert not any(message for entry in cassette.entries for message in entry.request.messages)
    assert ran == ["Rome", "Rome"]


PNG = b"\x89PNG\r\n\x1a\n"


def _record_chart(pool, image, ran):
    """Record a call whose function returns a text and an image, and return the function."""

    @gx.tool(read_only=True)
    def chart() -> list:
        """Draw a chart."""
        ran.append("chart")
        return ["Here:", image]

    with pool.cassette("c.jsonl", mode="record"):
        pool.ask("Go.", "scripted", tools=chart)
    return chart


def _drawing_pool(**env):
    """Return a pool with a model that asks for a chart."""
    call = Chunk(tool_calls=(ToolCall("call00001", "chart", "{}"),))
    engine = ScriptedEngine([call], ["Nice."])
    engine.features |= {"images"}
    return EnginePool(env=env, engines=[engine])


@pytest.fixture
def drawing_pool():
    """Yield a pool with a model that asks for a chart."""
    with _drawing_pool() as pool:
        yield pool


def test_an_image_is_replayed_from_the_file(drawing_pool, ran):
    """The replayed request has the recorded image, so that its answer is found."""
    image = PNG + bytes(range(256)) * 100
    chart = _record_chart(drawing_pool, image, ran)
    with drawing_pool.cassette("c.jsonl", mode="replay"):
        reply = drawing_pool.ask("Go.", "scripted", tools=chart)

    assert (reply.text, reply.replayed, ran) == ("Nice.", True, ["chart"])
    assert (reply.steps[0].allowed_by, reply.steps[0].sent) == ("replay", "Here:")


def _edit(line):
    entry = json.loads(line)
    if "result_images" in entry:
        (row,) = entry["result_images"]
        entry["result_images"] = [row | {"data": "AAAA"}]
    return json.dumps(entry)


@pytest.mark.parametrize("is_large", [True, False])
def test_a_large_or_edited_image_needs_the_function(drawing_pool, ran, is_large):
    """A large image is not recorded, and an edited one is not what the model has seen."""
    image = PNG + bytes(MAX_RESULT_IMAGE_BYTES) if is_large else PNG
    chart = _record_chart(drawing_pool, image, ran)
    path = Path("c.jsonl")
    assert path.stat().st_size < MAX_RESULT_IMAGE_BYTES
    path.write_text("\n".join(map(_edit, path.read_text("utf-8").splitlines())) + "\n", "utf-8")
    with (
        drawing_pool.cassette("c.jsonl", mode="replay"),
        pytest.raises(CassetteMissError, match="only digests"),
    ):
        drawing_pool.ask("Go.", "scripted", tools=chart)
    running = _drawing_pool(GATEWAYX_CASSETTE_TOOLS="run")
    with running, running.cassette("c.jsonl", mode="replay"):
        assert running.ask("Go.", "scripted", tools=chart).text == "Nice."

    assert ran == ["chart", "chart"]


def test_digests_keep_no_image(project, ran):
    """With digests, images are not recorded, because they would reveal the prompt."""
    project.settings('cassettes.prompts = "digest"')
    call = Chunk(tool_calls=(ToolCall("call00001", "chart", "{}"),))
    engine = ScriptedEngine([call], ["Nice."])
    engine.features |= {"images"}
    with project.pool(engines=[engine]) as pool:
        _record_chart(pool, PNG, ran)

    assert b"result_images" not in Path("c.jsonl").read_bytes()


def _mutated(value, random):
    """Return JSON with one value replaced, or an item removed or repeated."""
    if isinstance(value, dict) and value:
        name = random.choice(list(value))
        return {**value, name: _mutated(value[name], random)}
    if isinstance(value, list) and value:
        number = random.randrange(len(value))
        new = random.choice([[], [value[number]] * 2, [_mutated(value[number], random)]])
        return [*value[:number], *new, *value[number + 1 :]]
    return random.choice(
        ["weather", "tool", "tool_calls", "", "1", '{"city": "Oslo"}', 1, None, []]
    )


@pytest.mark.parametrize("mode", ["replay", "auto"])
@pytest.mark.no_cover
def test_no_edited_cassette_runs_a_function(pool_with_recording, weather, ran, mode):
    """Whatever the file contains, a replay runs nothing, and mode auto asks first."""
    pool, path = pool_with_recording
    lines = path.read_text("utf-8").splitlines()
    for seed in range(60):
        generator = random.Random(seed)
        first, second = (json.loads(line) for line in lines[1:])
        for _ in range(generator.randint(1, 3)):
            if generator.random() < 0.5:
                first = _mutated(first, generator)
            else:
                second = _mutated(second, generator)
        edited = [lines[0], json.dumps(first), json.dumps(second)]
        path.write_text("".join(f"{line}\n" for line in edited[: generator.randint(2, 3)]), "utf-8")
        ran.clear()
        with contextlib.suppress(GatewayError), pool.cassette(path, mode=mode):
            pool.ask("Go.", "scripted", tools=weather, approve=_refuse)
        assert ran == [], seed


def _refuse(step):
    return False


@pytest.fixture
def pool_with_recording(tmp_path, weather):
    """Yield a pool whose engine fails from now on, and the path of a cassette with one call."""
    path = tmp_path / "tools.jsonl"
    call = ToolCall("call00001", "weather", '{"city": "Rome"}')
    down = ProviderError("the engine is down.", status=400)
    engine = ScriptedEngine([Chunk(tool_calls=(call,))], ["Done."], [down])
    with gx.EnginePool(env={}, engines=[engine]) as pool:
        with pool.cassette(path):
            pool.ask("Go.", "scripted", tools=weather)
        yield pool, path
