"""Testing tools for engines, and for code that uses them: fakes and a conformance kit.

`check` runs the conformance kit on an engine; `ScriptedEngine` replaces a model; `Server` is a
loopback provider with scripted responses, for example from a `DialectSample`.
"""

from gatewayx_nb.testing.conformance import BrokenRule, ConformanceError, Report, check
from gatewayx_nb.testing.dialects import (
    ANTHROPIC,
    CHAT,
    COHERE,
    DIALECTS,
    GEMINI,
    RESPONSES,
    DialectSample,
    dialect_of,
    event,
)
from gatewayx_nb.testing.scripted import ScriptedEngine
from gatewayx_nb.testing.server import Server
from gatewayx_nb.testing.steps import (
    CloseConnection,
    ReceivedRequest,
    Repeat,
    Reset,
    Send,
    Split,
    Stall,
    Step,
    Tunnel,
    Wait,
    WaitForRequests,
    chunk,
    gzipped,
    head,
    html,
    redirect,
    reply,
    stream,
    stream_head,
)

__all__ = [
    "ANTHROPIC",
    "CHAT",
    "COHERE",
    "DIALECTS",
    "GEMINI",
    "RESPONSES",
    "BrokenRule",
    "CloseConnection",
    "ConformanceError",
    "DialectSample",
    "ReceivedRequest",
    "Repeat",
    "Report",
    "Reset",
    "ScriptedEngine",
    "Send",
    "Server",
    "Split",
    "Stall",
    "Step",
    "Tunnel",
    "Wait",
    "WaitForRequests",
    "check",
    "chunk",
    "dialect_of",
    "event",
    "gzipped",
    "head",
    "html",
    "redirect",
    "reply",
    "stream",
    "stream_head",
]
