"""Calls with an open cassette: recording, and replay without an engine."""

import asyncio
import contextlib
import io
import json
import os
import subprocess
import sys
import threading
from decimal import Decimal
from pathlib import Path

import pytest

from gatewayx_nb import display
from gatewayx_nb.commands.status import engine_table
from gatewayx_nb.engine_pool import EngineHealth, EnginePool
from gatewayx_nb.engine_pool.call import EngineCall
from gatewayx_nb.engine_pool.cassette_calls import RecordedCall, ReplayedCall
from gatewayx_nb.errors import (
    CassetteMissError,
    ConfigError,
    EngineNotFoundError,
    MissingKeyError,
    ProviderError,
    UsageError,
)
from gatewayx_nb.html.reply import reply_html
from gatewayx_nb.llm_engines import Chunk
from gatewayx_nb.messages import ToolCall
from gatewayx_nb.replies import Usage
from gatewayx_nb.testing import ScriptedEngine
from tests import canary

END = Chunk(finish_reason="stop", usage=Usage(3, 2))
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path):
    """Return the path of the cassette."""
    return tmp_path / "cassettes" / "a.jsonl"


@pytest.fixture
def bare():
    """Yield a pool without keys and without the recorded engine."""
    with EnginePool(env={}) as pool:
        yield pool


def entries(path):
    """Return the entries of a cassette as parsed JSON."""
    return [json.loads(line) for line in path.read_text().splitlines()[1:]]


def test_a_call_is_replayed_as_recorded(scripted, bare, path):
    """Replay returns text, reasoning, tool calls and figures without the recorded engine."""
    call = ToolCall("1", "look", '{"at":"sky"}')
    pool, engine = scripted(
        [Chunk(reasoning="hm"), "Hel", 0.08, "lo.", Chunk(tool_calls=(call,)), END]
    )
    with pool.cassette(path, "record"):
        live = pool.ask("Hi", model="scripted", temperature=0)
    with bare.cassette(path, "replay") as cassette:
        reply = bare.ask("Hi", model="scripted", temperature=0.0)
        chunks = list(bare.stream("Hi", model="scripted", temperature=0))

    for name in ("text", "reasoning", "engine", "model", "finish_reason", "usage", "attempts"):
        assert getattr(reply, name) == getattr(live, name)
    assert (reply.cost, reply.tool_calls) == (Decimal("0.005"), (call,))
    assert reply.latency == pytest.approx(live.latency, abs=0.001)
    assert reply.time_to_first == pytest.approx(live.time_to_first, abs=0.001)
    assert (live.replayed, reply.replayed) == (False, True)
    assert [chunk.text for chunk in chunks] == ["Hel", "lo.", ""]
    assert (cassette.replayed, len(engine.requests)) == (2, 1)


def test_the_mode_of_the_cassette_selects_the_kind_of_call(scripted, path):
    """Without a cassette, in mode `off` and with `fresh` a call is live.

    Otherwise a known call is replayed, and an unknown one is recorded.
    """
    pool, engine = scripted(["Hello.", END])

    def plan(prompt="Hi", **options):
        return type(pool._router.plan(prompt, {"model": "scripted", **options}, streamed=False))

    assert plan() is EngineCall
    with pool.cassette(path):
        assert plan() is RecordedCall
        assert plan(fresh=True) is EngineCall
        pool.ask("Hi", model="scripted")
        assert (plan(), plan("other")) == (ReplayedCall, RecordedCall)
        with pool.cassette(path.with_name("b.jsonl"), "off"):
            assert plan() is EngineCall
    with pool.cassette(path, "record"):
        assert plan() is RecordedCall
    with pool.cassette(path, "replay"):
        assert plan() is ReplayedCall
        with pytest.raises(CassetteMissError):
            plan("other")
        assert type(pool._router.plan_live("Hi", {"model": "scripted"})) is EngineCall
    assert len(engine.requests) == 1


def test_ids_headers_and_rate_limits_are_not_recorded(scripted, path):
    """Request ids, headers and rate limits are not recorded, so the file is the same everywhere."""
    pool, _ = scripted(["Hi.", Chunk(finish_reason="stop", request_id="req_1")])
    with pool.cassette(path):
        pool.ask("Hi", model="scripted")

    (entry,) = entries(path)
    assert set(entry) == {"recorded", "engine", "model", "request", "reference", "chunks", "reply"}
    assert set(entry["reply"]) == {"engine", "model", "latency", "time_to_first"}
    assert str(path.parent) not in path.read_text()
    assert "req_1" not in path.read_text()


def test_auto_mode_records_new_calls(scripted, path):
    """In `auto` mode an equal call is replayed, and a new call is sent and recorded."""
    pool, engine = scripted(["one", END], ["two", END], ["three", END])
    with pool.cassette(path) as cassette:
        texts = [pool.ask(prompt, model="scripted").text for prompt in ("a", "a", "b", "a")]
        fresh = pool.ask("a", model="scripted", fresh=True)

    assert texts == ["one", "one", "two", "one"]
    assert (fresh.text, fresh.replayed) == ("three", False)
    assert (cassette.replayed, cassette.recorded) == (2, 2)
    assert len(engine.requests) == 3
    assert [entry["chunks"][0][1] for entry in entries(path)] == ["one", "two"]


def test_record_mode_replaces_entries_in_order(scripted, bare, path):
    """In `record` mode every call is sent, and its entry replaces the old one at the same place."""
    first, _ = scripted(*[[text, END] for text in "abc"])
    second, _ = scripted(*[[text, END] for text in "xyz"])
    for pool in (first, second):
        with pool.cassette(path, "record"):
            for prompt in ("Hi", "other", "Hi"):
                pool.ask(prompt, model="scripted")
    with bare.cassette(path, "replay"):
        texts = [bare.ask("Hi", model="scripted").text for _ in range(3)]

    assert texts == ["x", "z", "z"]
    assert [entry["chunks"][0][1] for entry in entries(path)] == ["x", "y", "z"]


def test_equal_concurrent_calls_are_replayed_in_order(scripted, bare, path):
    """Equal concurrent calls are replayed in the order they began, not the order they ended."""
    pool, _ = scripted([0.2, "slow", END], ["quick", END])
    texts = []
    for asked, mode in ((pool, "record"), (bare, "replay")):
        with asked.cassette(path, mode):
            texts.append(list(map(str, asked.compare("Hi", models=["scripted", "scripted"]))))

    assert texts == [["slow", "quick"]] * 2
    assert [entry["chunks"][0][1] for entry in entries(path)] == ["quick", "slow"]


def test_interleaved_streams_do_not_mix(scripted, bare, path):
    """Two replayed streams that are read in turns each yield their own reply."""
    pool, _ = scripted(["a1", 0.06, "a2", END], ["b1", 0.06, "b2", END])
    with pool.cassette(path):
        pool.ask("a", model="scripted")
        pool.ask("b", model="scripted")
    with bare.cassette(path, "replay"):
        one, two = (bare.stream(prompt, model="scripted") for prompt in "ab")
        turns = [(first.text, second.text) for first, second in zip(one, two, strict=True)]

    assert turns == [("a1", "b1"), ("a2", "b2"), ("", "")]
    assert (one.reply.text, two.reply.text) == ("a1a2", "b1b2")


def test_a_conversation_is_replayed(scripted, bare, path):
    """A conversation is replayed, because its earlier messages are part of the request."""
    pool, _ = scripted(["one", END], ["two", END])
    for asked, mode in ((pool, "record"), (bare, "replay")):
        with asked.cassette(path, mode):
            chat = asked.chat("scripted", system="short")
            texts = [str(chat.ask("Hi")), str(chat.ask("And?"))]
        assert texts == ["one", "two"]
        assert len(chat) == 2


def test_answers_to_a_schema_are_replayed_as_data(scripted, bare, path):
    """A replayed reply has the parsed data of the second turn if the first did not match."""
    pool, _ = scripted(["no JSON", END], ['{"a":', 0.06, "1}", END])
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    with pool.cassette(path):
        live = pool.ask("Hi", model="scripted", schema=schema)
    with bare.cassette(path, "replay"):
        reply = bare.ask("Hi", model="scripted", schema=schema)

    assert live.parsed == reply.parsed == {"a": 1}
    assert (reply.text, reply.usage) == ('{"a":1}', live.usage)


def test_a_recorded_answer_that_does_not_fit_its_schema_raises_an_error(scripted, bare, path):
    pool, _ = scripted(['{"a":1}', END])
    with pool.cassette(path):
        pool.ask("Hi", model="scripted", schema={"type": "object"})
    path.write_text(path.read_text().replace('{\\"a\\":1}', "oops"))

    with bare.cassette(path, "replay"), pytest.raises(ConfigError, match="does not match"):
        bare.ask("Hi", model="scripted", schema={"type": "object"})


def test_a_replayed_fallback_names_the_engine_that_answered(scripted, bare, path):
    """A fallback is replayed by its references; the call without `fallback=` is another one."""
    pool, _ = scripted(["Hello.", END])
    asks = {"model": "grok", "fallback": ["scripted"]}
    with pool.cassette(path):
        live = pool.ask("Hi", **asks)
    with bare.cassette(path, "replay"):
        reply = bare.ask("Hi", **asks)
        with pytest.raises(CassetteMissError, match="fallback"):
            bare.ask("Hi", model="grok")
        rows = bare.status()

    assert (reply.engine, reply.fallback_from) == (live.engine, live.fallback_from)
    assert (reply.engine, reply.fallback_from) == ("scripted", "grok")
    assert [row.name for row in rows] == ["scripted"]


def test_comparisons_are_replayed(scripted, bare, path):
    """Columns of a comparison are replayed, also two columns of the same model."""
    pool, _ = scripted(["Hello.", END])
    with pool.cassette(path):
        live = pool.compare("Hi", models=["scripted", "mock", "scripted"])
    with bare.cassette(path, "replay"):
        again = bare.compare("Hi", models=["scripted", "mock", "scripted"])

    assert [str(reply) for reply in live] == [str(reply) for reply in again]
    assert all(reply.replayed for reply in again)


def test_vectors_are_replayed(bare, path):
    """Replayed vectors are float32 and bit-identical to the recorded ones."""

    class Vectors(ScriptedEngine):
        async def embed(self, texts, model):
            return [[len(text), 0.1] for text in texts]

    with EnginePool(env={}, engines=[Vectors([END])]) as pool, pool.cassette(path):
        live = pool.embed(["a", "bcd"], model="vectors")
    with bare.cassette(path, "replay"):
        again = bare.embed(["a", "bcd"], model="vectors")
        with pytest.raises(CassetteMissError):
            bare.embed(["a"], model="vectors")

    assert (again == live).all()
    assert (again.shape, again.dtype) == ((2, 2), live.dtype)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"prompt": "Why is the  sky blue?"}, "its prompt is 'Why is the sky blue?', not 'Why"),
        ({"temperature": 0.5}, "its temperature is '0.0', not '0.5'"),
        ({"model": "scripted:big"}, "its model is 'scripted', not 'scripted:big'"),
        ({"system": "Be short."}, "its system is 'None', not 'Be short.'"),
    ],
)
def test_a_miss_names_the_nearest_entry(scripted, bare, path, options, says):
    """A call without an entry raises an error with the nearest entry and the first difference."""
    pool, _ = scripted(["Hello.", END])
    asks = {"prompt": "Why is the sky blue?", "model": "scripted", "temperature": 0}
    with pool.cassette(path):
        pool.ask("Something else", model="mock")
        pool.ask(asks["prompt"], model="scripted", temperature=0)
    asks |= options
    with bare.cassette(path, "replay") as cassette, pytest.raises(CassetteMissError) as missed:
        bare.ask(asks.pop("prompt"), **asks)

    assert says in missed.value.message
    assert 'Record it with `mode="auto"`' in str(missed.value.hint)
    assert cassette.missed == 1


def test_a_miss_shows_only_a_part_of_a_long_prompt(scripted, bare, path):
    """The error shows only a few letters of a long prompt, around the first difference."""
    pool, _ = scripted(["Hello.", END])
    with pool.cassette(path):
        pool.ask("word " * 200 + "one", model="scripted")
    with bare.cassette(path, "replay"), pytest.raises(CassetteMissError) as missed:
        bare.ask("word " * 200 + "two", model="scripted")

    assert "its prompt differs from character 1001" in missed.value.message
    assert len(str(missed.value)) < 400


def test_an_unknown_engine_is_reported_during_replay(scripted, bare, path):
    """In replay mode, too, an unknown engine name raises an error with the nearest name."""
    pool, _ = scripted(["Hello.", END])
    with pool.cassette(path):
        pool.ask("Hi", model="scripted")
    with bare.cassette(path, "replay"):
        with pytest.raises(EngineNotFoundError, match="'grok'"):
            bare.ask("Hi", model="gork")
        with pytest.raises(CassetteMissError):
            bare.ask("Hi", model="grok")
        with pytest.raises(UsageError, match="model must be a str"):
            bare.ask("Hi", model=5)


def test_a_call_without_a_model_is_replayed(project, scripted, path):
    """A call without `model=` is replayed, whatever the default model of this machine is."""
    pool, _ = scripted(["Hello.", END])
    pool.use("scripted")
    with pool.cassette(path):
        pool.ask("Hi")
    project.settings('default_model = "mock"\n')
    with project.pool() as other, other.cassette(path, "replay"):
        other.use("scripted")
        assert other.ask("Hi").engine == "scripted"

    project.settings('default_model = "mock"\n')
    second = path.with_name("b.jsonl")
    with project.pool() as recording, recording.cassette(second):
        recording.ask("Hi")
    with EnginePool(env={}) as bare, bare.cassette(second, "replay"):
        assert bare.ask("Hi").engine == "mock"
        assert bare.default_model() == "mock"


def test_an_alias_is_replayed(project, path):
    """An alias is replayed as typed, even if it is not defined on the replaying machine."""
    project.settings('[aliases]\nme = "mock:big"\n')
    with project.pool() as pool, pool.cassette(path):
        pool.ask("Hi", model="me")
    with EnginePool(env={}) as bare, bare.cassette(path, "replay"):
        assert bare.ask("Hi", model="me").model == "big"
        assert bare.ask("Hi", model="mock:big").model == "big"


def test_the_status_during_replay_is_that_of_the_cassette(scripted, project, path):
    """In replay mode the status has no engine, key, path or problem of this machine."""
    pool, _ = scripted(["Hello.", END])
    with pool.cassette(path):
        pool.ask("Hi", model="scripted")
        pool.ask("Hi", model="mock:big")
    project.set_keys("GATEWAYX_GROK_API_KEY=k\noops\n")
    with project.pool() as other:
        with other.cassette(path, "replay"):
            rows = [(row.name, row.state, row.model) for row in other.status()]
            models = list(map(str, other.models()))
            named = list(map(str, other.models("mock")))
            health = [(row.engine, row.ok) for row in other.health()]
            health += [(row.engine, row.ok) for row in asyncio.run(other.ahealth("grok"))]
            assert other.problems == []
            with pytest.raises(ConfigError, match="the cassette has no default model"):
                other.default_model()
        after = {row.name for row in other.status()}

    assert rows == [("mock", "replay", "big"), ("scripted", "replay", "script")]
    assert (models, named) == (["mock:big", "scripted:script"], ["mock:big"])
    assert health == [("mock", True), ("scripted", True), ("grok", False)]
    assert "grok" in after


def test_replayed_calls_cost_nothing(scripted, project, path):
    """Replayed calls are not in the ledger and are not limited by a budget."""
    pool, _ = scripted(["Hello.", END])
    with pool.cassette(path):
        pool.ask("Hi", model="scripted")
    project.settings("[limits]\nmax_cost = 0.000001\n")
    with project.pool() as other, other.cassette(path, "replay"):
        reply = other.ask("Hi", model="scripted", max_cost=0)
        assert (reply.cost, other.usage(), other.history()) == (Decimal("0.005"), [], [])


def test_a_replay_has_the_requested_speed(scripted, bare, path):
    """With `speed=4` a reply is replayed four times as fast; its figures stay as recorded."""
    pool, _ = scripted(["a", 0.4, "b", END])
    with pool.cassette(path):
        live = pool.ask("Hi", model="scripted")
    with bare.cassette(path, "replay", speed=4):
        stream = bare.stream("Hi", model="scripted")
        times = [(chunk.text, stream.partial.first_chunk_at) for chunk in stream]
        started = stream.partial.started
        partial = stream.partial

    assert [text for text, _ in times] == ["a", "b", ""]
    assert partial.instant is False
    assert stream.reply.latency == pytest.approx(live.latency, abs=0.001)
    assert times[0][1] - started < 0.3


def test_failed_and_interrupted_calls_are_not_recorded(scripted, path):
    """Failed calls and incomplete replies are not recorded; a repeated call is sent."""
    pool, _ = scripted([ProviderError("no")], ["par", ProviderError("broke")], ["whole", END])
    with pool.cassette(path) as cassette:
        for _ in range(2):
            with pytest.raises(ProviderError):
                pool.ask("Hi", model="scripted")
        stream = pool.stream("Hi", model="scripted")
        stream.close()
        assert cassette.recorded == 0
        assert not path.exists()
        assert pool.ask("Hi", model="scripted").text == "whole"

    assert len(entries(path)) == 1


def test_a_key_in_the_prompt_raises_an_error_before_it_is_sent(project, path):
    """A key in the prompt raises an error before the provider and the cassette receive it."""
    project.set_keys(f"GATEWAYX_GROK_API_KEY='{canary.KEY}'\n".replace("\\", "\\\\"))
    engine = ScriptedEngine(["Hello.", END])
    with project.pool(engines=[engine]) as pool, pool.cassette(path):
        with pytest.raises(ConfigError, match=r"messages\[0\].content contains") as refused:
            pool.ask(f"My key is {canary.KEY}", model="scripted")
        with pytest.raises(ConfigError, match="looks like a key"):
            pool.ask("Use sk-proj-abcdefghij1234567890", model="scripted")

    assert not canary.leaks(refused.value)
    assert (engine.requests, path.exists()) == ([], False)


def test_a_key_in_an_answer_raises_an_error_before_it_is_written(path):
    """A key in a reply, even split over chunks, raises an error before it is written."""
    engine = ScriptedEngine([canary.KEY[:9], 0.06, canary.KEY[9:], END])
    engine.api_key = canary.KEY
    with EnginePool(env={}, engines=[engine]) as pool, pool.cassette(path):
        with pytest.raises(ConfigError, match="contains the key of engine scripted") as refused:
            pool.ask("Hi", model="scripted")
        assert [one.calls for one in pool.usage()] == [1]

    assert not canary.leaks(refused.value)
    assert not path.exists()


def test_a_redacted_call_is_found_again(project, path):
    """The redaction hook changes recorded prompts, system texts and replies.

    The caller sees the originals, and the redacted call is found again.
    """
    (project.root / "hooks.py").write_text(
        "import re\n\n\ndef redact(text):\n    return re.sub(r'\\d{4}', '####', text)\n"
    )
    project.settings('[cassettes]\nredact = "hooks:redact"\n')
    asks = {"model": "scripted", "system": "PIN 5678"}
    engine = ScriptedEngine(["Your PIN ", 0.06, "is 12", 0.06, "34.", END])
    with project.pool(engines=[engine]) as pool, pool.cassette(path):
        live = pool.ask("My PIN is 1234.", **asks)
    with project.pool() as other, other.cassette(path, "replay"):
        again = other.ask("My PIN is 1234.", **asks)
        same = other.ask("My PIN is 9999.", **asks)

    assert live.text == "Your PIN is 1234."
    assert again.text == same.text == "Your PIN is ####."
    assert not any(number in path.read_text() for number in ("1234", "5678"))


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("def redact(text):\n    return None\n", "must return a str, got NoneType"),
        ("def redact(text):\n    1 / 0\n", "raised ZeroDivisionError"),
        ("def other(text):\n    return text\n", "cannot be imported"),
        ("oops\n", "cannot be imported"),
    ],
)
def test_nothing_is_written_if_the_hook_fails(project, path, body, says):
    """If the redaction hook fails, nothing is sent and nothing is written."""
    (project.root / "hooks.py").write_text(body)
    project.settings('[cassettes]\nredact = "hooks:redact"\n')
    engine = ScriptedEngine(["Hello.", END])
    with (
        project.pool(engines=[engine]) as pool,
        pytest.raises(ConfigError, match=says),
        pool.cassette(path),
    ):
        pool.ask("Hi", model="scripted")

    assert (engine.requests, path.exists()) == ([], False)


def test_the_environment_wins_over_the_mode(scripted, path):
    """`GATEWAYX_CASSETTE_MODE` overrides the mode, but does not open a cassette."""
    pool, engine = scripted(["Hello.", END])
    with pool.cassette(path):
        pool.ask("Hi", model="scripted")
    with EnginePool(env={"GATEWAYX_CASSETTE_MODE": "replay"}) as other:
        assert other.active_cassette is None
        with other.cassette(path, "record") as cassette:
            assert cassette.mode == "replay"
            assert other.ask("Hi", model="scripted").replayed
    off = EnginePool(env={"GATEWAYX_CASSETTE_MODE": "off"}, engines=[engine])
    with off, off.cassette(path, "replay"):
        assert not off.ask("Hi", model="scripted").replayed
    with (
        EnginePool(env={"GATEWAYX_CASSETTE_MODE": "repaly"}) as other,
        pytest.raises(
            UsageError, match=r"GATEWAYX_CASSETTE_MODE must be one of .* got 'repaly'.*'replay'"
        ),
    ):
        other.cassette(path)


def test_closing_a_cassette_restores_the_one_before(scripted, path):
    """Closing a cassette restores the one opened before it; closing twice is harmless."""
    pool, _ = scripted(["Hello.", END])
    outer = pool.cassette(path)
    with pool.cassette(path.with_name("b.jsonl")) as inner:
        assert pool.active_cassette is inner
    assert pool.active_cassette is outer
    outer.close()
    outer.close()
    assert pool.active_cassette is None


@pytest.mark.parametrize(
    ("mode", "speed", "says"),
    [
        ("repaly", None, "Did you mean 'replay'"),
        ("replay", 0, "a number > 0"),
        ("replay", "fast", "a number > 0"),
        ("replay", None, "does not exist"),
    ],
)
def test_an_invalid_mode_speed_or_file_raises_an_error(bare, path, mode, speed, says):
    """An invalid mode, speed or file raises an error, and no cassette is open afterwards."""
    with pytest.raises((UsageError, ConfigError), match=says):
        bare.cassette(path, mode, speed=speed)
    assert bare.active_cassette is None


def test_recording_needs_a_key(bare, path):
    """Recording without a key raises a one-line error; replay needs no key."""
    for mode in ("auto", "record"):
        with bare.cassette(path, mode), pytest.raises(MissingKeyError):
            bare.ask("Hi", model="grok")
        with bare.cassette(path, mode), pytest.raises(MissingKeyError):
            bare.ask("Hi")


@pytest.mark.skipif(os.name != "posix" or os.getuid() == 0, reason="root writes everywhere")
def test_a_read_only_cassette_can_be_replayed(scripted, bare, path):
    """A read-only cassette can be replayed but not opened for recording."""
    pool, _ = scripted(["Hello.", END])
    with pool.cassette(path):
        pool.ask("Hi", model="scripted")
    path.chmod(0o400)

    with pytest.raises(ConfigError, match="cannot be written"):
        pool.cassette(path)
    with bare.cassette(path, "replay"):
        assert bare.ask("Hi", model="scripted").text == "Hello."


def test_a_full_disk_raises_an_error(scripted, path, monkeypatch):
    """If the disk is full, the call raises an error, but its cost is counted."""
    pool, _ = scripted(["Hello.", END])

    def full(_):
        raise OSError(28, "No space left on device")

    with pool.cassette(path):
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(ConfigError, match="No space left on device"):
            pool.ask("Hi", model="scripted")
    assert [one.calls for one in pool.usage()] == [1]


def test_a_table_tracked_by_git_is_reported(scripted, path):
    """A table in a cassette tracked by git is reported in status and security status."""
    pool, _ = scripted(["Hello.", END])
    with pool.cassette(path) as cassette:
        pool.ask("Say it:\n\n| a | b |\n|---|---|\n| 1 | 2 |\n", model="scripted")
        git = ["git", "-C", str(path.parent)]
        subprocess.run([*git, "init", "-q"], check=True)
        before = (cassette.warning, pool.problems)
        subprocess.run([*git, "add", path.name], check=True)

        assert before == ("", [])
        assert "a prompt in it contains a table" in cassette.warning
        assert pool.problems == [cassette.warning]


def test_many_threads_lose_nothing(scripted, bare, path):
    """Calls from many threads are recorded, each once."""
    pool, _ = scripted(["Hello.", END])
    with pool.cassette(path):
        threads = [
            threading.Thread(target=pool.ask, args=(f"Hi {n}",), kwargs={"model": "scripted"})
            for n in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    with bare.cassette(path, "replay"):
        assert {bare.ask(f"Hi {n}", model="scripted").text for n in range(20)} == {"Hello."}
    assert len(entries(path)) == 20


def test_markup_in_a_foreign_cassette_is_inert(scripted, bare, path):
    """Markup in any field of a foreign cassette is inert, in HTML and in a terminal."""
    pool, _ = scripted(["ANSWER", END])
    with pool.cassette(path):
        pool.ask("Hi", model="scripted")
    evil = "<img src=x onerror=alert(1)>\\u001b]0;owned\\u0007"
    text = path.read_text().replace("ANSWER", evil).replace('"model":"script"', f'"model":"{evil}"')
    path.write_text(text)
    with bare.cassette(path, "replay"):
        reply = bare.ask("Hi", model="scripted")
        table = engine_table(bare.status(), ())
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        view = display.TerminalView()
        view.finish(reply)

    html = reply._repr_mimebundle_()["text/html"] + table._repr_html_()
    html += reply_html(reply.text, footer=display.reply_summary(reply))
    assert "onerror" in reply.text
    assert "<img" not in html
    assert "\x1b" not in shown.getvalue() + repr(table)


CUT_OFF = """
import sys


def audit(event, args):
    if event in ("socket.connect", "socket.bind", "socket.getaddrinfo", "subprocess.Popen"):
        raise SystemExit(f"{event} {args}")
    if event == "socket.__new__" and args[1] != 1:  # but for the pair that an event loop wakes by
        raise SystemExit(f"a socket of family {args[1]}")


sys.addaudithook(audit)
import gatewayx_nb as gx

with gx.cassette(sys.argv[1], "replay"):
    print(gx.ask("Hi", model="grok"), [chunk.text for chunk in gx.stream("Hi", model="grok")])
    print([row.state for row in gx.status()], gx.models(), gx.health())
    print(sorted(name for name in sys.modules if name in ("httpx", "aiohttp", "xllamacpp")))
"""


def test_replay_opens_no_socket_and_starts_no_engine(path):
    """Replay makes no network system call and imports no provider code."""

    class Grok(ScriptedEngine):
        name = "grok"

    with EnginePool(env={}, engines=[Grok(["Hello.", END])]) as pool, pool.cassette(path):
        pool.ask("Hi", model="grok")
    done = subprocess.run(
        [sys.executable, "-c", CUT_OFF, str(path)],
        cwd=path.parent,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "Hello. ['Hello.', '']",
        "['replay'] [ModelInfo(engine='grok', model='script', default=True)] "
        + repr([EngineHealth("grok", ok=True)]),
        "[]",
    ]
