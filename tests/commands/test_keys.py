"""The message of `key` about the default model."""

import pytest

from gatewayx_nb import commands
from gatewayx_nb.engine_pool import EnginePool

GROK, OPENAI = "GATEWAYX_GROK_API_KEY=made-up-1\n", "GATEWAYX_OPENAI_API_KEY=made-up-2\n"


@pytest.fixture
def run(project, session_of, tmp_path):
    """Return a function that runs a line, in a project with these keys; keys can be typed."""
    weights = tmp_path / "model.gguf"
    weights.write_bytes(b"GGUF" + b"\0" * 100)

    def run(keys, settings, line, *, local=True):
        project.set_keys(keys)
        project.settings(settings)
        (project.root / "other.env").write_text(GROK)
        env = {"GATEWAYX_LOCAL_MODEL": str(weights)} if local else {}
        with EnginePool(home=project.root, env=env) as pool:
            session = session_of(pool)
            session.ask_secret = lambda _: "made-up-key-123456"
            return repr(commands.run(session, line.format(folder=project.root)))

    return run


@pytest.mark.parametrize(
    ("keys", "settings", "line", "note"),
    [
        ("", "", "key set grok", "now grok; `gatewayx use local` keeps local."),
        ("", "", "key import {folder}/other.env", "now grok; `gatewayx use local` keeps local."),
        (GROK, "", "key set openai", "There is no default model now; `gatewayx use grok` keeps"),
        (GROK + OPENAI, "", "key remove openai", "The default model is now grok."),
        (GROK, "", "key remove grok", "The default model is now local."),
        ("", 'default_model = "local"\n', "key set grok", None),
        (GROK, "", "key set grok", None),
    ],
)
def test_a_changed_default_model_is_noted(run, keys, settings, line, note):
    """If a key changes the default model, a note names both models and how to keep the former."""
    output = run(keys, settings, line)

    assert (note or "default model") in output or note is None
    assert note is not None or "default model" not in output


def test_the_first_key_names_the_default_model(run):
    """Without a former default model, only the new one is named."""
    output = run("", "", "key set grok", local=False)

    assert output.endswith("The default model is now grok.")
