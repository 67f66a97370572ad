"""Any sequence of operations on a cassette leaves a file with the content of a dict."""

import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gatewayx_nb.cassettes import cassette_lines
from gatewayx_nb.engine_pool import EnginePool
from gatewayx_nb.errors import CassetteMissError
from gatewayx_nb.llm_engines import LLMEngine

PROMPTS = st.sampled_from("abcd")


class Counter(LLMEngine):
    """An engine that answers with the prompt and a version, which a test changes."""

    name, requires_key, version = "counter", False, 0

    async def generate(self, prompt, **_):
        """Return the prompt and the version."""
        return f"{prompt} {self.version}"


class CassetteMachine(RuleBasedStateMachine):
    """Operations on a file, and a dict of the answers that it should have.

    The dict maps each prompt to the answers to its equal calls, in their order.
    """

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="cassette-")
        self.path = Path(self.folder.name) / "a.jsonl"
        self.engine = Counter()
        self.pool = EnginePool(env={}, engines=[self.engine])
        self.model = {}

    def teardown(self):
        self.cassette.close()
        self.check_file()
        self.pool.close()
        self.folder.cleanup()

    def open(self, mode):
        """Open the file again; a session begins."""
        if self.pool.active_cassette:
            self.cassette.close()
        self.cassette = self.pool.cassette(self.path, mode)
        self.planned, self.used = dict.fromkeys("abcd", 0), set()

    @initialize()
    def open_first(self):
        self.open("auto")

    @rule()
    def open_again(self):
        self.open("auto")

    @rule()
    def open_to_record(self):
        self.open("record")

    @precondition(lambda self: self.path.exists())
    @rule()
    def open_to_replay(self):
        self.open("replay")

    @rule()
    def change_the_answers(self):
        self.engine.version += 1

    @rule(prompt=PROMPTS)
    def ask(self, prompt):
        """Replay or record, according to the mode."""
        recorded, planned = self.model.setdefault(prompt, []), self.planned[prompt]
        current = f"{prompt} {self.engine.version}"
        if self.cassette.mode == "replay" and not recorded:
            try:
                self.pool.ask(prompt, "counter")
            except CassetteMissError:
                return
            raise AssertionError("nothing is recorded")
        if self.cassette.mode == "record":
            at = planned
            recorded[at : at + 1] = [current]
        else:
            at = min(planned, max(0, len(recorded) - 1))
            recorded[at:] = recorded[at:] or [current]
        assert self.pool.ask(prompt, "counter").text == recorded[at]
        self.planned[prompt] += 1
        self.used.add((prompt, at))

    @precondition(lambda self: self.cassette.mode != "replay")
    @rule(prompt=PROMPTS)
    def renew(self, prompt):
        """Make the next of equal calls again."""
        recorded, planned = self.model.setdefault(prompt, []), self.planned[prompt]
        last = len(recorded) if self.cassette.mode == "record" else max(0, len(recorded) - 1)
        at = min(planned, last)
        recorded[at : at + 1] = [f"{prompt} {self.engine.version}"]
        assert self.pool.ask(prompt, "counter", renew=True).text == recorded[at]
        self.planned[prompt] += 1
        self.used.add((prompt, at))

    @rule()
    def prune(self):
        """Remove the unused entries; the first answers of equal calls are used first."""
        self.cassette.prune()
        if self.used:
            for prompt, recorded in self.model.items():
                recorded[:] = [
                    text for at, text in enumerate(recorded) if (prompt, at) in self.used
                ]

    @invariant()
    def check_file(self):
        """Compare the file with the dict, as another session would read it."""
        answers = {}
        if self.path.exists():
            content = cassette_lines.read(self.path)
            assert content.problem == ""
            for line in content.lines:
                entry = line.entry
                group = answers.setdefault(entry.request.prompt, {})
                assert entry.repeat not in group
                group[entry.repeat] = entry.text
        assert {
            prompt: [text for _, text in sorted(group.items())] for prompt, group in answers.items()
        } == {prompt: texts for prompt, texts in self.model.items() if texts}


TestCassetteMachine = CassetteMachine.TestCase
TestCassetteMachine.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
