"""Stateful test: random changes to engine files, rows and keys, checked against a simple model."""

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

PLACES = ("path", "project", "user")
NAMES = st.sampled_from(("a", "b", "mock"))
WORDS = st.sampled_from(("one", "two"))
FILE = """\
from ..llm_engines import LLMEngine
class Engine(LLMEngine):
    requires_key = {keyed}
    model_name = "m"
    async def generate(self, prompt, **kwargs):
        return {word!r}
"""


@dataclass(frozen=True)
class ExpectedEngine:
    """The expected behavior of an engine file."""

    word: str
    keyed: bool
    broken: bool = False

    @property
    def text(self):
        """Return its source."""
        text = FILE.format(word=self.word, keyed=self.keyed)
        return "raise ValueError('broken')\n" + text if self.broken else text


class Engines(RuleBasedStateMachine):
    """Changes a project as a user does, and checks the pool after each step."""

    @initialize()
    def start(self):
        """Start with an empty project."""
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
        self.files = {}
        self.rows = {}
        self.keys = set()
        self.addresses = set()
        env = {
            "XDG_CONFIG_HOME": str(self.root),
            "GATEWAYX_ENGINES_PATH": str(self.folders["path"]),
        }
        self.pool = EnginePool(self.root / "project", env)

    def teardown(self):
        if hasattr(self, "pool"):
            self.pool.close()
            shutil.rmtree(self.root)

    def _put(self, place, name, file):
        self.files[place, name] = file
        (self.folders[place] / f"{name}_engine.py").write_text(file.text)

    def _write_rows(self):
        rows = self.root / "project" / "config" / "engines.toml"
        rows.write_text(
            "".join(
                f'[{name}]\nbase_url = "http://127.0.0.1:9"\nmodel = "{model}"\n'
                for name, model in self.rows.items()
            )
        )

    def _write_keys(self):
        lines = [f"GATEWAYX_{name.upper()}_API_KEY=key-0\n" for name in sorted(self.keys)]
        lines += [
            f"GATEWAYX_{name.upper()}_BASE_URL=http://127.0.0.1:9\n"
            for name in sorted(self.addresses)
        ]
        file = self.secrets / ".env.local"
        file.write_text("".join(lines))
        file.chmod(0o600)

    @rule(place=st.sampled_from(PLACES), name=NAMES, word=WORDS, keyed=st.booleans())
    def add_or_edit(self, place, name, word, keyed):
        """Write an engine file."""
        self._put(place, name, ExpectedEngine(word, keyed))

    @precondition(lambda self: self.files)
    @rule(data=st.data(), broken=st.booleans())
    def break_or_mend(self, data, broken):
        """Insert a line that raises into a file, or remove it."""
        place, name = data.draw(st.sampled_from(sorted(self.files)))
        self._put(place, name, replace(self.files[place, name], broken=broken))

    @precondition(lambda self: self.files)
    @rule(data=st.data(), new=NAMES)
    def rename(self, data, new):
        """Rename a file, replacing any existing file with the new name."""
        place, name = data.draw(st.sampled_from(sorted(self.files)))
        folder = self.folders[place]
        (folder / f"{name}_engine.py").replace(folder / f"{new}_engine.py")
        self.files[place, new] = self.files.pop((place, name))

    @precondition(lambda self: self.files)
    @rule(data=st.data(), to=st.sampled_from(PLACES))
    def duplicate(self, data, to):
        """Copy a file into another folder."""
        place, name = data.draw(st.sampled_from(sorted(self.files)))
        self._put(to, name, self.files[place, name])

    @precondition(lambda self: self.files)
    @rule(data=st.data())
    def remove(self, data):
        """Delete a file."""
        place, name = data.draw(st.sampled_from(sorted(self.files)))
        del self.files[place, name]
        (self.folders[place] / f"{name}_engine.py").unlink()

    @rule(name=NAMES, model=WORDS)
    def add_or_edit_row(self, name, model):
        """Write a row of the project's engines.toml."""
        self.rows[name] = model
        self._write_rows()

    @rule(name=NAMES)
    def remove_row(self, name):
        """Remove a row."""
        self.rows.pop(name, None)
        self._write_rows()

    @rule(name=NAMES, there=st.booleans())
    def key(self, name, there):
        """Set or remove a key."""
        (self.keys.add if there else self.keys.discard)(name)
        self._write_keys()

    @rule(name=NAMES, there=st.booleans())
    def address(self, name, there):
        """Set or remove a base URL."""
        (self.addresses.add if there else self.addresses.discard)(name)
        self._write_keys()

    def _winner(self, name):
        """Return what a name should resolve to, in the order of precedence in DESIGN."""
        for place in PLACES:
            if (place, name) in self.files:
                return self.files[place, name]
        if name == "mock":
            return ExpectedEngine("[mock] x", keyed=False)
        if name in self.rows:
            return self.rows[name]
        return "" if name in self.addresses else None

    @invariant()
    def every_name_resolves_as_expected(self):
        """Each name is listed, answers, or raises the matching error."""
        if not hasattr(self, "pool"):
            return
        self.pool.refresh()
        for name in ("a", "b", "mock"):
            self._check_call(name, self._winner(name))
        listed = {model.engine for model in self.pool.models()} & {"a", "b", "mock"}
        assert listed == {name for name in ("a", "b", "mock") if self._is_ready(name)}
        self._check_shadowed_rows()

    def _is_ready(self, name):
        winner = self._winner(name)
        if isinstance(winner, ExpectedEngine):
            return not winner.broken and (name in self.keys or not winner.keyed)
        return winner is not None and name in self.keys

    def _check_call(self, name, winner):
        if winner is None:
            with pytest.raises(EngineNotFoundError):
                self.pool.ask("x", model=name)
        elif (not isinstance(winner, ExpectedEngine) or winner.keyed) and name not in self.keys:
            with pytest.raises(MissingKeyError):
                self.pool.ask("x", model=name)
        elif not isinstance(winner, ExpectedEngine):
            model = {row.name: row.model for row in self.pool.status()}[name]
            assert model == winner
        elif winner.broken:
            with pytest.raises(EngineLoadError, match="broken"):
                self.pool.ask("x", model=name)
        else:
            assert self.pool.ask("x", model=name).text == winner.word

    def _check_shadowed_rows(self):
        """Each overridden file and row is reported unless it is identical."""
        reported = [row.name for row in self.pool.status() if row.state == "shadowed"]
        for name in ("a", "b", "mock"):
            files = [self.files[place, name] for place in PLACES if (place, name) in self.files]
            others = sum(file != files[0] for file in files[1:])
            others += name == "mock" and bool(files)
            others += name in self.rows and bool(files or name == "mock")
            assert reported.count(name) == others


Engines.TestCase.settings = settings(
    max_examples=70,
    stateful_step_count=25,
    deadline=timedelta(seconds=10),
    suppress_health_check=list(HealthCheck),
)
TestEngines = Engines.TestCase
