import doctest
import os
import re
import shutil
from pathlib import Path

import pytest

from gatewayx_nb import EnginePool
from gatewayx_nb.errors import GatewayError, UsageError
from gatewayx_nb.llm_engines import Chunk, HTTPEngine, OpenAICompatibleEngine, Reply
from gatewayx_nb.model_registry.engine_entries import EnginesFile
from gatewayx_nb.secure_config import shipped_path
from gatewayx_nb.testing import (
    ANTHROPIC,
    CHAT,
    ConformanceError,
    ScriptedEngine,
    check,
    conformance,
    dialects,
    scripted,
    server,
)
from gatewayx_nb.testing.contract import ANSWER_RULES, FINAL_RULES, STATIC_RULES
from gatewayx_nb.testing.tool_rules import TOOL_RULES
from gatewayx_nb.testing.wire import FAULT_RULES, STREAM_RULES
from tests.test_dynamic_models import YOUR_MODEL
from tests.testing.broken import CASES, GENERATE, IDS, PLAIN_ENGINE, PRELUDE, STREAM_HEADER

ENGINES = Path(__file__).parents[2] / "engines"
SHIPPED = EnginesFile(shipped_path("config/engines.toml"), "shipped")
SHIPPED.refresh()
ENTRIES = {entry.name: entry for entry in SHIPPED.entries}


def test_a_call_of_a_scripted_engine_requires_a_script():
    """Without a script, a call raises an error that shows how to pass one."""
    with (
        EnginePool(env={}, engines=[ScriptedEngine()]) as pool,
        pytest.raises(UsageError, match="requires a script"),
    ):
        pool.ask("Hi", model="scripted")


def _conformance_error(path, **keywords):
    with pytest.raises(ConformanceError) as error:
        check(path, **keywords)
    return error.value


@pytest.fixture(scope="module")
def conformance_error_of(tmp_path_factory):
    """Return a function that returns the conformance error of a source, from a cache."""
    error_by_source = {}

    def check_source(source, *, ask):
        if source not in error_by_source:
            path = tmp_path_factory.mktemp("engines") / "bad_engine.py"
            path.write_text(PRELUDE + source)
            error_by_source[source] = _conformance_error(path, ask=ask)
        return error_by_source[source]

    return check_source


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_a_broken_rule_is_reported(conformance_error_of, case):
    """The report of a broken rule has the rule, the observation and a hint, but not the key."""
    error = conformance_error_of(case.source, ask=case.ask)
    (finding,) = [broken_rule for broken_rule in error.broken if broken_rule.rule == case.rule]

    assert f"\n* {case.rule}, but {finding.observed}. {finding.hint}" in str(error)
    assert finding.observed
    assert finding.hint
    assert conformance.KEY not in str(error)


def test_every_rule_is_broken_by_some_engine():
    """The table of broken engines covers every rule."""
    calls = (*ANSWER_RULES, *FAULT_RULES, *STREAM_RULES, *TOOL_RULES)
    rules = {rule.text for rule in (*STATIC_RULES, *calls, *FINAL_RULES)}

    assert rules <= {case.rule for case in CASES}


def test_a_small_mistake_breaks_few_rules(conformance_error_of):
    """A mistake in a plain engine breaks its own rule and at most one other rule."""
    for case in CASES:
        if case.source.startswith(PLAIN_ENGINE) and not case.ask:
            rules = [
                broken_rule.rule
                for broken_rule in conformance_error_of(case.source, ask=False).broken
            ]
            assert rules[0] == case.rule
            assert len(rules) <= 2


@pytest.mark.parametrize(
    ("name", "rules"),
    [
        ("mock", 14),
        ("grok", 36),
        ("openai", 36),
        ("google", 36),
        ("anthropic", 36),
        ("cohere", 36),
        ("local", 8),
    ],
)
def test_the_shipped_engines_pass(name, rules):
    """Every shipped engine passes; `local` is not called, because it takes seconds to load."""
    report = check(ENGINES / f"{name}_engine.py", ask=name == "mock")

    assert (report.engine, len(report.rules)) == (name, rules)
    assert bool(report.skipped) == (name == "local")


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_the_shipped_entries_pass(entry):
    """The engine class of every shipped entry passes all rules."""
    report = check(entry.load().engine)

    assert repr(report) == f"{entry.name}: passes 36 rules"


def test_the_engine_of_the_users_script_passes(project):
    """The engine in `test_dynamic_models.py` passes, with and without calls.

    Without `ask=True` an engine is not called, because it may use the network.
    """
    path = project.engines / "another_engine.py"
    path.write_text(YOUR_MODEL)

    assert repr(check(path)) == (
        "another: passes 8 rules; it was not called; pass `ask=True` to allow it"
    )
    assert repr(check(str(path), ask=True)) == "another: passes 14 rules"


def test_an_instance_is_checked_and_cleaned_up():
    """An engine instance is checked, called and cleaned up, and its failed call is reported."""
    engine = ScriptedEngine(["Hi.", Chunk(finish_reason="stop")])
    check(engine, ask=True)

    assert engine.cleanups == 4
    assert len(engine.requests) > 5
    with pytest.raises(ConformanceError, match="raised ValueError: oh"):
        check(ScriptedEngine([ValueError("oh")]), ask=True)


def test_generate_may_return_a_reply():
    """`generate` may return a Reply."""

    class ReplyEngine(ScriptedEngine):
        async def generate(self, prompt, **kwargs):
            return Reply("Hi.", engine="replying", model="m")

    check(ReplyEngine(["Hi.", Chunk(finish_reason="stop")]), ask=True)


def test_a_class_can_have_its_own_dialect():
    """A class with its own dialect is checked fully only if `dialect=` is passed."""

    class Own(HTTPEngine):
        base_url = "https://x.test"

        def payload(self, request):
            return OpenAICompatibleEngine.payload(self, request)

        def parser(self, faults):
            return OpenAICompatibleEngine.parser(self, faults)

        max_tokens_field, seed_field, stream_usage = "max_tokens", "seed", True
        tool_rules, reasoning_field = "openai", ""

    assert repr(check(Own)) == ("own: passes 16 rules; its dialect is unknown; pass `dialect=`")
    assert repr(check(Own(), dialect=CHAT)) == "own: passes 33 rules"
    assert "truncated stream" not in str(_conformance_error(Own, dialect=ANTHROPIC))


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("engine.py", "Rename it to engine_engine.py."),
        ("ask_engine.py", "Rename it to my_ask_engine.py."),
        ("Big-Model_engine.py", "Rename it to big_model_engine.py."),
    ],
)
def test_a_file_that_discovery_ignores_is_reported(tmp_path, name, advice):
    """A file with a name that discovery ignores is reported with a valid name."""
    (tmp_path / name).write_text(PRELUDE + PLAIN_ENGINE + GENERATE)

    message = str(_conformance_error(tmp_path / name))
    assert "is found by its name" in message
    assert advice in message


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mien_engine.py", r"mien_engine.py' is not a file. Did you mean 'mine'"),
        ("nowhere/mine_engine.py", "nowhere' is not a folder"),
        ("folder", "folder' is a folder"),
    ],
)
def test_an_absent_file_is_named(tmp_path, name, message):
    """If a file does not exist, the error says so and suggests the most similar name."""
    (tmp_path / "mine_engine.py").write_text(PRELUDE + PLAIN_ENGINE + GENERATE)
    (tmp_path / "folder").mkdir()

    with pytest.raises(UsageError, match=message):
        check(tmp_path / name)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no file modes")
def test_a_world_writable_file_is_reported(project):
    """A world-writable file is reported and not run."""
    path = project.engine("open", "hi")
    path.chmod(0o666)

    assert "is writable by everyone" in str(_conformance_error(path))


def test_an_engine_that_blocks_its_thread_is_reported(project):
    """An engine that blocks its thread is reported after a timeout."""
    path = project.engine(
        "slow", body=GENERATE.replace("return prompt", "__import__('time').sleep(8)")
    )

    assert "blocked its thread" in str(_conformance_error(path, ask=True, timeout=0.01))


def test_the_session_in_the_guide_runs(project, monkeypatch):
    """The session in CONTRIBUTING runs unmodified."""
    guide = (ENGINES.parent / "CONTRIBUTING.md").read_text()
    (session,) = re.findall(r"```pycon\n(.*?)```", guide, re.DOTALL)
    shutil.copytree(ENGINES, project.root / "engines", dirs_exist_ok=True)
    (project.engines / "parrot_engine.py").write_text(
        PRELUDE + PLAIN_ENGINE + STREAM_HEADER + "        yield Chunk(text=request.prompt)\n"
    )
    monkeypatch.chdir(project.root)
    test = doctest.DocTestParser().get_doctest(session, {}, "CONTRIBUTING.md", None, 0)

    assert doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test).failed == 0


def test_the_error_is_a_gateway_error_and_an_assertion_error():
    """`ConformanceError` is a GatewayError, for notebooks, and an AssertionError, for pytest."""
    assert issubclass(ConformanceError, GatewayError)
    assert issubclass(ConformanceError, AssertionError)


@pytest.mark.parametrize("module", [conformance, dialects, scripted, server])
def test_the_examples_in_docstrings_are_correct(module):
    outcome = doctest.testmod(module, optionflags=doctest.ELLIPSIS)

    assert (outcome.failed, outcome.attempted > 0) == (0, True)


def test_a_stream_that_is_not_asynchronous_breaks_a_rule():
    """A plain generator as `stream` breaks the rule for the methods that a pool awaits."""

    class PlainStream(ScriptedEngine):
        def stream(self, request):
            yield Chunk("x")

    (finding, *_) = _conformance_error(PlainStream).broken

    assert "these are not: stream" in str(finding)
