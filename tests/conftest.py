"""Every test runs in a scrubbed environment, with its own home and only the loopback network."""

from __future__ import annotations

import gc
import os
import sys
import tempfile
from pathlib import Path

import hypothesis
import pytest

from gatewayx_nb import engine_pool

hypothesis.settings.register_profile("steady", deadline=None)  # a busy machine must not fail a test
hypothesis.settings.load_profile("steady")

_FOREIGN = ("GATEWAYX_", "_API_KEY", "_PROXY", "_proxy", "GEMINI_", "XAI_")


@pytest.fixture(autouse=True, scope="module")
def quick_collections():
    """Freeze the objects that exist before a module's tests, to speed up garbage collection.

    IPython collects garbage whenever a shell ends, which takes a second over a run's objects.
    """
    gc.collect()
    gc.freeze()


def _folder(factory: pytest.TempPathFactory, prefix: str) -> Path:
    """Create an empty folder; `mktemp` would scan the folders of all earlier tests."""
    return Path(tempfile.mkdtemp(prefix=prefix, dir=factory.getbasetemp()))


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path_factory):
    """Remove the machine's keys, proxies and projects, and set an empty home for the test."""
    for name in list(os.environ):
        if any(mark in name for mark in _FOREIGN):
            monkeypatch.delenv(name)
    home = _folder(tmp_path_factory, "home-")
    monkeypatch.setenv("HOME", str(home))
    for name in ("CONFIG", "CACHE", "DATA", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(home / name.lower()))
    monkeypatch.setenv("IPYTHONDIR", str(home / "ipython"))
    monkeypatch.chdir(_folder(tmp_path_factory, "work-"))
    # A script's folder can be a project, and the test runner may be in this repository.
    monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)
    yield home
    engine_pool.reset()


class Project:
    """A project folder that a test edits as a user would."""

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
        """Write an engine file without a key that returns one text or has the given body."""
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
        """Write an engine whose calls block until the file that is returned exists."""
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
    """Yield a folder that everybody may enter, unlike pytest's, and only the owner may write."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder).resolve()
        path.chmod(0o755)
        yield path
        for inner in path.rglob("*"):
            if inner.is_dir():
                inner.chmod(0o755)


@pytest.fixture
def project(tmp_path):
    """Return an empty project."""
    return Project(tmp_path / "project")
