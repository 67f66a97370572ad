"""Translation of httpx and aiohttp exceptions into gateway errors without request data."""

from __future__ import annotations

import functools
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gatewayx_nb.errors import (
    ConfigError,
    DeadlineError,
    GatewayError,
    ProviderError,
    TransportError,
    classify,
)
from gatewayx_nb.secure_config import redact
from gatewayx_nb.transport.retry_headers import retry_after

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gatewayx_nb.secure_config import Secret


def base_url_mend(engine: str) -> str:
    """Return the line that sets an engine's base URL."""
    return f"%env GATEWAYX_{engine.upper()}_BASE_URL=https://host/v1"


@dataclass(frozen=True, slots=True)
class TransportErrors:
    """Converter of foreign exceptions, which hold the request and so the key."""

    engine: str
    host: str
    key: Secret
    proxied: bool

    def explain(self, fault: BaseException) -> BaseException:
        """Return the exception to raise instead of this one, outside its except clause.

        A cancellation stays the same but loses its traceback: its frames belong to httpx and
        aiohttp and have the headers among their locals.
        """
        chain = list(_chain(fault))
        if not isinstance(fault, Exception):
            fault.__cause__ = fault.__context__ = None
            return fault.with_traceback(None)
        detail = next((line for line in map(_line, reversed(chain)) if line), "")
        error = self._typed(_code(chain), redact(detail, [self.key]))
        names = " from ".join(f"{type(link).__module__}.{type(link).__name__}" for link in chain)
        error.__cause__ = OSError(redact(f"{names}: {detail}", [self.key]))
        return error

    def _typed(self, code: str, detail: str) -> GatewayError:
        if code == "forbidden":
            what = f"engine {self.engine!r}: {self.host!r} leads to {detail}, which is refused"
            return ConfigError(what, hint=base_url_mend(self.engine), engine=self.engine)
        if code == "url":
            what = f"engine {self.engine!r}: its URL cannot be read: {detail}"
            return ConfigError(what, hint=base_url_mend(self.engine), engine=self.engine)
        if code == "silence":
            return self.silent(None)
        if self.proxied and code in {"dns", "connect"}:
            code = "proxy"  # the only host that we look up and connect to ourselves
        return self.lost(code, f"{_LOST[code].format(self.host)}: {detail}")

    def lost(self, code: str, what: str) -> TransportError:
        """Return the error for a call without a complete response."""
        hint = MENDS.get(code, "Look again with: %gatewayx status {0}")
        return TransportError(
            f"engine {self.engine!r}: {what}",
            hint=hint.format(self.engine),
            engine=self.engine,
            code=code,
        )

    def silent(self, seconds: float | None) -> DeadlineError:
        """Return the error for a response that stopped arriving."""
        span = f" for {seconds:g} s" if seconds else ""
        return DeadlineError(
            f"engine {self.engine!r}: nothing has come from {self.host!r}{span}",
            hint=f"Look again with: %gatewayx status {self.engine}",
            engine=self.engine,
            code="silence",
        )

    def redirected(self, status: int, location: str) -> ProviderError:
        """Return the error for a redirect."""
        try:
            target = urlsplit(location).hostname or self.host
        except ValueError:
            target = "a place that cannot be read"
        return ProviderError(
            f"engine {self.engine!r}: {self.host!r} redirects to {target[:100]!r}; nothing was"
            " sent there, because redirects are not followed",
            hint=f"If the provider has moved: {base_url_mend(self.engine)}",
            engine=self.engine,
            status=status,
            code="redirect",
        )

    def compressed(self, status: int, encoding: str, headers: Mapping[str, str]) -> GatewayError:
        """Return the error for a response that is compressed although not requested."""
        return classify(status)(
            f"engine {self.engine!r}: the answer of {self.host!r} (HTTP {status}) is compressed"
            f" ({encoding[:40]!r}) although that was declined; it is not inflated",
            hint=base_url_mend(self.engine),
            engine=self.engine,
            status=status,
            code="compressed",
            retry_after=retry_after(headers, time.time()),
        )

    def too_large(self, limit: int) -> ProviderError:
        """Return the error for a response that exceeds the limit."""
        return ProviderError(
            f"engine {self.engine!r}: the answer of {self.host!r} is longer than {limit:,} bytes",
            hint="Ask for less with max_tokens.",
            engine=self.engine,
            code="too_large",
        )


_LOST = {
    "dns": "the host {0!r} cannot be found",
    "connect": "no connection with {0!r}",
    "proxy": "the proxy gives no connection with {0!r}",
    "tls": "no safe connection with {0!r}",
    "reset": "the connection with {0!r} broke",
    "protocol": "{0!r} does not speak HTTP",
    "internal": "the call to {0!r} failed",
}

MENDS = {
    "proxy": 'Set HTTPS_PROXY, or in config/gatewayx.toml: [network] proxy = "http://host:port"',
    "tls": 'Where a proxy signs, in config/gatewayx.toml: [network] ca_bundle = "/path/to/ca.pem"',
}


class ForbiddenAddressError(OSError):
    """A host name resolved to a forbidden address."""


@functools.cache
def _codes() -> dict[type[BaseException], str]:
    """Map each foreign class to the point of failure; a class not listed uses its base's.

    httpx-aiohttp 0.2.0 maps a refused connection, an unknown host and a reset before the response
    all to ``httpx.ConnectTimeout``, and a malformed status line to nothing, so aiohttp's own
    classes are checked first.
    """
    import aiohttp
    import httpx

    return {
        ForbiddenAddressError: "forbidden",
        ssl.SSLError: "tls",
        aiohttp.ClientSSLError: "tls",
        aiohttp.ServerFingerprintMismatch: "tls",
        aiohttp.ClientProxyConnectionError: "proxy",
        aiohttp.ClientHttpProxyError: "proxy",
        aiohttp.ClientConnectorDNSError: "dns",
        aiohttp.ClientConnectorError: "connect",
        aiohttp.ConnectionTimeoutError: "connect",
        aiohttp.ServerTimeoutError: "silence",
        aiohttp.ClientConnectionError: "reset",
        aiohttp.ClientPayloadError: "reset",
        aiohttp.ClientResponseError: "protocol",
        aiohttp.InvalidURL: "url",
        aiohttp.NonHttpUrlClientError: "url",
        aiohttp.ClientError: "reset",
        httpx.ConnectTimeout: "connect",
        httpx.PoolTimeout: "connect",
        httpx.ConnectError: "connect",
        httpx.TimeoutException: "silence",
        httpx.ProxyError: "proxy",
        httpx.NetworkError: "reset",
        httpx.UnsupportedProtocol: "url",
        httpx.InvalidURL: "url",
        httpx.HTTPError: "protocol",
        httpx.CookieConflict: "internal",
        httpx.StreamError: "internal",
    }


def _chain(fault: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and its causes, the innermost last."""
    while fault is not None:
        yield fault
        hidden = fault.__suppress_context__
        fault = fault.__cause__ or (None if hidden else fault.__context__)


def _code(chain: list[BaseException]) -> str:
    known = (_codes().get(cls) for link in reversed(chain) for cls in type(link).__mro__)
    return next((code for code in known if code), "internal")


def _line(fault: BaseException) -> str:
    return " ".join(str(fault).split())[:200]
