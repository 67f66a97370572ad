"""Access control by the addresses of a connection and its headers."""

from dataclasses import dataclass, field

import anyio
import pytest

from gatewayx_nb.server.loopback import LoopbackMiddleware

LOOPBACK = ("127.0.0.1", 3001)
EXTERNAL = ("192.0.2.7", 3001)


@dataclass(frozen=True)
class Case:
    """A connection and the expected status; 0 if the application answers."""

    id: str
    status: int
    server: object = LOOPBACK
    client: object = LOOPBACK
    headers: list = field(default_factory=lambda: [(b"host", b"127.0.0.1:3001")])


CASES = [
    Case("this machine", 0),
    Case("IPv6", 0, ("::1", 80), ("::1", 9)),
    Case("IPv4 on an IPv6 socket", 0, ("::ffff:127.0.0.1", 80), ("::ffff:127.0.0.1", 9)),
    Case("another loopback address", 0, ("127.8.0.1", 80)),
    Case("external server, external client", 403, EXTERNAL, EXTERNAL),
    Case("external server, loopback client", 403, EXTERNAL, ("127.0.0.1", 9)),
    Case("loopback server, external client", 403, LOOPBACK, EXTERNAL),
    Case(
        "loopback server, external client on an IPv6 socket", 403, LOOPBACK, ("::ffff:192.0.2.7", 9)
    ),
    Case("server on all addresses", 403, ("0.0.0.0", 80), LOOPBACK),
    Case("Unix socket", 403, ("/run/x.sock", None), None),
    Case("unknown addresses", 403, None, None),
    Case("host name instead of an address", 403, ("localhost", 80), LOOPBACK),
    Case("no Host", 421, headers=[]),
    Case("two Hosts", 421, headers=[(b"host", b"localhost"), (b"host", b"localhost")]),
    Case(
        "two Origins",
        403,
        headers=[
            (b"host", b"localhost"),
            (b"origin", b"http://localhost"),
            (b"origin", b"http://evil.example"),
        ],
    ),
]


def send_through_gate(case, scope_type):
    """Return the messages that the gate sent, or an empty list if it admitted the connection."""
    messages, admitted = [], []

    async def app(scope, receive, send):
        admitted.append(scope)

    async def send(message):
        messages.append(message)

    scope = {
        "type": scope_type,
        "server": case.server,
        "client": case.client,
        "headers": case.headers,
    }
    anyio.run(LoopbackMiddleware(app), scope, None, send)
    assert bool(admitted) == (not messages)
    return messages


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_only_loopback_connections_are_admitted(case):
    """A request is refused unless both addresses, the only Host and each Origin are loopback."""
    messages = send_through_gate(case, "http")

    assert (messages[0]["status"] if messages else 0) == case.status


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_refused_websockets_are_closed(case):
    """WebSockets follow the same rules as requests; a refused one is closed, never accepted."""
    messages = send_through_gate(case, "websocket")

    assert [message["type"] for message in messages] == ["websocket.close"] * bool(case.status)
