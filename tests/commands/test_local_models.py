"""The commands that pull, list and remove models on this machine."""

import shutil

import pytest

from gatewayx_nb import commands, weights
from gatewayx_nb.engine_pool import EnginePool
from gatewayx_nb.errors import ConfigError, ModelNotFoundError, UsageError
from tests.weights.fake_hub import gguf, run_hub

NAME = "tiny-q4_k_m"


@pytest.fixture
def session(session_of, tmp_path, monkeypatch, clean_environment):
    """Yield a session outside a project that can pull models from a loopback hub."""
    with run_hub(tmp_path) as hub:
        hub.repos["me/Tiny-GGUF"] = {
            "Tiny-Q4_K_M.gguf": gguf(300_000),
            "Tiny-Q8_0.gguf": gguf(500_000),
        }
        folder = clean_environment / "config" / "gatewayx" / "config"
        folder.mkdir(parents=True)
        (folder / "gatewayx.toml").write_text(f'[network]\nca_bundle = "{hub.ca_file}"')
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        with EnginePool() as pool:
            yield session_of(pool)


def run(session, line: str) -> str:
    """Run a command and return the text that it shows."""
    return repr(commands.run(session, line))


def test_pull_shows_how_to_call_the_model(session):
    """`pull` ends with the reference by which to call the model."""
    text = run(session, "pull hf:me/Tiny-GGUF")
    assert text.startswith("hf:me/Tiny-GGUF is in ~/cache/gatewayx/models/hub/tiny-q4_k_m/")
    assert text.endswith(f"Call it: `{session.ask_prog} local:{NAME}`.")


def test_models_local_lists_this_machine(session):
    """`models local` lists each model with its reference and its size."""
    assert run(session, "models local").startswith("No local model is installed")
    run(session, "pull hf:me/Tiny-GGUF")
    run(session, "pull hf:me/Tiny-GGUF:q8_0")
    lines = run(session, "models local").splitlines()
    assert [line.split() for line in lines if "local" in line] == [
        [f"local:{NAME}", NAME, "300", "kB"],
        ["local:tiny-q8_0", "tiny-q8_0", "500", "kB"],
    ]
    assert "300 kB" in run(session, "models local --live")
    assert [row.size for row in session.pool.models("local")] == [300_000, 500_000]


def test_a_model_is_removed(session):
    """After `--remove`, before or after the name, the model is no longer listed."""
    for line in (f"pull --remove {NAME}", f"pull {NAME} --remove"):
        run(session, "pull hf:me/Tiny-GGUF")
        assert run(session, line) == f"Removed ~/cache/gatewayx/models/hub/{NAME}"
        assert session.pool.models("local") == []
    with pytest.raises(ModelNotFoundError, match="on this machine: none"):
        run(session, f"pull --remove {NAME}")


def test_a_removal_does_not_take_a_file(session):
    """`--from` and `--remove` contradict each other."""
    with pytest.raises(UsageError, match="`--remove` cannot be combined with `--from`"):
        run(session, f"pull {NAME} --remove --from x.whl")


def test_the_only_pulled_model_is_the_default(session):
    """Without a key and SmolLM2, a single pulled model is the default; of several, none is."""
    run(session, "pull hf:me/Tiny-GGUF")
    assert session.pool.default_model() == "local"
    assert run(session, "models local").splitlines()[2].split()[:2] == ["local", NAME]
    (row,) = (row for row in session.pool.status() if row.name == "local")
    assert (row.state, row.model) == ("ready", NAME)
    with pytest.raises(ConfigError, match=r"cannot load .*Tiny-Q4_K_M") as caught:
        session.pool.ask("Hi")
    assert caught.value.model == NAME
    run(session, "pull hf:me/Tiny-GGUF:Q8_0")
    with pytest.raises(
        ConfigError, match=f"several models are installed: local:{NAME}, local:tiny"
    ):
        session.pool.default_model()
    session.pool.use("local:tiny-q8_0")
    assert session.pool.default_model() == "local:tiny-q8_0"


def test_a_hub_model_can_be_the_engines_model(session, clean_environment):
    """With `[engines.local] model`, `local` is ready and refers to that model."""
    run(session, "pull hf:me/Tiny-GGUF")
    settings = clean_environment / "config" / "gatewayx" / "config" / "gatewayx.toml"
    settings.write_text(f'{settings.read_text()}\n[engines.local]\nmodel = "{NAME}"\n')
    (row,) = (row for row in session.pool.status() if row.name == "local")
    assert (row.state, row.model) == ("ready", NAME)
    assert run(session, "models local").splitlines()[2].split()[0] == "local"


def test_the_error_for_a_missing_model_offers_a_pulled_model(session):
    """If SmolLM2 was not pulled, the error for a call to it offers the model that was."""
    run(session, "pull hf:me/Tiny-GGUF")
    run(session, "pull hf:me/Tiny-GGUF:Q8_0")
    with pytest.raises(ConfigError, match=rf'not on this machine\. .*model="local:{NAME}"'):
        session.pool.ask("Hi", "local")
    with pytest.raises(ModelNotFoundError, match=f"Did you mean '{NAME}'"):
        session.pool.ask("Hi", "local:tiny-q4")


def test_a_file_that_cannot_be_loaded_raises_a_one_line_error(session):
    """The error for a damaged file names the model to pull again."""
    run(session, "pull hf:me/Tiny-GGUF")
    with pytest.raises(
        ConfigError, match=r'cannot load .*pull\("hf:me/Tiny-GGUF:Q4_K_M"\)'
    ) as caught:
        session.pool.ask("Hi", f"local:{NAME}")
    assert "\n" not in str(caught.value)


def test_a_truncated_file_raises_a_one_line_error(session):
    """The error for a truncated file names the file, its size and the model to pull again."""
    run(session, "pull hf:me/Tiny-GGUF")
    (model,) = weights.pulled_models()
    model.path.write_bytes(b"GGUF")
    match = (
        r"^'Tiny-Q4_K_M\.gguf' of 'tiny-q4_k_m' is damaged: it has 4 of 300,000 bytes\."
        r' .*pull\("hf:me/Tiny-GGUF:Q4_K_M"\)'
    )
    with pytest.raises(ConfigError, match=match):
        session.pool.ask("Hi", f"local:{NAME}")
    run(session, "pull hf:me/Tiny-GGUF:Q4_K_M")
    assert len(weights.pulled_models()) == 1


def test_nothing_is_removed_while_a_cassette_is_replayed(session, tmp_path):
    """In replay mode, a notebook does not change anything on the machine."""
    run(session, "pull hf:me/Tiny-GGUF")
    run(session, f"cassette {tmp_path / 'a.jsonl'}")
    session.pool.ask("Hi", "mock")
    run(session, "cassette --mode replay")
    text = run(session, f"pull --remove {NAME}")
    assert text.startswith(f"Cassette a.jsonl is being replayed, so {NAME} was not removed.")
    assert len(weights.pulled_models()) == 1


def test_the_folder_may_be_removed_by_hand(session):
    """A model whose files were deleted is not listed and does not cause errors."""
    run(session, "pull hf:me/Tiny-GGUF")
    (model,) = weights.pulled_models()
    shutil.rmtree(model.path.parents[1])
    assert session.pool.models("local") == []
