"""Runs the hub's client in a separate process."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlsplit

from gatewayx_nb.errors import ConfigError, TransportError, TrustError
from gatewayx_nb.hints import Hint
from gatewayx_nb.weights.download import without_keys
from gatewayx_nb.weights.hub_errors import hub_error

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gatewayx_nb.secure_config import Config, Network

_CLIENT_SCRIPT = Path(__file__).with_name("hub_client.py")
_POLL_INTERVAL = 0.1  # seconds between two checks of the downloaded size
_DEFAULT_ENDPOINT = "https://huggingface.co"
_TOKEN_VARIABLE = "HF_TOKEN"  # noqa: S105 - a name, not a token
_TOKEN_VARIABLES = (
    _TOKEN_VARIABLE,
    "HUGGING_FACE_HUB_TOKEN",
)  # the names that `huggingface_hub` reads

_CLIENT_SETTINGS = {
    "HF_HUB_DISABLE_XET": "1",  # the protocol ignores proxies and our rules for redirects
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "HF_HUB_VERBOSITY": "critical",
    "HF_DEBUG": "0",  # 1 would log requests
    "PYTHONUTF8": "1",
}


@dataclass(frozen=True, slots=True)
class Hub:
    """A hub and the settings for reaching it.

    Attributes:
        endpoint: The hub's base URL.
        env: The environment of the client's process.
        ca_bundle: A file with additional certificate authorities.
    """

    endpoint: str
    env: Mapping[str, str]
    ca_bundle: str | None

    def run(
        self,
        action: str,
        repo: str,
        report: Callable[[], object] = lambda: None,
        **arguments: object,
    ) -> dict[str, Any]:
        """Run a job in a separate process, which ends with this process, and return its result.

        Args:
            action: ``"list"`` or ``"fetch"``.
            repo: The repository.
            report: Called repeatedly while the job runs.
            **arguments: The arguments of the job; see the client.

        Raises:
            GatewayError: If the job fails.
        """
        hub_settings = {"endpoint": self.endpoint, "ca_bundle": self.ca_bundle}
        status, result = _run_client(
            self.env, {"action": action, "repo": repo, **hub_settings, **arguments}, report
        )
        if result is None:
            raise TransportError(
                f"the hub client ended with status {status} and no result.",
                hint=Hint("run_again"),
            )
        if "error" in result:
            has_token = bool(self.env.get(_TOKEN_VARIABLE, "").strip())
            raise hub_error(result["error"], repo, self.endpoint, has_token=has_token)
        return result


def connect(env: Mapping[str, str], config: Config) -> Hub:
    """Return the hub that the environment selects.

    Raises:
        ConfigError: If ``HF_ENDPOINT`` is not a URL to which a token may be sent.
        TrustError: If the project's network settings would be used without the user's permission.
    """
    endpoint = env.get("HF_ENDPOINT", "").strip().rstrip("/") or _DEFAULT_ENDPOINT
    _check_endpoint(endpoint)
    network = config.settings.network
    permissions = config.hub_permissions()
    missing_permissions = [permission for permission in permissions if not config.may(permission)]
    if missing_permissions:
        has_token = bool(env.get(_TOKEN_VARIABLE, "").strip())
        action = f"send your {_TOKEN_VARIABLE}" if has_token else "pull models"
        raise TrustError(
            f"this project would {action} through {missing_permissions[0].target}"
            f" ({missing_permissions[0].where}).",
            hint=Hint("trust", ids=",".join(permission.id for permission in missing_permissions)),
        )
    ca_bundle = str(Path(network.ca_bundle).expanduser()) if network.ca_bundle else None
    child_env = {
        **without_keys(env, keep=_TOKEN_VARIABLES),
        **_proxies(env, network),
        **_CLIENT_SETTINGS,
    }
    return Hub(endpoint, child_env, ca_bundle)


def _check_endpoint(endpoint: str) -> None:
    try:
        parts = urlsplit(endpoint)
        host, _ = parts.hostname or "", parts.port
    except ValueError:  # the port or IPv6 address is invalid
        parts, host = urlsplit(""), ""
    is_allowed = parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host))
    if not (is_allowed and host) or "@" in parts.netloc or parts.query or parts.fragment:
        raise ConfigError(  # does not quote the URL, which may contain a password
            "HF_ENDPOINT must be https://HOST, or http:// on this machine, without a user name.",
            hint="Set it to the address of a hub, or unset it.",
        )


def _is_loopback(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _proxies(env: Mapping[str, str], network: Network) -> dict[str, str]:
    """Return the variables that set the proxy, except for connections to this machine."""
    exceptions = "localhost,127.0.0.1,::1"
    if network.proxy:  # the environment's exceptions apply only to the environment's proxy
        proxy = network.proxy if "://" in network.proxy else f"http://{network.proxy}"
        names = ("http_proxy", "https_proxy", "all_proxy")
        proxies = {spelling: proxy for name in names for spelling in (name, name.upper())}
    else:
        proxies = {}
        exceptions = ",".join(
            filter(None, (env.get("no_proxy") or env.get("NO_PROXY"), exceptions))
        )
    if "*" not in exceptions.split(","):
        proxies |= dict.fromkeys(("no_proxy", "NO_PROXY"), exceptions)
    return proxies


def _run_client(
    env: Mapping[str, str], job: Mapping[str, object], report: Callable[[], object]
) -> tuple[int, dict[str, Any] | None]:
    """Return the exit status of the client, and its result; ``None`` without a result."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and file
            # `-P` excludes the file's folder, whose modules have the same names as other modules.
            [sys.executable, "-P", str(_CLIENT_SCRIPT)],
            env=dict(env),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.DEVNULL,
        )
        assert process.stdin is not None  # noqa: S101 - it is a pipe
        with contextlib.suppress(OSError), process.stdin:  # closing the pipe flushes it
            _send_and_wait(process, process.stdin, json.dumps(job).encode() + b"\n", report)
        return process.returncode, _read_result(output)


def _send_and_wait(
    process: subprocess.Popen[bytes], stdin: IO[bytes], job: bytes, report: Callable[[], object]
) -> None:
    """Send the job, and wait for the end of the process."""
    try:
        with contextlib.suppress(OSError):  # the process has already ended, and its output says why
            stdin.write(job)
            stdin.flush()
        while process.poll() is None:
            report()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_POLL_INTERVAL)
        report()
    finally:  # otherwise, an interrupt would leave the process running
        process.kill()
        process.wait()


def _read_result(output: IO[bytes]) -> dict[str, Any] | None:
    output.seek(0)
    try:
        result: dict[str, Any] = json.load(output)
    except ValueError:
        return None
    return result
