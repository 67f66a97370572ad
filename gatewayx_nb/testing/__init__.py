"""For tests of engines and of what is built on them: fakes, and a kit that engines must pass.

`check` runs an engine through the kit; `ScriptedEngine` stands in for a model; `Server` is a
provider on the loopback that answers as it is told, with the bytes of a `Dialect` or with others.
"""

from gatewayx_nb.testing.conformance import Broken, ConformanceError, Report, check
from gatewayx_nb.testing.dialects import (
    ANTHROPIC,
    CHAT,
    COHERE,
    DIALECTS,
    GEMINI,
    RESPONSES,
    Dialect,
    dialect_of,
    event,
)
from gatewayx_nb.testing.scripted import ScriptedEngine
from gatewayx_nb.testing.server import Server
from gatewayx_nb.testing.steps import (
    Cut,
    Gather,
    Repeat,
    Reset,
    Seen,
    Send,
    Split,
    Stall,
    Step,
    Tunnel,
    Wait,
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
    "Broken",
    "ConformanceError",
    "Cut",
    "Dialect",
    "Gather",
    "Repeat",
    "Report",
    "Reset",
    "ScriptedEngine",
    "Seen",
    "Send",
    "Server",
    "Split",
    "Stall",
    "Step",
    "Tunnel",
    "Wait",
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
