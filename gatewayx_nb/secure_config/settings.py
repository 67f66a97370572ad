"""``config/gatewayx.toml``, read and checked."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Network:
    """How connections leave this machine.

    Attributes:
        proxy: URL of a proxy, instead of those of the environment.
        ca_bundle: PEM file of further certificate authorities.
        plain_http: Hosts, other than this machine, that a key may reach without TLS.
    """

    proxy: str | None = None
    ca_bundle: str | None = None
    plain_http: tuple[str, ...] = ()
