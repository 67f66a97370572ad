"""Every test runs in a scrubbed environment, with a home of its own and no network but loopback."""

import os

import pytest

_FOREIGN = ("GATEWAYX_", "_API_KEY", "_PROXY", "_proxy", "GEMINI_", "XAI_")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path_factory):
    """No key, proxy or project of the machine's reaches a test; `home` is empty and its own."""
    for name in list(os.environ):
        if any(mark in name for mark in _FOREIGN):
            monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    for name in ("CONFIG", "CACHE", "DATA", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(home / name.lower()))
    monkeypatch.setenv("IPYTHONDIR", str(home / "ipython"))
    monkeypatch.chdir(tmp_path_factory.mktemp("work"))
    return home
