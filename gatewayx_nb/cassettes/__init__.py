"""Records and replays replies, in JSON lines files committed beside a notebook."""

from gatewayx_nb.cassettes.cassette import (
    MODES,
    Cassette,
    CassetteRequest,
    Mode,
    RecordingSlot,
    parse_mode,
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
from gatewayx_nb.cassettes.tape import check_file_name

__all__ = [
    "MODES",
    "Cassette",
    "CassetteEntry",
    "CassetteRequest",
    "Mode",
    "RecordedChunk",
    "RecordingSlot",
    "Redaction",
    "RequestBody",
    "body_of",
    "check_file_name",
    "entry_of",
    "load_redact",
    "parse_mode",
    "vectors_of",
]
