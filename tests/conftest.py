"""Every test runs in a scrubbed environment, with a home of its own and no network but loopback."""

from __future__ import annotations

import gc
import os
import sys
import tempfile
from pathlib import Path

import hypothesis
import pytest

from gatewayx_nb import engine_pool

hypothesis.settings.register_profile("steady", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("steady")

_FOREIGN = ("GATEWAYX_", "_API_KEY", "_PROXY", "_proxy", "GEMINI_", "XAI_")


@pytest.fixture(autouse=True, scope="module")
def quick_collections():
    """Leave what is there before a module's tests out of the collections that they cause.

    IPython makes one whenever a shell ends: over all that a run has imported it takes a second.
    """
    gc.collect()
    gc.freeze()


def _folder(factory: pytest.TempPathFactory, prefix: str) -> Path:
    """Make an empty folder; `mktemp` would look through those of all the tests before."""
    return Path(tempfile.mkdtemp(prefix=prefix, dir=factory.getbasetemp()))


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path_factory):
    """No key, proxy or project of the machine's reaches a test; its home is empty and its own."""
    for name in list(os.environ):
        if any(mark in name for mark in _FOREIGN):
            monkeypatch.delenv(name)
    home = _folder(tmp_path_factory, "home-")
    monkeypatch.setenv("HOME", str(home))
    for name in ("CONFIG", "CACHE", "DATA", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(home / name.lower()))
    monkeypatch.setenv("IPYTHONDIR", str(home / "ipython"))
    monkeypatch.chdir(_folder(tmp_path_factory, "work-"))
    # A script's folder names a project, and the runner may lie in this repository.
    monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)
    yield home
    engine_pool.reset()


class Project:
    """A project folder that a test writes into as its user would."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.keys.parent.mkdir(parents=True)
        self.engines.mkdir()

    @property
    def keys(self) -> Path:
        """The key file."""
        return self.root / "config" / "secrets" / ".env.local"

    @property
    def engines(self) -> Path:
        """The folder of engine files."""
        return self.root / "engines"

    def set_keys(self, text: str) -> None:
        """Write the key file, as an editor does."""
        self.keys.write_text(text)
        self.keys.chmod(0o600)

    def settings(self, text: str) -> None:
        """Write the settings."""
        (self.root / "config" / "gatewayx.toml").write_text(text)

    def engine(self, name: str, says: str = "", body: str = "") -> Path:
        """Write an engine file that needs no key and says one thing, or that has another body."""
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

    def pool(self, **keywords) -> engine_pool.EnginePool:
        """Build a pool for this project."""
        return engine_pool.EnginePool(home=self.root, env={}, **keywords)


@pytest.fixture
def unprivileged():
    """Give a folder that everybody may enter, as pytest's own may not be, and only we may write."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder).resolve()
        path.chmod(0o755)
        yield path
        for inner in path.rglob("*"):
            if inner.is_dir():
                inner.chmod(0o755)


@pytest.fixture
def project(tmp_path):
    """Give an empty project."""
    return Project(tmp_path / "project")
