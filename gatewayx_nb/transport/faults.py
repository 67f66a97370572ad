"""What can go wrong on the way, as errors of ours that hold nothing of the request."""

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
from gatewayx_nb.retries import retry_after
from gatewayx_nb.secure_config import redact

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gatewayx_nb.secure_config import Secret


def base_url_mend(engine: str) -> str:
    """Give the line that sets an engine's base URL."""
    return f"%env GATEWAYX_{engine.upper()}_BASE_URL=https://host/v1"


@dataclass(frozen=True, slots=True)
class Faults:
    """Makes our errors out of foreign ones, which hold the request and so the key."""

    engine: str
    host: str
    key: Secret
    proxied: bool

    def explain(self, fault: BaseException) -> BaseException:
        """Give what to raise in the place of this fault, outside of its except clause.

        A cancellation stays itself and loses its traceback: the frames in it are httpx's and
        aiohttp's, with the headers among their locals.
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
            return ConfigError(what, mend=base_url_mend(self.engine), engine=self.engine)
        if code == "url":
            what = f"engine {self.engine!r}: its URL cannot be read: {detail}"
            return ConfigError(what, mend=base_url_mend(self.engine), engine=self.engine)
        if code == "silence":
            return self.silent(None)
        if self.proxied and code in {"dns", "connect"}:
            code = "proxy"  # the only host that we ourselves looked up and called
        return self.lost(code, f"{_LOST[code].format(self.host)}: {detail}")

    def lost(self, code: str, what: str) -> TransportError:
        """Give the error of a call that got no whole answer."""
        mend = MENDS.get(code, "Look again with: %gatewayx status {0}")
        return TransportError(
            f"engine {self.engine!r}: {what}",
            mend=mend.format(self.engine),
            engine=self.engine,
            code=code,
        )

    def silent(self, seconds: float | None) -> DeadlineError:
        """Give the error of an answer that stopped coming."""
        span = f" for {seconds:g} s" if seconds else ""
        return DeadlineError(
            f"engine {self.engine!r}: nothing has come from {self.host!r}{span}",
            mend=f"Look again with: %gatewayx status {self.engine}",
            engine=self.engine,
            code="silence",
        )

    def redirected(self, status: int, location: str) -> ProviderError:
        """Give the error of an answer that points elsewhere."""
        try:
            target = urlsplit(location).hostname or self.host
        except ValueError:
            target = "a place that cannot be read"
        return ProviderError(
            f"engine {self.engine!r}: {self.host!r} redirects to {target[:100]!r}; nothing was"
            " sent there, because redirects are not followed",
            mend=f"If the provider has moved: {base_url_mend(self.engine)}",
            engine=self.engine,
            status=status,
            code="redirect",
        )

    def compressed(self, status: int, encoding: str, headers: Mapping[str, str]) -> GatewayError:
        """Give the error of an answer that is compressed although that was declined."""
        return classify(status)(
            f"engine {self.engine!r}: the answer of {self.host!r} (HTTP {status}) is compressed"
            f" ({encoding[:40]!r}) although that was declined; it is not inflated",
            mend=base_url_mend(self.engine),
            engine=self.engine,
            status=status,
            code="compressed",
            retry_after=retry_after(headers, time.time()),
        )

    def too_large(self, limit: int) -> ProviderError:
        """Give the error of an answer that does not end."""
        return ProviderError(
            f"engine {self.engine!r}: the answer of {self.host!r} is longer than {limit:,} bytes",
            mend="Ask for less with max_tokens.",
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
    """A name led to an address that nobody may be sent to."""


@functools.cache
def _codes() -> dict[type[BaseException], str]:
    """Say for each foreign class where the call failed; a class not named counts as its base.

    httpx-aiohttp 0.2.0 maps a refused connection, an unknown host and a reset before the answer
    all to ``httpx.ConnectTimeout``, and a malformed status line to nothing, so that aiohttp's own
    classes are asked first.
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
    """Give a fault and what it came from, the innermost last."""
    while fault is not None:
        yield fault
        hidden = fault.__suppress_context__
        fault = fault.__cause__ or (None if hidden else fault.__context__)


def _code(chain: list[BaseException]) -> str:
    known = (_codes().get(cls) for link in reversed(chain) for cls in type(link).__mro__)
    return next((code for code in known if code), "internal")


def _line(fault: BaseException) -> str:
    return " ".join(str(fault).split())[:200]
