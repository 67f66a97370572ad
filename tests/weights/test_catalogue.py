import pytest

from gatewayx_nb import weights
from gatewayx_nb.errors import ConfigError, ModelNotFoundError
from gatewayx_nb.hints import Hint


def test_the_shipped_row_is_complete():
    """The shipped catalog contains SmolLM2 with full-length digests."""
    row = weights.catalogue()["smollm2"]
    assert (row.size, row.wheel_size) == (98_362_432, 92_871_040)
    assert {len(row.sha256), len(row.wheel_sha256)} == {64}
    assert row.file.endswith(".gguf")


def test_an_unknown_name_suggests_the_nearest():
    """An unknown name raises an error with the nearest name and the pull command."""
    with pytest.raises(ModelNotFoundError, match=r"'smolm2'.*Did you mean 'smollm2'\?") as error:
        weights.pull("smolm2")
    assert error.value.hint == Hint("pull", model="smollm2")


def test_weights_are_not_located_before_they_are_pulled():
    """`locate` returns `None` if there is no file, or a file with a different size."""
    row = weights.catalogue()["smollm2"]
    assert weights.locate() is None
    row.path.parent.mkdir(parents=True)
    row.path.write_bytes(b"GGUF")
    assert weights.locate() is None


def test_gatewayx_local_model_names_the_file(tmp_path):
    """`locate` returns the file named by GATEWAYX_LOCAL_MODEL, unless the variable is empty."""
    weights_file = tmp_path / "own.gguf"
    weights_file.write_bytes(b"GGUF...")
    assert weights.locate(env={"GATEWAYX_LOCAL_MODEL": str(weights_file)}) == weights_file
    assert weights.locate(env={"GATEWAYX_LOCAL_MODEL": ""}) is None


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04"], ids=["missing", "empty", "zip"])
def test_an_invalid_gatewayx_local_model_raises(tmp_path, content):
    """If GATEWAYX_LOCAL_MODEL does not name a GGUF file, the error names the variable."""
    weights_file = tmp_path / "own.gguf"
    if content is not None:
        weights_file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"^GATEWAYX_LOCAL_MODEL.*Set GATEWAYX_LOCAL_MODEL"):
        weights.locate(env={"GATEWAYX_LOCAL_MODEL": str(weights_file)})
