import doctest
import os
import re
import shutil
from pathlib import Path

import pytest

from gatewayx_nb.errors import GatewayError
from gatewayx_nb.llm_engines import Chunk, HTTPEngine, OpenAICompatibleEngine, Reply
from gatewayx_nb.model_registry.rows import RowFile
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
from gatewayx_nb.testing.contract import ANSWERS, CONTRACT, LAST
from gatewayx_nb.testing.wire import FAULTS, STREAMS
from tests.test_dynamic_models import YOUR_MODEL
from tests.testing.broken import CASES, IDS, PLAIN, PRELUDE, SAYS, STREAM

ENGINES = Path(__file__).parents[2] / "engines"
SHIPPED = RowFile(shipped_path("config/engines.toml"), "shipped")
SHIPPED.refresh()
ROWS = {row.name: row for row in SHIPPED.rows}


def _broken(path, **keywords):
    with pytest.raises(ConformanceError) as caught:
        check(path, **keywords)
    return caught.value


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """Return a cached function that returns the rules a source breaks."""
    known = {}

    def look(source, *, ask):
        if source not in known:
            path = tmp_path_factory.mktemp("engines") / "bad_engine.py"
            path.write_text(PRELUDE + source)
            known[source] = _broken(path, ask=ask)
        return known[source]

    return look


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_a_broken_rule_is_reported(broken, case):
    """A broken rule is reported in one line with the finding and a hint, without the key."""
    error = broken(case.source, ask=case.ask)
    (found,) = [one for one in error.broken if one.rule == case.rule]

    assert f"\n* {case.rule}, but {found.observed}. {found.hint}" in str(error)
    assert found.observed
    assert found.hint
    assert conformance.KEY not in str(error)


def test_every_rule_is_broken_by_some_engine():
    """The table of broken engines covers every rule."""
    rules = {rule.text for rule in (*CONTRACT, *ANSWERS, *FAULTS, *STREAMS, *LAST)}

    assert rules <= {case.rule for case in CASES}


def test_a_small_mistake_is_reported_once(broken):
    """A small mistake is reported once, without the rules that it affects indirectly."""
    for case in CASES:
        if case.source.startswith(PLAIN) and not case.ask:
            found = [one.rule for one in broken(case.source, ask=False).broken]
            assert found[0] == case.rule
            assert len(found) <= 2


@pytest.mark.parametrize(
    ("name", "rules"),
    [
        ("mock", 14),
        ("grok", 33),
        ("openai", 33),
        ("google", 33),
        ("anthropic", 33),
        ("cohere", 33),
        ("local", 8),
    ],
)
def test_the_shipped_engines_keep_the_rules(name, rules):
    """Every shipped engine passes; the local one is not called, because it loads for seconds."""
    report = check(ENGINES / f"{name}_engine.py", ask=name == "mock")

    assert (report.engine, len(report.rules)) == (name, rules)
    assert bool(report.skipped) == (name == "local")


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_the_shipped_rows_keep_the_rules(row):
    """The shipped rows pass, although they have no file."""
    report = check(row.load().engine)

    assert repr(report) == f"{row.name}: passes 33 rules"


def test_an_engine_of_the_specification_keeps_the_rules(project):
    """An engine of the seed document passes, with and without calls.

    Without `ask=True` it is not called, because it would use the network.
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

    class Replying(ScriptedEngine):
        async def generate(self, prompt, **kwargs):
            return Reply("Hi.", engine="replying", model="m")

    check(Replying(["Hi.", Chunk(finish_reason="stop")]), ask=True)


def test_a_class_can_have_its_own_dialect():
    """A class with its own dialect is checked fully only if `dialect=` is passed."""

    class Own(HTTPEngine):
        base_url = "https://x.test"

        def payload(self, request):
            return OpenAICompatibleEngine.payload(self, request)

        def parser(self, faults):
            return OpenAICompatibleEngine.parser(self, faults)

        max_tokens_field, seed_field, stream_usage = "max_tokens", "seed", True

    assert repr(check(Own)) == ("own: passes 16 rules; its dialect is unknown; pass `dialect=`")
    assert repr(check(Own(), dialect=CHAT)) == "own: passes 33 rules"
    assert "truncated stream" not in str(_broken(Own, dialect=ANTHROPIC))


@pytest.mark.parametrize("name", ["engine.py", "ask_engine.py", "Big_engine.py", "no_engine.py"])
def test_a_file_that_discovery_ignores_is_reported(tmp_path, name):
    """A file name that discovery would ignore is reported, as is a command's or a missing file."""
    if not name.startswith("no"):
        (tmp_path / name).write_text(PRELUDE + PLAIN + SAYS)

    assert "is found by its name" in str(_broken(tmp_path / name))


@pytest.mark.skipif(os.name == "nt", reason="modes tell nothing there")
def test_a_file_that_others_may_write_is_reported(project):
    """A file that others may write is reported and not run."""
    path = project.engine("open", "hi")
    path.chmod(0o666)

    assert "is writable by everyone" in str(_broken(path))


def test_an_engine_that_blocks_its_thread_is_reported(project):
    """An engine that blocks its thread is reported after a timeout."""
    path = project.engine("slow", body=SAYS.replace("return prompt", "__import__('time').sleep(8)"))

    assert "blocked its thread" in str(_broken(path, ask=True, timeout=0.01))


def test_the_session_in_the_guide_runs(project, monkeypatch):
    """The session in CONTRIBUTING runs unmodified."""
    guide = (ENGINES.parent / "CONTRIBUTING.md").read_text()
    (session,) = re.findall(r"```pycon\n(.*?)```", guide, re.DOTALL)
    shutil.copytree(ENGINES, project.root / "engines", dirs_exist_ok=True)
    (project.engines / "parrot_engine.py").write_text(
        PRELUDE + PLAIN + STREAM + "        yield Chunk(text=request.prompt)\n"
    )
    monkeypatch.chdir(project.root)
    test = doctest.DocTestParser().get_doctest(session, {}, "CONTRIBUTING.md", None, 0)

    assert doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test).failed == 0


def test_the_error_is_a_gateway_error_and_an_assertion():
    """The error is a gateway error and an AssertionError, for notebooks and for pytest."""
    assert issubclass(ConformanceError, GatewayError)
    assert issubclass(ConformanceError, AssertionError)


@pytest.mark.parametrize("module", [conformance, dialects, scripted, server])
def test_the_examples_hold(module):
    outcome = doctest.testmod(module, optionflags=doctest.ELLIPSIS)

    assert (outcome.failed, outcome.attempted > 0) == (0, True)
