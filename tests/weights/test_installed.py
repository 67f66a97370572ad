import json
from pathlib import Path

import pytest
from filelock import FileLock

from gatewayx_nb import weights
from gatewayx_nb.errors import ConfigError, ModelNotFoundError
from gatewayx_nb.hints import Hint
from gatewayx_nb.messages import ModelInfo
from gatewayx_nb.weights.hub_files import HubFile
from gatewayx_nb.weights.installed import hub_folder, record_hub_model
from tests.weights.fake_hub import gguf

SOURCE = "hf:me/Tiny-GGUF:Q4_K_M"


def add_model(name: str = "tiny-q4_k_m", sizes: tuple[int, ...] = (1000,), source: str = SOURCE):
    """Put a model in the cache folder, as a pull does."""
    folder = hub_folder(name) / "0123"
    folder.mkdir(parents=True)
    files = [HubFile(f"0123/{number}.gguf", size, "d" * 64) for number, size in enumerate(sizes)]
    for file in files:
        (folder.parent / file.path).write_bytes(gguf(file.size))
    record_hub_model(name, source, "c" * 40, files)
    return folder / "0.gguf"


@pytest.fixture
def smollm2():
    """Put a file the size of SmolLM2 in the cache folder."""
    row = weights.catalogue()["smollm2"]
    row.path.parent.mkdir(parents=True, exist_ok=True)
    with row.path.open("wb") as file:
        file.truncate(row.size)
    return row


def test_pulled_models_are_listed_by_name(smollm2):
    """Pulled models are listed by name; the size of a split model is the sum of its parts."""
    path = add_model("zeta-q8_0", (700, 50))
    add_model()
    assert [(model.name, model.size) for model in weights.pulled_models()] == [
        ("smollm2", smollm2.size),
        ("tiny-q4_k_m", 1000),
        ("zeta-q8_0", 750),
    ]
    assert weights.pulled_models()[-1].path == path


def test_a_model_without_all_its_bytes_is_not_listed():
    """A model with a missing file, or a file with the wrong size, is incomplete."""
    add_model("first-q8_0").write_bytes(b"GGUF")
    add_model("second-q8_0", (10, 20)).unlink()
    assert weights.pulled_models() == []


@pytest.mark.parametrize(
    "record", ["", "[]", "{}", '{"files": []}', '{"files": [{"path": 1}]}', '{"files": 3}', "\x00"]
)
def test_a_damaged_record_is_not_a_model(record):
    """A record that cannot be read is skipped, and the other models are listed."""
    add_model()
    (hub_folder("tiny-q4_k_m") / "model.json").write_text(record)
    assert weights.pulled_models() == []


def test_the_default_model_is_first(smollm2):
    """An engine lists its default model first, with sizes."""
    add_model("alpha-q8_0")
    assert weights.callable_models("local", "smollm2", None) == [
        ModelInfo("local", "smollm2", default=True, size=smollm2.size),
        ModelInfo("local", "alpha-q8_0", default=False, size=1000),
    ]
    assert weights.callable_models("local", "alpha-q8_0", None)[0].model == "alpha-q8_0"


def test_the_users_own_file_replaces_the_catalogue(smollm2, tmp_path):
    """The user's own file is the default; hub models stay callable by name."""
    add_model()
    own = tmp_path / "own.gguf"
    own.write_bytes(b"GGUF...")
    assert weights.callable_models("local", "smollm2", own) == [
        ModelInfo("local", "own", default=True, size=7),
        ModelInfo("local", "tiny-q4_k_m", default=False, size=1000),
    ]


def test_a_hub_model_is_located_by_name(monkeypatch, tmp_path):
    """The name of a model takes precedence over GATEWAYX_LOCAL_MODEL."""
    path = add_model()
    own = tmp_path / "own.gguf"
    own.write_bytes(b"GGUF...")
    monkeypatch.setenv("GATEWAYX_LOCAL_MODEL", str(own))
    assert weights.locate("tiny-q4_k_m") == path
    assert weights.locate() == own


@pytest.mark.parametrize("name", ["tiny-q4_k_m", "local:tiny-q4_k_m", SOURCE])
def test_a_model_is_removed(name):
    """A model is removed by its name, its reference or the name that was pulled."""
    add_model()
    add_model("other-q8_0", source="hf:me/Other-GGUF:Q8_0")
    assert weights.pull(name, remove=True) == hub_folder("tiny-q4_k_m")
    assert [model.name for model in weights.pulled_models()] == ["other-q8_0"]
    assert not hub_folder("tiny-q4_k_m").exists()


def test_a_catalogue_model_is_removed(smollm2):
    """A removed catalogue model has no file, and can be pulled again."""
    assert weights.pull("smollm2", remove=True) == smollm2.path
    assert not smollm2.is_pulled


def test_a_stopped_pulls_files_are_removed():
    """An incomplete model is removed by the name that its pull showed."""
    add_model().unlink()
    weights.pull("tiny-q4_k_m", remove=True)
    assert not hub_folder("tiny-q4_k_m").exists()


@pytest.mark.parametrize("name", ["tinny-q4_k_m", "smollm2", "", "..", "../..", "hf:me/Tiny-GGUF"])
def test_a_model_that_was_not_pulled_cannot_be_removed(name):
    """The error for a model that was not pulled lists the models; nothing else is removed."""
    add_model()
    with pytest.raises(ModelNotFoundError, match=r"on this machine: 'tiny-q4_k_m'") as caught:
        weights.pull(name, remove=True)
    assert caught.value.hint == Hint("list_local_models")
    assert len(weights.pulled_models()) == 1


def test_the_users_own_file_is_not_removed(monkeypatch, tmp_path):
    """The error for the user's own file names the setting that selects it; the file is kept."""
    own = tmp_path / "own.gguf"
    own.write_bytes(b"GGUF...")
    monkeypatch.setenv("GATEWAYX_LOCAL_MODEL", str(own))
    with pytest.raises(ModelNotFoundError, match="a file of your own, in GATEWAYX_LOCAL_MODEL"):
        weights.pull("own", remove=True)
    assert own.exists()


def test_a_model_is_not_removed_during_a_pull():
    """A model is not removed while another process pulls it."""
    add_model()
    with (
        FileLock(hub_folder("").parent / ".lock"),
        pytest.raises(ConfigError, match="cannot be removed: another process is pulling a model"),
    ):
        weights.pull("tiny-q4_k_m", remove=True)


def test_the_record_is_readable_by_others():
    """The record contains the model's source and the digests that were checked."""
    add_model()
    record = json.loads(Path(hub_folder("tiny-q4_k_m"), "model.json").read_text())
    assert (record["source"], record["files"][0]["sha256"]) == (SOURCE, "d" * 64)
