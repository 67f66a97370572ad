"""The default pool with a test's cassette."""

import pytest

import gatewayx_nb as gx
from gatewayx_nb import engine_pool
from gatewayx_nb.errors import CassetteMissError


@pytest.fixture
def path(tmp_path):
    """Return the path of a cassette with one entry."""
    path = tmp_path / "a.jsonl"
    with engine_pool.with_cassette(path, "record"):
        gx.ask("Hi", model="mock")
    return path


def test_the_default_pool_replays_in_the_block(path):
    """A pool is created for the block, although none existed before."""
    with engine_pool.with_cassette(path, "replay") as cassette:
        pool = gx.pool()
        assert gx.ask("Hi", model="mock").replayed
        assert pool.active_cassette is cassette
    assert gx.pool() is not pool


def test_the_previous_default_pool_is_restored(path):
    """In the block it also replays; then it has its own cassette and default again."""
    previous = gx.pool()
    gx.use("mock")
    chat = gx.chat()
    with gx.cassette(path.with_name("b.jsonl")) as own_cassette:
        with engine_pool.with_cassette(path, "replay"):
            assert gx.pool() is not previous
            assert gx.pool().default_model() == "mock"
            with pytest.raises(CassetteMissError):
                chat.ask("Not recorded")
        assert gx.pool() is previous
        assert previous.active_cassette is own_cassette
        assert not chat.ask("Recorded now").replayed


def test_the_previous_default_pool_is_restored_after_an_error(path):
    previous = gx.pool()
    with pytest.raises(CassetteMissError), engine_pool.with_cassette(path, "replay"):
        gx.ask("Not recorded", model="mock")

    assert (gx.pool(), previous.active_cassette) == (previous, None)


def test_a_pool_that_replaces_the_default_in_the_block_keeps_the_cassette(path):
    """`init` rebuilds the default pool; the previous one is still restored."""
    previous = gx.pool()
    with engine_pool.with_cassette(path, "replay") as cassette:
        engine_pool.rebuild()
        assert gx.pool().active_cassette is cassette
    assert (gx.pool(), previous.active_cassette) == (previous, None)


def test_a_missing_file_is_an_error_at_the_first_call(tmp_path):
    """A block that makes no call needs no file and writes none."""
    path = tmp_path / "none.jsonl"
    with engine_pool.with_cassette(path, "replay") as cassette:
        with pytest.raises(CassetteMissError, match="which does not exist"):
            gx.ask("Hi", model="mock")
        assert (cassette.missed, list(cassette.entries)) == (1, [])

    assert list(tmp_path.iterdir()) == []
