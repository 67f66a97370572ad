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

from gatewayx_nb import calls, display
from gatewayx_nb.cassettes import cassette_file
from gatewayx_nb.engine_pool import EngineHealth, EnginePool
from gatewayx_nb.engine_pool.call import EngineCall
from gatewayx_nb.engine_pool.cassette_calls import RecordedCall, ReplayedCall
from gatewayx_nb.errors import (
    CassetteMissError,
    ConfigError,
    EngineNotFoundError,
    MissingKeyError,
    ProviderError,
    TrustError,
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
    """Return a path for a cassette."""
    return tmp_path / "cassettes" / "a.jsonl"


@pytest.fixture
def empty_pool():
    """Yield a pool without keys and without the recorded engine."""
    with EnginePool(env={}) as pool:
        yield pool


def read_entries(path):
    """Return the entries of a cassette as parsed JSON."""
    return [json.loads(line) for line in path.read_text().splitlines()[1:]]


def test_a_call_is_replayed_as_recorded(make_scripted_pool, empty_pool, path):
    """A replayed reply has the text, reasoning, tool calls, usage and timing of the recording."""
    call = ToolCall("1", "look", '{"at":"sky"}')
    pool, engine = make_scripted_pool(
        [Chunk(reasoning="hm"), "Hel", 0.08, "lo.", Chunk(tool_calls=(call,)), END]
    )
    with pool.cassette(path, "record"):
        live = pool.ask("Hi", model="scripted", temperature=0)
    with empty_pool.cassette(path, "replay") as cassette:
        reply = empty_pool.ask("Hi", model="scripted", temperature=0.0)
        chunks = list(empty_pool.stream("Hi", model="scripted", temperature=0))

    for name in ("text", "reasoning", "engine", "model", "finish_reason", "usage", "attempts"):
        assert getattr(reply, name) == getattr(live, name)
    assert (reply.cost, reply.tool_calls) == (Decimal("0.005"), (call,))
    assert reply.latency == pytest.approx(live.latency, abs=0.001)
    assert reply.time_to_first == pytest.approx(live.time_to_first, abs=0.001)
    assert (live.replayed, reply.replayed) == (False, True)
    assert [chunk.text for chunk in chunks] == ["Hel", "lo.", ""]
    assert (cassette.replayed, len(engine.requests)) == (2, 1)


def test_the_mode_of_the_cassette_selects_the_kind_of_call(make_scripted_pool, path):
    """A call is live without a cassette, in mode `off` and with `fresh=True`.

    Otherwise it is replayed if the cassette contains it, and recorded if not.
    """
    pool, engine = make_scripted_pool(["Hello.", END])

    def plan_type(prompt="Hi", **options):
        return type(pool._router.plan(prompt, {"model": "scripted", **options}, streamed=False))

    assert plan_type() is EngineCall
    with pool.cassette(path):
        assert plan_type() is RecordedCall
        assert plan_type(fresh=True) is EngineCall
        pool.ask("Hi", model="scripted")
        assert (plan_type(), plan_type("other")) == (ReplayedCall, RecordedCall)
        with pool.cassette(path.with_name("b.jsonl"), "off"):
            assert plan_type() is EngineCall
    with pool.cassette(path, "record"):
        assert plan_type() is RecordedCall
    with pool.cassette(path, "replay"):
        assert plan_type() is ReplayedCall
        with pytest.raises(CassetteMissError):
            plan_type("other")
        assert type(pool._router.plan_live("Hi", {"model": "scripted"})) is EngineCall
    assert len(engine.requests) == 1


def test_ids_headers_and_rate_limits_are_not_recorded(make_scripted_pool, path):
    """Request IDs, headers and rate limits are not recorded, because they differ between calls."""
    pool, _ = make_scripted_pool(["Hi.", Chunk(finish_reason="stop", request_id="req_1")])
    with pool.cassette(path):
        pool.ask("Hi", model="scripted")

    (entry,) = read_entries(path)
    call = ["request", "reference", "engine", "resolved"]
    assert list(entry) == [*call, "text", "pieces", "figures", "recorded"]
    assert list(entry["figures"]) == ["engine", "latency", "model", "time_to_first"]
    assert str(path.parent) not in path.read_text()
    assert "req_1" not in path.read_text()


def test_auto_mode_records_new_calls(make_scripted_pool, path):
    """In `auto` mode a recorded call is replayed, and a new call is sent and recorded."""
    pool, engine = make_scripted_pool(["one", END], ["two", END], ["three", END])
    with pool.cassette(path) as cassette:
        texts = [pool.ask(prompt, model="scripted").text for prompt in ("a", "a", "b", "a")]
        fresh = pool.ask("a", model="scripted", fresh=True)

    assert texts == ["one", "one", "two", "one"]
    assert (fresh.text, fresh.replayed) == ("three", False)
    assert (cassette.replayed, cassette.recorded) == (2, 2)
    assert len(engine.requests) == 3
    assert [entry["text"] for entry in read_entries(path)] == ["one", "two"]


def test_record_mode_replaces_entries_in_order(make_scripted_pool, empty_pool, path):
    """In `record` mode every call is sent, and its entry replaces the old entry in its line."""
    first, _ = make_scripted_pool(*[[text, END] for text in "abc"])
    second, _ = make_scripted_pool(*[[text, END] for text in "xyz"])
    for pool in (first, second):
        with pool.cassette(path, "record"):
            for prompt in ("Hi", "other", "Hi"):
                pool.ask(prompt, model="scripted")
    with empty_pool.cassette(path, "replay"):
        texts = [empty_pool.ask("Hi", model="scripted").text for _ in range(3)]

    assert texts == ["x", "z", "z"]
    assert [entry["text"] for entry in read_entries(path)] == ["x", "y", "z"]


def test_equal_concurrent_calls_are_replayed_in_order(make_scripted_pool, empty_pool, path):
    """Equal concurrent calls are replayed in the order in which they were started."""
    pool, _ = make_scripted_pool([0.2, "slow", END], ["quick", END])
    texts = []
    for caller, mode in ((pool, "record"), (empty_pool, "replay")):
        with caller.cassette(path, mode):
            texts.append(list(map(str, caller.compare("Hi", models=["scripted", "scripted"]))))

    assert texts == [["slow", "quick"]] * 2
    assert [entry["text"] for entry in read_entries(path)] == ["slow", "quick"]


def test_interleaved_streams_do_not_mix(make_scripted_pool, empty_pool, path):
    """If two replayed streams are read alternately, each yields its own reply."""
    pool, _ = make_scripted_pool(["a1", 0.06, "a2", END], ["b1", 0.06, "b2", END])
    with pool.cassette(path):
        pool.ask("a", model="scripted")
        pool.ask("b", model="scripted")
    with empty_pool.cassette(path, "replay"):
        first, second = (empty_pool.stream(prompt, model="scripted") for prompt in "ab")
        pairs = [(a.text, b.text) for a, b in zip(first, second, strict=True)]

    assert pairs == [("a1", "b1"), ("a2", "b2"), ("", "")]
    assert (first.reply.text, second.reply.text) == ("a1a2", "b1b2")


def test_a_conversation_is_replayed(make_scripted_pool, empty_pool, path):
    """A conversation is replayed; its earlier messages are part of each request."""
    pool, _ = make_scripted_pool(["one", END], ["two", END])
    for caller, mode in ((pool, "record"), (empty_pool, "replay")):
        with caller.cassette(path, mode):
            chat = caller.chat("scripted", system="short")
            texts = [str(chat.ask("Hi")), str(chat.ask("And?"))]
        assert texts == ["one", "two"]
        assert len(chat) == 2


def test_structured_replies_are_replayed_with_parsed_data(make_scripted_pool, empty_pool, path):
    """A replayed reply has the parsed data of the corrected answer."""
    pool, _ = make_scripted_pool(["no JSON", END], ['{"a":', 0.06, "1}", END])
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    with pool.cassette(path):
        live = pool.ask("Hi", model="scripted", schema=schema)
    with empty_pool.cassette(path, "replay"):
        reply = empty_pool.ask("Hi", model="scripted", schema=schema)

    assert live.parsed == reply.parsed == {"a": 1}
    assert (reply.text, reply.usage) == ('{"a":1}', live.usage)


def test_a_recorded_answer_that_does_not_match_its_schema_raises_an_error(
    make_scripted_pool, empty_pool, path
):
    pool, _ = make_scripted_pool(['{"a":1}', END])
    with pool.cassette(path):
        pool.ask("Hi", model="scripted", schema={"type": "object"})
    path.write_text(path.read_text().replace('{\\"a\\":1}', "oops"))

    with empty_pool.cassette(path, "replay"), pytest.raises(ConfigError, match="does not match"):
        empty_pool.ask("Hi", model="scripted", schema={"type": "object"})


def test_a_replayed_fallback_names_the_engine_that_answered(make_scripted_pool, empty_pool, path):
    """A fallback's reply is replayed only for a call with the same `fallback=`."""
    pool, _ = make_scripted_pool(["Hello.", END])
    options = {"model": "grok", "fallback": ["scripted"]}
    with pool.cassette(path):
        live = pool.ask("Hi", **options)
    with empty_pool.cassette(path, "replay"):
        reply = empty_pool.ask("Hi", **options)
        with pytest.raises(CassetteMissError, match="fallback"):
            empty_pool.ask("Hi", model="grok")
        rows = empty_pool.status()

    assert (reply.engine, reply.fallback_from) == (live.engine, live.fallback_from)
    assert (reply.engine, reply.fallback_from) == ("scripted", "grok")
    assert [row.name for row in rows] == ["scripted"]


def test_comparisons_are_replayed(make_scripted_pool, empty_pool, path):
    """The replies of a comparison are replayed, even if a model occurs twice."""
    pool, _ = make_scripted_pool(["Hello.", END])
    with pool.cassette(path):
        live = pool.compare("Hi", models=["scripted", "mock", "scripted"])
    with empty_pool.cassette(path, "replay"):
        replayed = empty_pool.compare("Hi", models=["scripted", "mock", "scripted"])

    assert [str(reply) for reply in live] == [str(reply) for reply in replayed]
    assert all(reply.replayed for reply in replayed)


def test_vectors_are_replayed(empty_pool, path):
    """Replayed vectors are float32 and bit-identical to the recorded ones."""

    class LengthEmbedding(ScriptedEngine):
        async def embed(self, texts, model):
            return [[len(text), 0.1] for text in texts]

    with EnginePool(env={}, engines=[LengthEmbedding([END])]) as pool, pool.cassette(path):
        live = pool.embed(["a", "bcd"], model="length_embedding")
    with empty_pool.cassette(path, "replay"):
        replayed = empty_pool.embed(["a", "bcd"], model="length_embedding")
        with pytest.raises(CassetteMissError):
            empty_pool.embed(["a"], model="length_embedding")

    assert (replayed == live).all()
    assert (replayed.shape, replayed.dtype) == ((2, 2), live.dtype)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt": "Why is the  sky blue?"}, "its prompt is 'Why is the sky blue?', not 'Why"),
        ({"temperature": 0.5}, "its temperature is 0.0, not 0.5"),
        ({"model": "scripted:big"}, "its model is 'scripted', not 'scripted:big'"),
        ({"system": "Be short."}, "its system is unset, not 'Be short.'"),
        ({"params": {"top_k": 1}}, "its params are unset, not {'top_k': 1}"),
    ],
)
def test_a_miss_names_the_nearest_entry(make_scripted_pool, empty_pool, path, changes, message):
    """A call that is not recorded raises an error with the nearest entry and its difference."""
    pool, _ = make_scripted_pool(["Hello.", END])
    options = {"prompt": "Why is the sky blue?", "model": "scripted", "temperature": 0}
    with pool.cassette(path):
        pool.ask("Something else", model="mock")
        pool.ask(options["prompt"], model="scripted", temperature=0)
    options |= changes
    with (
        empty_pool.cassette(path, "replay") as cassette,
        pytest.raises(CassetteMissError) as caught,
    ):
        empty_pool.ask(options.pop("prompt"), **options)

    assert message in caught.value.message
    assert 'Record it with `mode="auto"`' in str(caught.value.hint)
    assert cassette.missed == 1


def test_the_error_of_a_miss_truncates_a_long_prompt(make_scripted_pool, empty_pool, path):
    """The error for an unrecorded call shows only a short excerpt of a long prompt."""
    pool, _ = make_scripted_pool(["Hello.", END])
    with pool.cassette(path):
        pool.ask("word " * 200 + "one", model="scripted")
    with empty_pool.cassette(path, "replay"), pytest.raises(CassetteMissError) as caught:
        empty_pool.ask("word " * 200 + "two", model="scripted")

    assert "its prompt differs starting at character 1001" in caught.value.message
    assert len(str(caught.value)) < 400


def test_an_unknown_engine_is_reported_during_replay(make_scripted_pool, empty_pool, path):
    """In replay mode an unknown engine raises the same error as in a live call."""
    pool, _ = make_scripted_pool(["Hello.", END])
    with pool.cassette(path):
        pool.ask("Hi", model="scripted")
    with empty_pool.cassette(path, "replay"):
        with pytest.raises(EngineNotFoundError, match="'grok'"):
            empty_pool.ask("Hi", model="gork")
        with pytest.raises(CassetteMissError):
            empty_pool.ask("Hi", model="grok")
        with pytest.raises(UsageError, match="model must be a reference"):
            empty_pool.ask("Hi", model=5)


def test_a_call_without_a_model_is_replayed(project, make_scripted_pool, path):
    """A call without `model=` is replayed, even if this machine has another default model."""
    pool, _ = make_scripted_pool(["Hello.", END])
    pool.use("scripted")
    with pool.cassette(path):
        pool.ask("Hi")
    project.settings('default_model = "mock"\n')
    with project.pool() as replay_pool, replay_pool.cassette(path, "replay"):
        replay_pool.use("scripted")
        assert replay_pool.ask("Hi").engine == "scripted"

    project.settings('default_model = "mock"\n')
    second_path = path.with_name("b.jsonl")
    with project.pool() as recording, recording.cassette(second_path):
        recording.ask("Hi")
    with EnginePool(env={}) as empty_pool, empty_pool.cassette(second_path, "replay"):
        assert empty_pool.ask("Hi").engine == "mock"
        assert empty_pool.default_model() == "mock"


def test_an_alias_is_replayed(project, path):
    """A call that names an alias is replayed, even if this machine does not define the alias."""
    project.settings('[aliases]\nme = "mock:big"\n')
    with project.pool() as pool, pool.cassette(path):
        pool.ask("Hi", model="me")
    with EnginePool(env={}) as empty_pool, empty_pool.cassette(path, "replay"):
        assert empty_pool.ask("Hi", model="me").model == "big"
        assert empty_pool.ask("Hi", model="mock:big").model == "big"


def test_the_status_in_replay_mode_is_that_of_the_cassette(make_scripted_pool, project, path):
    """In replay mode the status has the recorded engines, and no key or problem of this machine."""
    pool, _ = make_scripted_pool(["Hello.", END])
    with pool.cassette(path):
        pool.ask("Hi", model="scripted")
        pool.ask("Hi", model="mock:big")
    project.set_keys("GATEWAYX_GROK_API_KEY=k\noops\n")
    with project.pool() as replay_pool:
        with replay_pool.cassette(path, "replay"):
            rows = [(row.name, row.state, row.model) for row in replay_pool.status()]
            models = list(map(str, replay_pool.models()))
            mock_models = list(map(str, replay_pool.models("mock")))
            health = [(row.engine, row.ok) for row in replay_pool.health()]
            health += [(row.engine, row.ok) for row in asyncio.run(replay_pool.ahealth("grok"))]
            assert replay_pool.problems == []
            with pytest.raises(ConfigError, match="the cassette has no default model"):
                replay_pool.default_model()
        live_names = {row.name for row in replay_pool.status()}

    assert rows == [("mock", "replay", "big"), ("scripted", "replay", "script")]
    assert (models, mock_models) == (["mock:big", "scripted:script"], ["mock:big"])
    assert health == [("mock", True), ("scripted", True), ("grok", False)]
    assert "grok" in live_names


def test_replayed_calls_are_not_in_the_ledger_or_the_budget(make_scripted_pool, project, path):
    """Replayed calls are not recorded in the ledger and not limited by a budget."""
    pool, _ = make_scripted_pool(["Hello.", END])
    with pool.cassette(path):
        pool.ask("Hi", model="scripted")
    project.settings("[limits]\nmax_cost = 0.000001\n")
    with project.pool() as replay_pool, replay_pool.cassette(path, "replay"):
        reply = replay_pool.ask("Hi", model="scripted", max_cost=0)
        assert (reply.cost, replay_pool.usage(), replay_pool.history()) == (
            Decimal("0.005"),
            [],
            [],
        )


def test_speed_scales_the_timing_of_a_replay(make_scripted_pool, empty_pool, path):
    """With `speed=4` a reply is replayed four times as fast, but its latency is as recorded."""
    pool, _ = make_scripted_pool(["a", 0.4, "b", END])
    with pool.cassette(path):
        live = pool.ask("Hi", model="scripted")
    with empty_pool.cassette(path, "replay", speed=4):
        stream = empty_pool.stream("Hi", model="scripted")
        times = [(chunk.text, stream.partial.first_chunk_at) for chunk in stream]
        started = stream.partial.started
        partial = stream.partial

    assert [text for text, _ in times] == ["a", "b", ""]
    assert partial.instant is False
    assert stream.reply.latency == pytest.approx(live.latency, abs=0.001)
    assert times[0][1] - started < 0.3


def test_failed_and_interrupted_calls_are_not_recorded(make_scripted_pool, path):
    """Failed calls and incomplete replies are not recorded, so the same call is sent again."""
    pool, _ = make_scripted_pool(
        [ProviderError("no")], ["par", ProviderError("broke")], ["complete", END]
    )
    with pool.cassette(path) as cassette:
        for _ in range(2):
            with pytest.raises(ProviderError):
                pool.ask("Hi", model="scripted")
        stream = pool.stream("Hi", model="scripted")
        stream.close()
        assert cassette.recorded == 0
        assert not path.exists()
        assert pool.ask("Hi", model="scripted").text == "complete"

    assert len(read_entries(path)) == 1


def test_a_key_in_the_prompt_raises_an_error_before_it_is_sent(project, path):
    """A key in the prompt raises an error before anything is sent or written."""
    project.set_keys(f"GATEWAYX_GROK_API_KEY='{canary.KEY}'\n".replace("\\", "\\\\"))
    engine = ScriptedEngine(["Hello.", END])
    with project.pool(engines=[engine]) as pool, pool.cassette(path):
        with pytest.raises(ConfigError, match=r"messages\[0\].content contains") as caught:
            pool.ask(f"My key is {canary.KEY}", model="scripted")
        with pytest.raises(ConfigError, match="looks like a key"):
            pool.ask("Use sk-proj-abcdefghij1234567890", model="scripted")

    assert not canary.leaks(caught.value)
    assert (engine.requests, path.exists()) == ([], False)


def test_a_reply_with_a_key_is_returned_but_not_recorded(path, caplog):
    """A reply with another engine's key is returned, as it is paid for, but not recorded.

    A warning reports this without repeating the key, even if the key is split over chunks.
    """
    engine = ScriptedEngine(*2 * [[canary.KEY[:9], 0.06, canary.KEY[9:], END]], ["Hello.", END])
    env = {"GATEWAYX_GROK_API_KEY": canary.KEY}
    with EnginePool(env=env, engines=[engine]) as pool, pool.cassette(path) as cassette:
        for _ in range(2):
            assert pool.ask("Hi", model="scripted").text
        assert not path.exists()
        assert "contains the key GATEWAYX_GROK_API_KEY. 2 replies are not" in cassette.problem
        assert cassette.problem in pool.problems
        assert caplog.text.count("not recorded") == 1
        assert not canary.leaks(cassette.problem + caplog.text)
        pool.ask("Ho", model="scripted")
        assert (cassette.recorded, len(cassette)) == (1, 1)
        assert "2 replies" in cassette.problem  # the file stays incomplete

    assert not canary.leaks(path.read_text())


def test_a_reply_that_the_hook_cannot_redact_is_returned(project, path, caplog):
    """If the hook fails for a reply, the reply is returned with a warning and not recorded."""
    (project.root / "hooks.py").write_text(
        "def redact(text):\n"
        "    if 'Bob' in text:\n"
        "        raise ValueError(text)\n"
        "    return text\n"
    )
    project.settings('[cassettes]\nredact = "hooks:redact"\n')
    engine = ScriptedEngine(["I am Bob.", END])
    with EnginePool(home=project.root, env={}, engines=[engine]) as pool:
        pool.trust(pool.untrusted_engines())
        with pool.cassette(path) as cassette:
            assert pool.ask("Who?", model="scripted").text == "I am Bob."
            assert "raised ValueError. 1 reply is not recorded." in cassette.problem
    assert "raised ValueError" in caplog.text
    assert "Bob" not in caplog.text
    assert not path.exists()


def test_a_redacted_call_is_replayed(project, path):
    """The redaction hook changes the prompts, system prompts and replies in a cassette.

    The live reply is unchanged, and calls with equal redacted prompts are replayed.
    """
    (project.root / "hooks.py").write_text(
        "import re\n\n\ndef redact(text):\n    return re.sub(r'\\d{4}', '####', text)\n"
    )
    project.settings('[cassettes]\nredact = "hooks:redact"\n')
    options = {"model": "scripted", "system": "PIN 5678"}
    engine = ScriptedEngine(["Your PIN ", 0.06, "is 12", 0.06, "34.", END])
    with project.pool(engines=[engine]) as pool:
        pool.trust(pool.untrusted_engines())
        with pool.cassette(path):
            live = pool.ask("My PIN is 1234.", **options)
    with project.pool() as replay_pool, replay_pool.cassette(path, "replay"):
        first = replay_pool.ask("My PIN is 1234.", **options)
        second = replay_pool.ask("My PIN is 9999.", **options)

    assert live.text == "Your PIN is 1234."
    assert first.text == second.text == "Your PIN is ####."
    assert not any(number in path.read_text() for number in ("1234", "5678"))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def redact(text):\n    return None\n", "must return a str, got NoneType"),
        ("def redact(text):\n    1 / 0\n", "raised ZeroDivisionError"),
        ("def other(text):\n    return text\n", "cannot be imported"),
        ("oops\n", "cannot be imported"),
    ],
)
def test_nothing_is_sent_if_the_redaction_hook_fails(project, path, body, message):
    """If the redaction hook fails, an error is raised before anything is sent or written."""
    (project.root / "hooks.py").write_text(body)
    project.settings('[cassettes]\nredact = "hooks:redact"\n')
    engine = ScriptedEngine(["Hello.", END])
    with project.pool(engines=[engine]) as pool:
        pool.trust(pool.untrusted_engines())
        with pytest.raises(ConfigError, match=message), pool.cassette(path):
            pool.ask("Hi", model="scripted")

    assert (engine.requests, path.exists()) == ([], False)


HOOK = "def redact(text):\n    return text.replace('1234', '####')\n"


@pytest.mark.parametrize("setting", ["hooks:redact", "subprocess:getoutput", "os.path:basename"])
def test_a_hook_of_an_untrusted_project_does_not_run(project, path, setting):
    """A cloned project can name neither its own function nor an installed one."""
    (project.root / "hooks.py").write_text(
        f"__import__('pathlib').Path({str(path)!r}).touch()\n{HOOK}"
    )
    project.settings(f'[cassettes]\nredact = "{setting}"\n')
    file = setting.partition(":")[0].replace(".", "/") + ".py"

    with project.pool() as pool:
        with pytest.raises(TrustError, match=f"would run {file} .*GATEWAYX_TRUST=") as caught:
            pool.cassette(path)
        (permission,) = pool.untrusted_engines()["[cassettes] redact"]
    assert f"GATEWAYX_TRUST={permission.id} " in str(caught.value)
    assert not path.exists()


def test_a_hook_is_trusted_by_its_id_in_ci(project, path):
    """A notebook that was recorded with a hook can be replayed where no user can be asked."""
    (project.root / "hooks.py").write_text(HOOK)
    project.settings('[cassettes]\nredact = "hooks:redact"\n')
    with EnginePool(home=project.root, env={}) as pool:
        (permission,) = pool.untrusted_engines()["[cassettes] redact"]

    with EnginePool(home=project.root, env={"GATEWAYX_TRUST": f"other, {permission.id}"}) as pool:
        assert pool.untrusted_engines() == {}
        with pool.cassette(path, "record"):
            pool.ask("My PIN is 1234.", "mock")
        with pool.cassette(path, "replay"):
            assert pool.ask("My PIN is 1234.", "mock").text == "[mock] My PIN is ####."


@pytest.mark.parametrize("problem", ["installed", "writable", "link", "missing"])
def test_a_trusted_hook_is_a_safe_file_of_the_project(project, path, tmp_path, problem):
    """Trust covers a file of the project; an unsafe file is refused, as an engine file would be."""
    hook = project.root / "hooks.py"
    if problem == "link":
        (tmp_path / "elsewhere.py").write_text(HOOK)
        hook.symlink_to(tmp_path / "elsewhere.py")
    elif problem == "writable":
        hook.write_text(HOOK)
        hook.chmod(0o666)
    module = "textwrap:dedent" if problem == "installed" else "hooks:redact"
    project.settings(f'[cassettes]\nredact = "{module}"\n')
    with project.pool() as pool:
        pool.trust(pool.untrusted_engines())
        with pytest.raises(ConfigError, match="cannot be imported"):
            pool.cassette(path)


def test_the_users_own_hook_may_be_any_module(project, path, tmp_path):
    """The user's own settings do not need trust."""
    folder = tmp_path / "user" / "gatewayx"
    (folder / "config").mkdir(parents=True)
    (folder / "config" / "gatewayx.toml").write_text('[cassettes]\nredact = "textwrap:dedent"\n')
    env = {"XDG_CONFIG_HOME": str(tmp_path / "user")}
    with EnginePool(home=project.root, env=env) as pool, pool.cassette(path):
        assert pool.ask("  Hi", "mock").text == "[mock]   Hi"
    assert '"Hi"' in path.read_text()


def test_the_environment_overrides_the_mode(make_scripted_pool, path):
    """`GATEWAYX_CASSETTE_MODE` overrides the mode, but does not open a cassette."""
    pool, engine = make_scripted_pool(["Hello.", END])
    with pool.cassette(path):
        pool.ask("Hi", model="scripted")
    with EnginePool(env={"GATEWAYX_CASSETTE_MODE": "replay"}) as replay_pool:
        assert replay_pool.active_cassette is None
        with replay_pool.cassette(path, "record") as cassette:
            assert cassette.mode == "replay"
            assert replay_pool.ask("Hi", model="scripted").replayed
    off_pool = EnginePool(env={"GATEWAYX_CASSETTE_MODE": "off"}, engines=[engine])
    with off_pool, off_pool.cassette(path, "replay"):
        assert not off_pool.ask("Hi", model="scripted").replayed
    with (
        EnginePool(env={"GATEWAYX_CASSETTE_MODE": "repaly"}) as invalid_pool,
        pytest.raises(
            UsageError, match=r"GATEWAYX_CASSETTE_MODE must be one of .* got 'repaly'.*'replay'"
        ),
    ):
        invalid_pool.cassette(path)


def test_closing_a_cassette_restores_the_previous_cassette(make_scripted_pool, path):
    """Closing a cassette restores the cassette opened before it; closing twice is harmless."""
    pool, _ = make_scripted_pool(["Hello.", END])
    outer = pool.cassette(path)
    with pool.cassette(path.with_name("b.jsonl")) as inner:
        assert pool.active_cassette is inner
    assert pool.active_cassette is outer
    outer.close()
    outer.close()
    assert pool.active_cassette is None


@pytest.mark.parametrize(
    ("mode", "speed", "message"),
    [
        ("repaly", None, "Did you mean 'replay'"),
        ("replay", 0, "a number > 0"),
        ("replay", "fast", "a number > 0"),
        ("replay", None, "does not exist"),
    ],
)
def test_an_invalid_mode_speed_or_file_raises_an_error(empty_pool, path, mode, speed, message):
    """An invalid mode, speed or file raises an error, and no cassette is open afterwards."""
    with pytest.raises((UsageError, ConfigError), match=message):
        empty_pool.cassette(path, mode, speed=speed)
    assert empty_pool.active_cassette is None


def test_recording_needs_a_key(empty_pool, path):
    """Recording without a key raises a one-line error; replay needs no key."""
    for mode in ("auto", "record"):
        with empty_pool.cassette(path, mode), pytest.raises(MissingKeyError):
            empty_pool.ask("Hi", model="grok")
        with empty_pool.cassette(path, mode), pytest.raises(MissingKeyError):
            empty_pool.ask("Hi")


@pytest.mark.skipif(os.name != "posix" or os.getuid() == 0, reason="root writes everywhere")
def test_a_read_only_cassette_can_be_replayed(make_scripted_pool, empty_pool, path):
    """A read-only cassette can be replayed but not opened for recording."""
    pool, _ = make_scripted_pool(["Hello.", END])
    with pool.cassette(path):
        pool.ask("Hi", model="scripted")
    path.chmod(0o400)

    with pytest.raises(ConfigError, match="cannot be written"):
        pool.cassette(path)
    with empty_pool.cassette(path, "replay"):
        assert empty_pool.ask("Hi", model="scripted").text == "Hello."


def test_a_full_disk_loses_no_reply(make_scripted_pool, empty_pool, path, monkeypatch, caplog):
    """On a full disk, replies are returned with a warning, replayed, and written later."""
    pool, engine = make_scripted_pool(["One.", END], ["Two.", END], ["Three.", END])

    class FullDisk(io.FileIO):
        def write(self, _):
            raise OSError(28, "No space left on device")

    with pool.cassette(path) as cassette:
        assert pool.ask("first", model="scripted").text == "One."
        content_before = path.read_bytes()
        with monkeypatch.context() as full:
            full.setattr(cassette_file, "FileIO", FullDisk)
            assert pool.ask("Hi", model="scripted").text == "Two."
            assert "".join(map(str, pool.stream("Ho", model="scripted"))) == "Three."
            assert path.read_bytes() == content_before
            assert "No space left on device. 2 replies are not recorded yet." in cassette.problem
            assert cassette.problem in pool.problems
            assert caplog.text.count("No space left") == 1
            with pool.cassette(path):  # opened again, it has only what was written
                pass
        # The same calls in a new order of planning.
        cassette._planned_counts.clear()
        assert pool.ask("Hi", model="scripted").text == "Two."
        assert len(engine.requests) == 3
    assert (cassette.problem, cassette.recorded) == ("", 3)
    with empty_pool.cassette(path, "replay"):
        texts = [str(empty_pool.ask(text, model="scripted")) for text in ("first", "Hi", "Ho")]
    assert texts == ["One.", "Two.", "Three."]


def test_a_table_tracked_by_git_is_reported(make_scripted_pool, path):
    """A table in a cassette tracked by git is reported in status and security status."""
    pool, _ = make_scripted_pool(["Hello.", END])
    with pool.cassette(path) as cassette:
        pool.ask("Say it:\n\n| a | b |\n|---|---|\n| 1 | 2 |\n", model="scripted")
        git = ["git", "-C", str(path.parent)]
        subprocess.run([*git, "init", "-q"], check=True)
        before_tracking = (cassette.warning, pool.problems)
        subprocess.run([*git, "add", path.name], check=True)

        assert before_tracking == ("", [])
        assert "is tracked by git: line 2 has a table in its request" in cassette.warning
        assert pool.problems == [cassette.warning]


def test_concurrent_calls_from_threads_are_all_recorded(make_scripted_pool, empty_pool, path):
    """Concurrent calls from twenty threads are each recorded once."""
    pool, _ = make_scripted_pool(["Hello.", END])
    with pool.cassette(path):
        threads = [
            threading.Thread(target=pool.ask, args=(f"Hi {n}",), kwargs={"model": "scripted"})
            for n in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    with empty_pool.cassette(path, "replay"):
        assert {empty_pool.ask(f"Hi {n}", model="scripted").text for n in range(20)} == {"Hello."}
    assert len(read_entries(path)) == 20


def test_markup_in_a_cassette_is_escaped(make_scripted_pool, empty_pool, path):
    """Markup and escape sequences in a cassette have no effect in HTML or a terminal."""
    pool, _ = make_scripted_pool(["ANSWER", END])
    with pool.cassette(path):
        pool.ask("Hi", model="scripted")
    markup = "<img src=x onerror=alert(1)>\\u001b]0;owned\\u0007"
    text = (
        path.read_text()
        .replace("ANSWER", markup)
        .replace('"model":"script"', f'"model":"{markup}"')
    )
    path.write_text(text)
    with empty_pool.cassette(path, "replay"):
        reply = empty_pool.ask("Hi", model="scripted")
        table = empty_pool.status()
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        view = display.TerminalView()
        view.finish(reply)

    html = reply._repr_mimebundle_()["text/html"] + table._repr_html_()
    html += reply_html(reply.text, footer=calls.reply_summary(reply))
    assert "onerror" in reply.text
    assert "<img" not in html
    assert "\x1b" not in output.getvalue() + repr(table)


OFFLINE_SCRIPT = """
import sys


def audit(event, args):
    if event in ("socket.connect", "socket.bind", "socket.getaddrinfo", "subprocess.Popen"):
        raise SystemExit(f"{event} {args}")
    if event == "socket.__new__" and args[1] != 1:  # except for the socket pair of an event loop
        raise SystemExit(f"a socket of family {args[1]}")


sys.addaudithook(audit)
import gatewayx_nb as gx

with gx.cassette(sys.argv[1], "replay"):
    print(gx.ask("Hi", model="acme"), [chunk.text for chunk in gx.stream("Hi", model="acme")])
    print([row.state for row in gx.status()], gx.models()[:], gx.health()[:])
    print(sorted(name for name in sys.modules if name in ("httpx", "aiohttp", "xllamacpp")))
"""


def test_replay_opens_no_socket_and_starts_no_engine(path):
    """Replay opens no socket, starts no process and imports no HTTP or model library."""

    class Acme(ScriptedEngine):
        name = "acme"

    with EnginePool(env={}, engines=[Acme(["Hello.", END])]) as pool, pool.cassette(path):
        pool.ask("Hi", model="acme")
    process = subprocess.run(
        [sys.executable, "-c", OFFLINE_SCRIPT, str(path)],
        cwd=path.parent,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert process.stderr == ""
    assert process.stdout.splitlines() == [
        "Hello. ['Hello.', '']",
        "['replay'] [ModelInfo(engine='acme', model='script', default=True, size=None)] "
        + repr([EngineHealth("acme", ok=True)]),
        "[]",
    ]
