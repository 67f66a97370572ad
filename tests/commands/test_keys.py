"""The message of `key` about the default model."""

import subprocess

import pytest

from gatewayx_nb import commands
from gatewayx_nb.engine_pool import EnginePool
from gatewayx_nb.errors import TrustError

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


EVIL = "https://evil.example"
REDIRECTIONS = {
    "settings": ("config/gatewayx.toml", f'[engines.openai]\nbase_url = "{EVIL}/v1"\n'),
    "entry": ("config/engines.toml", f'[mistral]\nbase_url = "{EVIL}"\nmodel = "m"\n'),
    "file": ("engines/openai_engine.py", "from ..llm_engines import LLMEngine\n"),
    "network": ("config/gatewayx.toml", f'[network]\nproxy = "{EVIL}"\n'),
}
NEW_ENGINE = ("config/engines.toml", f'[acme]\nbase_url = "{EVIL}/v1"\nmodel = "m"\n')


@pytest.fixture
def store(project, session_of, tmp_path):
    """Return a function that runs a line in a project with this file, and answers its question.

    It returns what was asked, what was shown, and the text of the project's key file.
    """

    def store(redirection, line, answer=None):
        path, text = redirection
        (project.root / path).write_text(text)
        (tmp_path / "keys.env").write_text(
            "OPENAI_API_KEY=made-up-key-123456\nMISTRAL_API_KEY=made-up-key-123456\n"
        )
        (tmp_path / "keys.json").write_text('{"acme": "made-up-key-123456"}')
        asked, shown = [], []

        def confirm(table, question):
            asked.append(f"{table!r} {question}")
            if answer is None:
                raise TrustError("this front end cannot ask for confirmation.")
            return answer

        env = {"XDG_CONFIG_HOME": str(tmp_path / "user")}
        with EnginePool(home=project.root, env=env) as pool:
            session = session_of(pool)
            session.ask_secret = lambda _: "made-up-key-123456"
            session.confirm, session.show = confirm, lambda note: shown.append(repr(note))
            try:
                commands.run(session, line.format(folder=tmp_path))
            except TrustError as error:
                shown.append(error.describe())
        stored = project.keys.read_text() if project.keys.exists() else ""
        return asked, "".join(shown), stored

    return store


@pytest.mark.parametrize("line", ["key set {engine}", "key import {{folder}}/keys.env"])
@pytest.mark.parametrize("redirection", REDIRECTIONS.values(), ids=REDIRECTIONS)
@pytest.mark.parametrize("answer", [True, False, None])
def test_a_key_is_stored_for_a_redirected_engine_only_after_a_yes(store, redirection, line, answer):
    """The question shows where the key would go; a front end that cannot ask stores nothing."""
    engine = "mistral" if "mistral" in redirection[1] else "openai"

    asked, shown, stored = store(redirection, line.format(engine=engine), answer)

    assert len(asked) == 1
    assert (redirection[0] if redirection[0].endswith(".py") else EVIL) in asked[0]
    assert ("made-up-key" in stored) is (answer is True)
    assert ("no key was stored" in shown) is (answer is False)
    assert "made-up-key" not in asked[0] + shown


@pytest.mark.parametrize("line", ["key set openai", "key import {folder}/keys.env"])
def test_an_allowed_destination_is_shown_and_not_asked_again(store, line):
    """The permission is stored, so that the same destination is only shown the next time."""
    store(REDIRECTIONS["settings"], "key set openai", answer=True)
    store(REDIRECTIONS["settings"], "key remove openai")

    asked, shown, stored = store(REDIRECTIONS["settings"], line)

    assert not asked
    assert f"This project sends the key for openai to {EVIL}" in shown
    assert "made-up-key" in stored


def test_another_destination_is_asked_again(store):
    """A permission does not cover another host."""
    store(REDIRECTIONS["settings"], "key set openai", answer=True)
    path, text = REDIRECTIONS["settings"]

    asked, _, _ = store((path, text.replace("evil", "worse")), "key set openai", answer=False)

    assert "https://worse.example" in asked[0]


def test_the_host_of_a_new_engine_is_shown_and_not_asked(store):
    """The user named the project's own engine, so its key has no other use."""
    asked, shown, stored = store(NEW_ENGINE, "key set acme")

    assert not asked
    assert f"This project sends the key for acme to {EVIL} (its entry" in shown
    assert "made-up-key" in stored


def test_an_imported_key_goes_to_a_new_engine_only_after_a_yes(store):
    """A project's engine may have the name of a key that the user has for something else."""
    asked, _, stored = store(NEW_ENGINE, "key import {folder}/keys.json", answer=False)

    assert EVIL in asked[0]
    assert "made-up-key" not in stored


@pytest.mark.parametrize("option", ["", " --user"])
@pytest.mark.parametrize("answer", [True, False, None])
def test_an_address_is_imported_only_after_a_yes(store, tmp_path, option, answer):
    """A file could redirect an engine's key and prompts, even those of the user's engine."""
    (tmp_path / "urls.env").write_text(f"GATEWAYX_OPENAI_BASE_URL={EVIL}/v1\nGROK_API_KEY=k1\n")

    line = "key import {folder}/urls.env" + option
    asked, shown, stored = store(("config/gatewayx.toml", ""), line, answer)

    keys = tmp_path / "user" / "gatewayx" / "config" / "secrets" / ".env.local"
    stored += keys.read_text() if keys.exists() else ""
    assert len(asked) == 1
    assert EVIL in asked[0]
    assert (f"GATEWAYX_OPENAI_BASE_URL={EVIL}" in stored) is (answer is True)
    assert (stored == "") is (answer is not True)
    assert ("nothing was imported" in shown) is (answer is False)


@pytest.mark.parametrize(
    ("redirection", "line"),
    [
        (("config/gatewayx.toml", ""), "key set openai"),
        (("config/gatewayx.toml", ""), "key import {folder}/keys.env"),
        (("config/gatewayx.toml", '[engines.openai]\nmodel = "m"\n'), "key set openai"),
        (REDIRECTIONS["settings"], "key set grok"),
        (("engines/acme_engine.py", "from ..llm_engines import LLMEngine\n"), "key set acme"),
        # A key of the user is sent only after a permission, so it may be stored without one.
        (REDIRECTIONS["settings"], "key set openai --user"),
        (REDIRECTIONS["settings"], "key import {folder}/keys.env --user"),
    ],
)
def test_a_key_that_the_project_does_not_redirect_is_stored_silently(store, redirection, line):
    """Nothing is asked or shown."""
    asked, shown, _ = store(redirection, line)

    assert not asked
    assert not shown


def test_setting_a_key_says_if_git_would_commit_it(project, session_of, monkeypatch):
    """A clone may contain a `.gitignore` that lets git add the key file."""
    subprocess.run(["git", "init", "-q", project.root], check=True)
    folder = project.root / "config" / "secrets"
    monkeypatch.setattr(session_of, "ask_secret", lambda *_: "xai-0123456789abcdef", raising=False)
    with project.pool() as pool:
        safe = repr(commands.run(session_of(pool), "key set grok"))
        (folder / ".gitignore").write_text("*\n!.env.local\n")
        unsafe = repr(commands.run(session_of(pool), "key set grok"))

    assert "Git does not ignore" not in safe
    assert "Git does not ignore this file" in unsafe
