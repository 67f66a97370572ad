"""Translates aiohttp's exceptions into gateway errors that contain no request data."""

from __future__ import annotations

import functools
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from gatewayx_nb.errors import (
    ConfigError,
    DeadlineError,
    GatewayError,
    ProviderError,
    TransportError,
    classify,
)
from gatewayx_nb.hints import Hint, as_hint
from gatewayx_nb.secure_config import redact
from gatewayx_nb.transport.connection import MalformedBodyError
from gatewayx_nb.transport.retry_headers import retry_after

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gatewayx_nb.secure_config import Secret

ErrorT = TypeVar("ErrorT", bound=GatewayError)


@dataclass(frozen=True, slots=True)
class TransportErrors:
    """Converts aiohttp's exceptions, which contain the request and therefore the key.

    Attributes:
        engine: Name of the engine.
        host: Host and port of the provider.
        key: The key to redact.
        uses_proxy: Whether a proxy is used.
    """

    engine: str
    host: str
    key: Secret
    uses_proxy: bool

    def translate(self, error: BaseException) -> BaseException:
        """Return the exception that the caller raises instead, outside its ``except`` clause.

        A cancellation is returned without its traceback, because the headers are among the local
        variables of aiohttp's frames.
        """
        chain = list(_error_chain(error))
        if not isinstance(error, Exception):
            error.__cause__ = error.__context__ = None
            return error.with_traceback(None)
        lines = (_one_line(redact(str(link), [self.key])) for link in reversed(chain))
        detail = next(filter(None, lines), "")
        error = self._to_gateway_error(_failure_point(chain), detail)
        class_names = " from ".join(
            f"{type(link).__module__}.{type(link).__name__}" for link in chain
        )
        # Do not keep the exceptions themselves, because they refer to the request and its headers.
        error.__cause__ = OSError(redact(f"{class_names}: {detail}", [self.key]))
        return error

    @property
    def _base_url_hint(self) -> Hint:
        return Hint("set_base_url", engine=self.engine)

    @property
    def _show_engine_hint(self) -> Hint:
        return Hint("show_engine", engine=self.engine)

    def _to_gateway_error(self, code: str, detail: str) -> GatewayError:
        if code == "forbidden":
            problem = f"{self.host!r} resolves to {detail}, which is refused"
            return self._error(ConfigError, problem, self._base_url_hint)
        if code == "url":
            return self._error(
                ConfigError, f"the base URL is invalid: {detail}", self._base_url_hint
            )
        if code == "silence":
            return self.silent(None)
        if self.uses_proxy and code in {"dns", "connect"}:
            code = "proxy"  # this machine resolves and contacts only the proxy
        return self.connection_failed(code, f"{_PROBLEM_BY_CODE[code].format(self.host)}: {detail}")

    def _error(
        self, error_class: type[ErrorT], problem: str, hint: Hint, **fields: str | float | None
    ) -> ErrorT:
        message = f"engine {self.engine!r}: {problem}."
        return error_class(message, hint=hint, engine=self.engine, **fields)  # type: ignore[arg-type]

    def connection_failed(self, code: str, problem: str) -> TransportError:
        """Return the error for a call without a complete response."""
        return self._error(
            TransportError, problem, HINTS.get(code) or self._show_engine_hint, code=code
        )

    def silent(self, seconds: float | None) -> DeadlineError:
        """Return the error for a response that stopped arriving."""
        duration = f" for {seconds:g} s" if seconds else ""
        problem = f"no data received from {self.host!r}{duration}"
        return self._error(DeadlineError, problem, self._show_engine_hint, code="silence")

    def redirected(self, status: int, location: str) -> ProviderError:
        """Return the error for a redirect."""
        try:
            # Show only the host, because a redirect's path or query may contain a token.
            target = urlsplit(location).hostname or self.host
        except ValueError:
            target = "an invalid URL"
        problem = (
            f"{self.host!r} redirects to {target[:100]!r}; redirects are not followed, so nothing"
            " was sent there"
        )
        return self._error(
            ProviderError, problem, self._base_url_hint, status=status, code="redirect"
        )

    def compressed(self, status: int, encoding: str, headers: Mapping[str, str]) -> GatewayError:
        """Return the error for a response that is compressed although the request forbade it."""
        problem = (
            f"the response from {self.host!r} (HTTP {status}) is compressed ({encoding[:40]!r}),"
            " although the request asked for no compression"
        )
        error = self._error(classify(status), problem, self._base_url_hint, code="compressed")
        error.status, error.retry_after = status, retry_after(headers, time.time())
        return error

    def too_large(self, limit: int) -> ProviderError:
        """Return the error for a response that exceeds the limit."""
        problem = f"the response from {self.host!r} exceeds {limit:,} bytes"
        hint = as_hint("Limit the reply with max_tokens.")
        return self._error(ProviderError, problem, hint, code="too_large")


_PROBLEM_BY_CODE = {
    "dns": "the host {0!r} cannot be found",
    "connect": "cannot connect to {0!r}",
    "proxy": "the proxy cannot connect to {0!r}",
    "tls": "cannot establish a secure connection to {0!r}",
    "reset": "the connection to {0!r} was lost",
    "protocol": "{0!r} does not speak HTTP",
    "internal": "the call to {0!r} failed",
}

HINTS = {
    "proxy": as_hint(
        'Set HTTPS_PROXY, or add this to config/gatewayx.toml: [network] proxy = "http://host:port".'
    ),
    "tls": as_hint(
        "If a proxy re-signs certificates, add this to config/gatewayx.toml:"
        ' [network] ca_bundle = "/path/to/ca.pem".'
    ),
}
"""Hints by point of failure; the default hint is to show the engine's state."""


class ForbiddenAddressError(OSError):
    """A host name resolved to a forbidden address."""


@functools.cache
def _failure_points() -> dict[type[BaseException], str]:
    """Map exception classes to points of failure, which also apply to their subclasses."""
    import aiohttp

    # The order is irrelevant, because the exception's most specific class is used.
    classes: dict[str, tuple[type[BaseException], ...]] = {
        "forbidden": (ForbiddenAddressError,),
        "tls": (ssl.SSLError, aiohttp.ClientSSLError, aiohttp.ServerFingerprintMismatch),
        "proxy": (aiohttp.ClientProxyConnectionError, aiohttp.ClientHttpProxyError),
        "dns": (aiohttp.ClientConnectorDNSError,),
        "connect": (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError),
        "silence": (aiohttp.ServerTimeoutError,),
        "reset": (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, aiohttp.ClientError),
        "protocol": (aiohttp.ClientResponseError, MalformedBodyError),
        "url": (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError),
    }
    return {cls: code for code, group in classes.items() for cls in group}


def _error_chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and its causes, the innermost last."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _failure_point(chain: list[BaseException]) -> str:
    """Return the point of failure of the innermost exception, which is the most specific."""
    failure_points = (
        _failure_points().get(cls) for link in reversed(chain) for cls in type(link).__mro__
    )
    return next(filter(None, failure_points), "internal")


def _one_line(text: str) -> str:
    return " ".join(text.split())[:200]
