import pytest

from gatewayx_nb import weights
from gatewayx_nb.errors import ConfigError, ModelNotFoundError
from gatewayx_nb.hints import Hint


def test_shipped_row_is_complete():
    """The shipped catalog contains SmolLM2 with full-length digests."""
    row = weights.catalogue()["smollm2"]
    assert (row.size, row.wheel_size) == (98_362_432, 92_871_040)
    assert {len(row.sha256), len(row.wheel_sha256)} == {64}
    assert row.file.endswith(".gguf")


def test_unknown_name_offers_the_nearest():
    """An unknown name raises an error with the nearest name and the pull command."""
    with pytest.raises(ModelNotFoundError, match=r"'smolm2'.*Did you mean 'smollm2'\?") as caught:
        weights.pull("smolm2")
    assert caught.value.hint == Hint("pull", model="smollm2")


def test_nothing_is_located_before_it_is_pulled():
    """Before a pull there is no file, and a file of another size does not count."""
    row = weights.catalogue()["smollm2"]
    assert weights.locate() is None
    row.path.parent.mkdir(parents=True)
    row.path.write_bytes(b"GGUF")
    assert weights.locate() is None


def test_own_file_wins(tmp_path):
    """GATEWAYX_LOCAL_MODEL names the file that is loaded."""
    own = tmp_path / "own.gguf"
    own.write_bytes(b"GGUF...")
    assert weights.locate(env={"GATEWAYX_LOCAL_MODEL": str(own)}) == own
    assert weights.locate(env={"GATEWAYX_LOCAL_MODEL": ""}) is None


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04"], ids=["missing", "empty", "zip"])
def test_own_file_that_is_none_names_the_variable(tmp_path, content):
    """GATEWAYX_LOCAL_MODEL must name a readable GGUF file."""
    own = tmp_path / "own.gguf"
    if content is not None:
        own.write_bytes(content)
    with pytest.raises(ConfigError, match=r"^GATEWAYX_LOCAL_MODEL.*Set GATEWAYX_LOCAL_MODEL"):
        weights.locate(env={"GATEWAYX_LOCAL_MODEL": str(own)})
