"""The route to a provider: allowed hosts, proxy and trusted certificates."""

from __future__ import annotations

import base64
import ipaddress
import re
import socket
import ssl
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from gatewayx_nb.errors import ConfigError
from gatewayx_nb.hints import Hint
from gatewayx_nb.secure_config import Network, Secret
from gatewayx_nb.transport.error_mapping import HINTS, ForbiddenAddressError

if TYPE_CHECKING:
    import aiohttp

_HOST = re.compile(r"[\w.-]+|[0-9a-f:.]+(%\w+)?", re.IGNORECASE)

# Metadata services, at which clouds return the machine's credentials to any local client.
_METADATA = frozenset(map(ipaddress.ip_address, ("fd00:ec2::254", "100.100.100.200")))


def parse_base_url(base_url: str, engine: str) -> SplitResult:
    """Parse a base URL.

    Raises:
        ConfigError: If it has no scheme, a user, a query, or no valid host.
    """
    shown = re.split("[?#]", base_url)[0].rpartition("@")[2][:100]  # the rest may be secret
    try:
        url = urlsplit(base_url.strip())
        readable = _HOST.fullmatch(url.hostname or "") and url.port != 0
    except ValueError:
        url, readable = SplitResult("", "", "", "", ""), None
    if url.scheme not in {"http", "https"}:
        problem = "must begin with https:// or http://"
    elif "@" in url.netloc:
        problem = "must not contain a user name"
    elif url.query or url.fragment:
        problem = "must not contain a query"
    elif not readable:
        problem = "has no valid host"
    else:
        return url
    raise ConfigError(
        f"the base URL {shown!r} of engine {engine!r} {problem}.",
        hint=Hint("set_base_url", engine=engine),
        engine=engine,
    )


def check_host(url: SplitResult, engine: str, *, keyed: bool, allowed: tuple[str, ...]) -> None:
    """Refuse hosts that are forbidden, or forbidden with a key.

    Raises:
        ConfigError: If the address is forbidden, or a key would be sent unencrypted to another
            machine.
    """
    host = url.hostname or ""
    if _is_forbidden(host):
        raise ConfigError(
            f"engine {engine!r}: {host!r} is a link-local or metadata address, which is refused.",
            hint=Hint("set_base_url", engine=engine),
            engine=engine,
        )
    if not keyed or url.scheme == "https" or _is_loopback(host):
        return
    if host not in {name.lower() for name in allowed}:
        raise ConfigError(
            f"engine {engine!r}: the key would be sent to {host!r} without TLS.",
            hint=f"Use https://, or in config/gatewayx.toml: [network] plain_http = [{host!r}].",
            engine=engine,
        )


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _is_loopback(host: str) -> bool:
    address = _address(host)
    return host == "localhost" if address is None else address.is_loopback


def _is_forbidden(host: str) -> bool:
    address = _address(host)
    return address is not None and (address.is_link_local or address in _METADATA)


def open_socket(info: aiohttp.AddrInfoType) -> socket.socket:
    """Open a socket for a resolved address, after a last check that it is allowed."""
    family, kind, protocol, _, socket_address = info
    # After the lookup, because a host name may resolve to another address at every request.
    if _is_forbidden(str(socket_address[0])):
        raise ForbiddenAddressError("a link-local or metadata address")
    return socket.socket(family, kind, protocol)


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy for a connection.

    Attributes:
        url: Its URL.
        authorization: Its authorization header; empty if it needs none.
    """

    url: str
    authorization: Secret

    @property
    def headers(self) -> dict[str, str]:
        """The headers for the proxy only; servers after it do not receive them."""
        return {"Proxy-Authorization": str(self.authorization)} if self.authorization else {}


def choose_proxy(url: SplitResult, network: Network, engine: str) -> Proxy | None:
    """Return the proxy for this host: from the settings, else from the environment.

    Raises:
        ConfigError: If its type is not supported.
    """
    host = url.hostname or ""
    if _is_loopback(host):  # a proxy would look for it on its own machine
        return None
    proxy = network.proxy
    if not proxy and not proxy_bypass(url.netloc):
        proxy = getproxies().get(url.scheme) or getproxies().get("all")
    if not proxy:
        return None
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    if parts.scheme not in {"http", "https"}:
        raise ConfigError(
            f"engine {engine!r}: the proxy for {host!r} must be an http or https URL, got"
            f" {parts.scheme!r}.",
            hint=HINTS["proxy"],
            engine=engine,
        )
    user, _, netloc = parts.netloc.rpartition("@")
    token = base64.b64encode(unquote(user).encode()).decode()
    return Proxy(f"{parts.scheme}://{netloc}", Secret(f"Basic {token}" if user else ""))


def ssl_context(ca_bundle: str | None) -> ssl.SSLContext:
    """Build an SSL context from the system store plus ``ca_bundle``.

    Raises:
        ConfigError: If the file cannot be read or contains no certificate.
    """
    context = _system_ssl_context()
    context.set_alpn_protocols(["http/1.1"])
    try:
        if ca_bundle:
            context.load_verify_locations(Path(ca_bundle).expanduser())
    except OSError as error:
        reason = error.strerror or "it contains no certificates"
        raise ConfigError(
            f"network.ca_bundle must be a readable PEM file, got {ca_bundle!r}: {reason}.",
            hint=HINTS["tls"],
        ) from None
    return context


def _system_ssl_context() -> ssl.SSLContext:
    if sys.platform in {"darwin", "win32"} or not ssl.get_default_verify_paths().cafile:
        import truststore

        return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # The same store, read once. truststore 0.10 reads the file again for every connection, which
    # blocked the event loop for 34 ms each time.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_default_verify_paths()
    return context
