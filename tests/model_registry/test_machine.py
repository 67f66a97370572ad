"""Stateful test of the registry: random changes to files are compared with a simple model."""

import shutil
import tempfile
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gatewayx_nb.engine_pool import EnginePool
from gatewayx_nb.errors import EngineLoadError, EngineNotFoundError, MissingKeyError

pytestmark = pytest.mark.no_cover  # under coverage, these would take several times as long

LOCATIONS = ("path", "project", "user")
NAMES = st.sampled_from(("a", "b", "mock"))
ANSWERS = st.sampled_from(("one", "two"))
ENGINE_TEXT = """\
from ..llm_engines import LLMEngine
class Engine(LLMEngine):
    requires_key = {requires_key}
    model_name = "m"
    async def generate(self, prompt, **kwargs):
        return {answer!r}
"""


@dataclass(frozen=True)
class ExpectedEngine:
    """The expected behavior of an engine file."""

    answer: str
    requires_key: bool
    broken: bool = False

    @property
    def text(self):
        """The source of the file."""
        text = ENGINE_TEXT.format(answer=self.answer, requires_key=self.requires_key)
        return "raise ValueError('broken')\n" + text if self.broken else text


class Engines(RuleBasedStateMachine):
    """Changes a project as a user does, and checks the pool after each step."""

    @initialize()
    def start(self):
        """Create an empty project and a pool."""
        self.root = Path(tempfile.mkdtemp())
        self.folders = {
            "path": self.root / "named",
            "project": self.root / "project" / "engines",
            "user": self.root / "gatewayx" / "engines",
        }
        for folder in self.folders.values():
            folder.mkdir(parents=True)
        self.secrets = self.root / "project" / "config" / "secrets"
        self.secrets.mkdir(parents=True)
        self.expected_by_file = {}
        self.model_by_entry = {}
        self.keys = set()
        self.base_urls = set()
        env = {
            "XDG_CONFIG_HOME": str(self.root),
            "GATEWAYX_ENGINES_PATH": str(self.folders["path"]),
        }
        self.pool = EnginePool(self.root / "project", env)

    def teardown(self):
        if hasattr(self, "pool"):
            self.pool.close()
            shutil.rmtree(self.root)

    def _write_engine_file(self, location, name, file):
        self.expected_by_file[location, name] = file
        (self.folders[location] / f"{name}_engine.py").write_text(file.text)

    def _write_entries(self):
        path = self.root / "project" / "config" / "engines.toml"
        path.write_text(
            "".join(
                f'[{name}]\nbase_url = "http://127.0.0.1:9"\nmodel = "{model}"\n'
                for name, model in self.model_by_entry.items()
            )
        )

    def _write_keys(self):
        lines = [f"GATEWAYX_{name.upper()}_API_KEY=key-0\n" for name in sorted(self.keys)]
        lines += [
            f"GATEWAYX_{name.upper()}_BASE_URL=http://127.0.0.1:9\n"
            for name in sorted(self.base_urls)
        ]
        file = self.secrets / ".env.local"
        file.write_text("".join(lines))
        file.chmod(0o600)

    @rule(
        location=st.sampled_from(LOCATIONS), name=NAMES, answer=ANSWERS, requires_key=st.booleans()
    )
    def add_or_edit(self, location, name, answer, requires_key):
        """Write an engine file."""
        self._write_engine_file(location, name, ExpectedEngine(answer, requires_key))

    @precondition(lambda self: self.expected_by_file)
    @rule(data=st.data(), broken=st.booleans())
    def break_or_fix(self, data, broken):
        """Insert a line that raises into a file, or remove it."""
        location, name = data.draw(st.sampled_from(sorted(self.expected_by_file)))
        self._write_engine_file(
            location, name, replace(self.expected_by_file[location, name], broken=broken)
        )

    @precondition(lambda self: self.expected_by_file)
    @rule(data=st.data(), new_name=NAMES)
    def rename(self, data, new_name):
        """Rename a file, replacing any existing file with the new name."""
        location, name = data.draw(st.sampled_from(sorted(self.expected_by_file)))
        folder = self.folders[location]
        (folder / f"{name}_engine.py").replace(folder / f"{new_name}_engine.py")
        self.expected_by_file[location, new_name] = self.expected_by_file.pop((location, name))

    @precondition(lambda self: self.expected_by_file)
    @rule(data=st.data(), new_location=st.sampled_from(LOCATIONS))
    def duplicate(self, data, new_location):
        """Copy a file into another folder."""
        location, name = data.draw(st.sampled_from(sorted(self.expected_by_file)))
        self._write_engine_file(new_location, name, self.expected_by_file[location, name])

    @precondition(lambda self: self.expected_by_file)
    @rule(data=st.data())
    def remove(self, data):
        """Delete a file."""
        location, name = data.draw(st.sampled_from(sorted(self.expected_by_file)))
        del self.expected_by_file[location, name]
        (self.folders[location] / f"{name}_engine.py").unlink()

    @rule(name=NAMES, model=ANSWERS)
    def add_or_edit_entry(self, name, model):
        """Write an entry into the project's engines.toml."""
        self.model_by_entry[name] = model
        self._write_entries()

    @rule(name=NAMES)
    def remove_entry(self, name):
        """Remove an entry from the project's engines.toml."""
        self.model_by_entry.pop(name, None)
        self._write_entries()

    @rule(name=NAMES, is_set=st.booleans())
    def set_or_remove_key(self, name, is_set):
        """Set or remove a key."""
        (self.keys.add if is_set else self.keys.discard)(name)
        self._write_keys()

    @rule(name=NAMES, is_set=st.booleans())
    def set_or_remove_base_url(self, name, is_set):
        """Set or remove a base URL."""
        (self.base_urls.add if is_set else self.base_urls.discard)(name)
        self._write_keys()

    def _expected_engine(self, name):
        """Return the engine to which a name should resolve, by the order of precedence."""
        for location in LOCATIONS:
            if (location, name) in self.expected_by_file:
                return self.expected_by_file[location, name]
        if name == "mock":
            return ExpectedEngine("[mock] x", requires_key=False)
        if name in self.model_by_entry:
            return self.model_by_entry[name]
        return "" if name in self.base_urls else None

    @invariant()
    def every_name_resolves_as_expected(self):
        """Each name is listed, answers, or raises the matching error."""
        if not hasattr(self, "pool"):
            return
        self.pool.refresh()
        for name in ("a", "b", "mock"):
            self._check_call(name, self._expected_engine(name))
        listed_names = {model.engine for model in self.pool.models()} & {"a", "b", "mock"}
        assert listed_names == {name for name in ("a", "b", "mock") if self._is_ready(name)}
        self._check_shadowed_entries()

    def _is_ready(self, name):
        expected = self._expected_engine(name)
        if isinstance(expected, ExpectedEngine):
            return not expected.broken and (name in self.keys or not expected.requires_key)
        return expected is not None and name in self.keys

    def _check_call(self, name, expected):
        if expected is None:
            with pytest.raises(EngineNotFoundError):
                self.pool.ask("x", model=name)
        elif (
            not isinstance(expected, ExpectedEngine) or expected.requires_key
        ) and name not in self.keys:
            with pytest.raises(MissingKeyError):
                self.pool.ask("x", model=name)
        elif not isinstance(expected, ExpectedEngine):
            model = {row.name: row.model for row in self.pool.status()}[name]
            assert model == expected
        elif expected.broken:
            with pytest.raises(EngineLoadError, match="broken"):
                self.pool.ask("x", model=name)
        else:
            assert self.pool.ask("x", model=name).text == expected.answer

    def _check_shadowed_entries(self):
        """Each overridden file and entry is reported unless it is identical."""
        shadowed_names = [row.name for row in self.pool.status() if row.state == "shadowed"]
        for name in ("a", "b", "mock"):
            engines = [
                self.expected_by_file[location, name]
                for location in LOCATIONS
                if (location, name) in self.expected_by_file
            ]
            expected_count = sum(engine != engines[0] for engine in engines[1:])
            expected_count += name == "mock" and bool(engines)
            expected_count += name in self.model_by_entry and bool(engines or name == "mock")
            assert shadowed_names.count(name) == expected_count


Engines.TestCase.settings = settings(
    max_examples=70,
    stateful_step_count=25,
    deadline=timedelta(seconds=10),
    suppress_health_check=list(HealthCheck),
)
TestEngines = Engines.TestCase
