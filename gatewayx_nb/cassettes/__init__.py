"""Recording and replay of replies, as JSON lines files committed beside a notebook."""

from gatewayx_nb.cassettes.cassette import (
    MODES,
    Cassette,
    Mode,
    RecordedRequest,
    RecordingSlot,
    mode_of,
)
from gatewayx_nb.cassettes.entry import (
    CassetteEntry,
    RecordedChunk,
    RequestBody,
    body_of,
    entry_of,
    vectors_of,
)
from gatewayx_nb.cassettes.redaction import Redaction, load_redact

__all__ = [
    "MODES",
    "Cassette",
    "CassetteEntry",
    "Mode",
    "RecordedChunk",
    "RecordedRequest",
    "RecordingSlot",
    "Redaction",
    "RequestBody",
    "body_of",
    "entry_of",
    "load_redact",
    "mode_of",
    "vectors_of",
]
