"""Records and replays replies, in JSON lines files committed beside a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayx_nb._lazy import attach_modules

if TYPE_CHECKING:
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

# Imported on first use, because most calls are neither recorded nor replayed.
__getattr__ = attach_modules(
    __name__,
    {
        "cassette": ["MODES", "Cassette", "Mode", "finish_all", "parse_mode"],
        "cassette_file": ["check_file_name"],
        "entry": ["CassetteEntry", "RecordedChunk", "entry_of", "result_images_of", "vectors_of"],
        "index": ["CassetteRequest", "RecordingSlot"],
        "pruning": ["PruneReport", "prune_open", "settle"],
        "redaction": ["Redaction", "load_redact"],
        "request_body": ["RequestBody", "body_of", "listing_body"],
        "usage_report": ["CassetteUsage", "read_usage"],
    },
)
