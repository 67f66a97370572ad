"""The route to a provider: allowed hosts, proxy and trusted certificates."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ipaddress
import re
import socket
import ssl
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit

from gatewayx_nb.errors import ConfigError
from gatewayx_nb.files import read_limited
from gatewayx_nb.hints import Hint
from gatewayx_nb.secure_config import Network, Secret
from gatewayx_nb.transport.error_mapping import HINTS, ForbiddenAddressError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import aiohttp

_NUMERIC_HOST_PATTERN = re.compile(
    r"(?:0x[0-9a-f]*|\d+)(?:\.(?:0x[0-9a-f]*|\d+)){0,3}\.?", re.IGNORECASE | re.ASCII
)

_HOST_PATTERN = re.compile(r"[\w.-]+|[0-9a-f:.]+(%\w+)?", re.IGNORECASE)

# Cloud metadata services, which return the machine's credentials to any local client.
# In order: AWS and Google over IPv6, Alibaba Cloud, Azure. 169.254.169.254 is refused anyway,
# because it is link-local.
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
# https://cloud.google.com/compute/docs/metadata/querying-metadata
# https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16
_METADATA_ADDRESSES = frozenset(
    map(
        ipaddress.ip_address,
        ("fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16"),
    )
)

# IPv6 addresses that are translated or tunnelled to the IPv4 address in their last 32 bits:
# NAT64 (RFC 6052 and RFC 8215), and the deprecated IPv4-compatible and IPv4-translated addresses.
_TRANSLATED_NETWORKS = tuple(
    map(
        ipaddress.IPv6Network,
        ("64:ff9b::/96", "64:ff9b:1::/48", "::/96", "::ffff:0:0:0/96"),
    )
)
_ISATAP_PREFIXES = (0x5EFE, 0x200_5EFE)
"""Bits 64 to 95 of an ISATAP address, whose last 32 bits are an IPv4 address (RFC 5214)."""

_MAX_LABEL_LENGTH = 63
"""Maximum number of characters in a label of a domain name (RFC 1035)."""

_MAX_CA_BYTES = 16 << 20
"""Maximum size in bytes of a certificate file; system certificate files are smaller than 1 MiB."""


def parse_base_url(base_url: str, engine: str) -> SplitResult:
    """Parse a base URL.

    Raises:
        ConfigError: If the URL is not an http or https URL, contains a user name or a query, or has
            no valid host.
    """
    public_part = re.split("[?#]", base_url)[0].rpartition("@")[2][:100]  # the rest may be secret
    try:
        url = urlsplit(base_url.strip())
        host, port = url.hostname or "", url.port
        labels = host.removesuffix(".").split(".")
        is_domain_name = all(0 < len(label) <= _MAX_LABEL_LENGTH for label in labels)
        has_valid_host = _HOST_PATTERN.fullmatch(host) and is_domain_name and port != 0
        is_parsed = True
    except ValueError:
        # `urlsplit` and `port` raise ValueError for an invalid IPv6 address or port.
        url, has_valid_host, is_parsed = SplitResult("", "", "", "", ""), None, False
    if not is_parsed:
        problem = "has an invalid port or IPv6 address"
    elif url.scheme not in {"http", "https"}:
        problem = "must begin with https:// or http://"
    elif "@" in url.netloc:
        problem = "must not contain a user name"
    elif url.query or url.fragment:
        problem = "must not contain a query or a fragment"
    elif not has_valid_host:
        problem = "has no valid host"
    else:
        return url
    raise ConfigError(
        f"the base URL {public_part!r} of engine {engine!r} {problem}.",
        hint=Hint("set_base_url", engine=engine),
        engine=engine,
    )


def origin(url: SplitResult) -> tuple[str, str, int | None]:
    """Return the scheme, host and port of a URL.

    Raises:
        ValueError: If the port is invalid.
    """
    default_port = {"http": 80, "https": 443}.get(url.scheme)
    return url.scheme, (url.hostname or "").rstrip("."), url.port or default_port


def check_host(
    url: SplitResult, engine: str, *, has_key: bool, plain_http_hosts: tuple[str, ...]
) -> None:
    """Check that a host is allowed, and that a key may be sent to it.

    Raises:
        ConfigError: If the address is forbidden, or a key would be sent unencrypted to another
            machine.
    """
    host = url.hostname or ""
    if _is_forbidden(host):
        raise ConfigError(
            f"engine {engine!r}: {host!r} is a link-local or metadata address, which is refused.",
            hint=Hint("set_base_url", engine=engine),
            topic="refused-address",
            engine=engine,
        )
    if not has_key or url.scheme == "https" or _is_loopback(host):
        return
    if host not in {name.lower() for name in plain_http_hosts}:
        raise ConfigError(
            f"engine {engine!r}: the key would be sent to {host!r} without TLS.",
            hint="Use https://, or allow plain HTTP in config/gatewayx.toml:"
            f" [network] plain_http = [{host!r}].",
            topic="plain-http",
            engine=engine,
        )


def _parse_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def is_local_url(url: str) -> bool:
    """Return whether the host of a URL is this machine."""
    try:
        return _is_loopback(urlsplit(url).hostname or "")
    except ValueError:  # not a URL
        return False


def _is_loopback(host: str) -> bool:
    address = _parse_address(host)
    # Other names are not looked up, because they may resolve differently when the request is made.
    return host == "localhost" if address is None else address.is_loopback


def _is_forbidden(host: str) -> bool:
    return any(
        address.is_link_local or address in _METADATA_ADDRESSES for address in _addresses(host)
    )


def _addresses(host: str) -> Iterator[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """Yield the address of a host, and the IPv4 addresses that may receive its packets."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0].rstrip("."))  # without the zone
    except ValueError:
        # The system's resolver accepts "0xA9FEA9FE", "2852039166" and "0251.254.43518" as
        # addresses.
        if _NUMERIC_HOST_PATTERN.fullmatch(host):
            with contextlib.suppress(OSError):
                yield ipaddress.IPv4Address(socket.inet_aton(host.rstrip(".")))
        return
    yield address
    if isinstance(address, ipaddress.IPv6Address):
        embedded_addresses = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
        yield from filter(None, embedded_addresses)
        is_isatap = int(address) >> 32 & 0xFFFF_FFFF in _ISATAP_PREFIXES
        if is_isatap or any(address in network for network in _TRANSLATED_NETWORKS):
            yield ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)


def open_socket(address_info: aiohttp.AddrInfoType) -> socket.socket:
    """Open a socket for a resolved address, after a final check that it is allowed."""
    family, socket_type, protocol, _, socket_address = address_info
    # The address is checked after the lookup, because a name may resolve differently each time.
    if _is_forbidden(str(socket_address[0])):
        raise ForbiddenAddressError("a link-local or metadata address")
    return socket.socket(family, socket_type, protocol)


async def check_resolved(host: str) -> None:
    """Look a host up, and check that its addresses are allowed.

    `open_socket` is safer, because the name may resolve differently when it is looked up again, but
    only aiohttp accepts such a function.

    Raises:
        ForbiddenAddressError: If an address is a link-local or metadata address.
        OSError: If the host is not found.
    """
    addresses = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    if any(_is_forbidden(str(address[0])) for *_, address in addresses):
        raise ForbiddenAddressError("a link-local or metadata address")


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy for a connection.

    Attributes:
        url: The proxy's URL.
        authorization: The authorization header; empty if the proxy needs none.
    """

    url: str
    authorization: Secret

    @property
    def headers(self) -> dict[str, str]:
        """The headers for the proxy; the provider does not receive them."""
        return {"Proxy-Authorization": str(self.authorization)} if self.authorization else {}


def choose_proxy(url: SplitResult, network: Network, engine: str) -> Proxy | None:
    """Return the proxy for a URL, from the settings or else the environment.

    Raises:
        ConfigError: If the proxy is not an http or https URL.
    """
    host = url.hostname or ""
    if _is_loopback(host):  # a proxy would connect to itself
        return None
    # Imported on first use, because it imports http.client and email.
    from urllib.request import getproxies, proxy_bypass

    proxy_url = network.proxy
    # The proxy exceptions are those in `NO_PROXY`, or in the settings of macOS and Windows.
    if not proxy_url and not proxy_bypass(url.netloc):
        proxy_url = getproxies().get(url.scheme) or getproxies().get("all")
    if not proxy_url:
        return None
    proxy_parts = urlsplit(proxy_url if "://" in proxy_url else f"http://{proxy_url}")
    if proxy_parts.scheme not in {"http", "https"}:
        raise ConfigError(
            f"engine {engine!r}: the proxy for {host!r} must be an http or https URL, got"
            f" {proxy_parts.scheme!r}.",
            hint=HINTS["proxy"],
            engine=engine,
        )
    credentials, _, netloc = proxy_parts.netloc.rpartition("@")
    token = base64.b64encode(unquote(credentials).encode()).decode()
    return Proxy(
        f"{proxy_parts.scheme}://{netloc}", Secret(f"Basic {token}" if credentials else "")
    )


def ssl_context(ca_bundle: str | None) -> ssl.SSLContext:
    """Return an SSL context with the system's certificates and those in ``ca_bundle``.

    Raises:
        ConfigError: If the file cannot be read or contains no certificate.
    """
    context = _system_ssl_context()
    # aiohttp supports only this version; without this line, a server could choose HTTP/2.
    context.set_alpn_protocols(["http/1.1"])
    try:
        if ca_bundle:
            # OpenSSL itself would wait forever for a pipe or a terminal.
            certificates = read_limited(Path(ca_bundle).expanduser(), _MAX_CA_BYTES)
            context.load_verify_locations(cadata=certificates.decode("ascii", "ignore") or "empty")
    # A path with a NUL raises a ValueError, and an unknown user after `~` a RuntimeError.
    except (OSError, ValueError, RuntimeError) as error:
        is_content_error = isinstance(error, ssl.SSLError)
        reason = (
            "it contains no certificates" if is_content_error else getattr(error, "strerror", error)
        )
        raise ConfigError(
            f"network.ca_bundle must be a readable PEM file, got {ca_bundle!r}: {reason}.",
            hint=HINTS["tls"],
        ) from None
    return context


def _system_ssl_context() -> ssl.SSLContext:
    if sys.platform in {"darwin", "win32"} or not ssl.get_default_verify_paths().cafile:
        import truststore

        return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # This context has the same certificates but reads them only once. truststore 0.10 reads the
    # file again for every connection, which blocks the event loop for 34 ms.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_default_verify_paths()
    return context
