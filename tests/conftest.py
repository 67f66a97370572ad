"""All tests run in a clean environment, with their own home and only the loopback network."""

from __future__ import annotations

import gc
import os
import signal
import sys
import tempfile
import threading
from pathlib import Path

import hypothesis
import pytest

from gatewayx_nb import engine_pool

# A deadline would fail tests on a busy machine.
hypothesis.settings.register_profile("no-deadline", deadline=None)
hypothesis.settings.load_profile("no-deadline")

# A shell starts background jobs with SIGINT ignored; the tests of Ctrl-C need it.
signal.signal(signal.SIGINT, signal.default_int_handler)

_VARIABLE_MARKS = ("GATEWAYX_", "_API_KEY", "_PROXY", "_proxy", "GEMINI_", "XAI_")


@pytest.fixture(autouse=True, scope="module")
def freeze_garbage_collector():
    """Exclude the objects that exist before a module's tests from garbage collection.

    IPython collects garbage whenever a shell ends, which would take a second late in a run.
    """
    gc.collect()
    gc.freeze()


def _make_folder(factory: pytest.TempPathFactory, prefix: str) -> Path:
    """Create an empty folder, without scanning those of earlier tests as `mktemp` does."""
    return Path(tempfile.mkdtemp(prefix=prefix, dir=factory.getbasetemp()))


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path_factory):
    """Remove the machine's keys, proxies and projects; yield an empty home folder."""
    for name in list(os.environ):
        if any(mark in name for mark in _VARIABLE_MARKS):
            monkeypatch.delenv(name)
    monkeypatch.delenv("CI", raising=False)  # cassettes would only replay
    home = _make_folder(tmp_path_factory, "home-")
    monkeypatch.setenv("HOME", str(home))
    for name in ("CONFIG", "CACHE", "DATA", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(home / name.lower()))
    monkeypatch.setenv("IPYTHONDIR", str(home / "ipython"))
    monkeypatch.chdir(_make_folder(tmp_path_factory, "work-"))
    # The folder of the main script is searched for a project; pytest's may be this repository.
    monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)
    yield home
    close_pickers()
    engine_pool.reset()


def close_pickers() -> None:
    """Close the open pickers, which look at the default pool every two seconds.

    Otherwise, they would create the next test's pool before its project exists.
    """
    watchers = [thread for thread in threading.enumerate() if thread.name == "gatewayx-watch"]
    if watchers:
        sys.modules["ipywidgets"].Widget.close_all()
    for thread in watchers:
        thread.join(10)


class Project:
    """A project folder, with methods that edit its files as a user does."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.keys.parent.mkdir(parents=True)
        self.engines.mkdir()

    @property
    def keys(self) -> Path:
        """Path of the key file."""
        return self.root / "config" / "secrets" / ".env.local"

    @property
    def engines(self) -> Path:
        """Path of the folder of engine files."""
        return self.root / "engines"

    def set_keys(self, text: str) -> None:
        """Write the key file as an editor does."""
        self.keys.write_text(text)
        self.keys.chmod(0o600)

    def settings(self, text: str) -> None:
        """Write the settings file."""
        (self.root / "config" / "gatewayx.toml").write_text(text)

    def engine(self, name: str, says: str = "", body: str = "") -> Path:
        """Write the file of a keyless engine that returns a fixed answer or has this class body."""
        path = self.engines / f"{name}_engine.py"
        path.write_text(
            "from ..llm_engines import LLMEngine\n\n\n"
            f"class Engine(LLMEngine):\n    requires_key = False\n    model_name = {name!r}\n\n"
            + (
                body
                or f"    async def generate(self, prompt, **kwargs):\n        return {says!r}\n"
            )
        )
        return path

    def blocking_engine(self, name: str) -> Path:
        """Write an engine whose calls block until a file exists; return the path of that file."""
        release = self.root / f"release-{name}"
        body = (
            "    async def generate(self, prompt, **kwargs):\n"
            "        import pathlib, time\n"
            f"        while not pathlib.Path({str(release)!r}).exists():\n"
            "            time.sleep(0.01)\n"
            "        return 'late'\n"
        )
        self.engine(name, body=body)
        return release

    def pool(self, **keywords) -> engine_pool.EnginePool:
        """Build a pool for this project."""
        return engine_pool.EnginePool(home=self.root, env={}, **keywords)


@pytest.fixture
def unprivileged():
    """Yield a folder that all users may enter, unlike those of pytest; only the owner may write."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder).resolve()
        path.chmod(0o755)
        yield path
        for path_inside in path.rglob("*"):
            if path_inside.is_dir():
                path_inside.chmod(0o755)


@pytest.fixture
def project(tmp_path):
    """Return an empty project."""
    return Project(tmp_path / "project")


@pytest.fixture
def report_metric(record_property, capsys):
    """Return a function that prints a measurement and adds it to the report."""

    def report(name, value):
        record_property(name, value)
        with capsys.disabled():
            sys.stdout.write(f"\n    {name}: {value:.3f}")

    return report
