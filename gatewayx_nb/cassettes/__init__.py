"""Records and replays replies, in JSON lines files committed beside a notebook."""

from gatewayx_nb.cassettes.cassette import (
    MODES,
    Cassette,
    Mode,
    finish_all,
    parse_mode,
)
from gatewayx_nb.cassettes.cassette_file import check_file_name
from gatewayx_nb.cassettes.entry import (
    CassetteEntry,
    RecordedChunk,
    entry_of,
    result_images_of,
    vectors_of,
)
from gatewayx_nb.cassettes.index import CassetteRequest, RecordingSlot
from gatewayx_nb.cassettes.pruning import PruneReport, prune_open, settle
from gatewayx_nb.cassettes.redaction import Redaction, load_redact
from gatewayx_nb.cassettes.request_body import RequestBody, body_of, listing_body
from gatewayx_nb.cassettes.usage_report import CassetteUsage, read_usage

__all__ = [
    "MODES",
    "Cassette",
    "CassetteEntry",
    "CassetteRequest",
    "CassetteUsage",
    "Mode",
    "PruneReport",
    "RecordedChunk",
    "RecordingSlot",
    "Redaction",
    "RequestBody",
    "body_of",
    "check_file_name",
    "entry_of",
    "finish_all",
    "listing_body",
    "load_redact",
    "parse_mode",
    "prune_open",
    "read_usage",
    "result_images_of",
    "settle",
    "vectors_of",
]
