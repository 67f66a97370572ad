"""Access control by the two ends of a connection."""

from dataclasses import dataclass, field

import anyio
import pytest

from gatewayx_nb.server.loopback import LoopbackOnly

HERE = ("127.0.0.1", 3001)
THERE = ("192.0.2.7", 3001)


@dataclass(frozen=True)
class Case:
    """A connection and the expected status; 0 if the application answers."""

    id: str
    status: int
    server: object = HERE
    client: object = HERE
    headers: list = field(default_factory=lambda: [(b"host", b"127.0.0.1:3001")])


CASES = [
    Case("this machine", 0),
    Case("of IPv6", 0, ("::1", 80), ("::1", 9)),
    Case("of IPv4 on a socket of IPv6", 0, ("::ffff:127.0.0.1", 80), ("::ffff:127.0.0.1", 9)),
    Case("another loopback address", 0, ("127.8.0.1", 80)),
    Case("bound elsewhere, asked from there", 403, THERE, THERE),
    Case("bound elsewhere, asked from here", 403, THERE, ("127.0.0.1", 9)),
    Case("asked from elsewhere", 403, HERE, THERE),
    Case("from elsewhere, on a socket of IPv6", 403, HERE, ("::ffff:192.0.2.7", 9)),
    Case("any address", 403, ("0.0.0.0", 80), HERE),
    Case("a Unix socket", 403, ("/run/x.sock", None), None),
    Case("no word of either end", 403, None, None),
    Case("a name", 403, ("localhost", 80), HERE),
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


def send_through(case, kind):
    """Return what the gate sent, or nothing if it let the connection in."""
    sent, entered = [], []

    async def app(scope, receive, send):
        entered.append(scope)

    async def send(message):
        sent.append(message)

    scope = {"type": kind, "server": case.server, "client": case.client, "headers": case.headers}
    anyio.run(LoopbackOnly(app), scope, None, send)
    assert bool(entered) == (not sent)
    return sent


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_only_loopback_connections_are_admitted(case):
    """Both ends, the only Host and every Origin must be loopback."""
    sent = send_through(case, "http")

    assert (sent[0]["status"] if sent else 0) == case.status


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_websockets_follow_the_same_rule(case):
    """A WebSocket follows the same rules, and a refused one is closed before it opens."""
    sent = send_through(case, "websocket")

    assert [message["type"] for message in sent] == ["websocket.close"] * bool(case.status)
