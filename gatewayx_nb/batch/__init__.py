"""Maps, which send one prompt for each of many rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayx_nb._lazy import attach_modules
from gatewayx_nb.batch.row_caller import RowCaller

if TYPE_CHECKING:
    from gatewayx_nb.batch.batch_engines import (
        LOOK_BACK,
        BatchEngines,
        CollectedRow,
        PreparedRow,
        ResultSink,
    )
    from gatewayx_nb.batch.batch_job import BatchJob
    from gatewayx_nb.batch.embedding import MANY_TEXTS, embed_stored
    from gatewayx_nb.batch.figures import MapFigures, MapUsage, duration
    from gatewayx_nb.batch.identity import job_digest
    from gatewayx_nb.batch.lane import Lane, RowCall, SpentError
    from gatewayx_nb.batch.map_host import MapHost
    from gatewayx_nb.batch.map_job import MapJob, MapStatus
    from gatewayx_nb.batch.map_options import ImapKeywords, Output, parse_age
    from gatewayx_nb.batch.map_plan import MapEngines, MapPlan
    from gatewayx_nb.batch.map_preview import Flow, MapPreview
    from gatewayx_nb.batch.map_session import MapSession
    from gatewayx_nb.batch.mapped_replies import MappedReplies
    from gatewayx_nb.batch.progress_views import (
        LogView,
        ProgressView,
        TerminalBar,
        default_view,
        use_view,
    )
    from gatewayx_nb.batch.row_prompt import RowPrompt, RowRequest, with_row_options
    from gatewayx_nb.batch.rows import Row, Rows, read_rows
    from gatewayx_nb.batch.stored_outcomes import decode_outcome, encode_outcome

__all__ = [
    "LOOK_BACK",
    "MANY_TEXTS",
    "BatchEngines",
    "BatchJob",
    "CollectedRow",
    "Flow",
    "ImapKeywords",
    "Lane",
    "LogView",
    "MapEngines",
    "MapFigures",
    "MapHost",
    "MapJob",
    "MapPlan",
    "MapPreview",
    "MapSession",
    "MapStatus",
    "MapUsage",
    "MappedReplies",
    "Output",
    "PreparedRow",
    "ProgressView",
    "ResultSink",
    "Row",
    "RowCall",
    "RowCaller",
    "RowPrompt",
    "RowRequest",
    "Rows",
    "SpentError",
    "TerminalBar",
    "decode_outcome",
    "default_view",
    "duration",
    "embed_stored",
    "encode_outcome",
    "job_digest",
    "parse_age",
    "read_rows",
    "use_view",
    "with_row_options",
]

# A call needs only `RowCaller`; the other modules are imported when they are first used.
__getattr__ = attach_modules(
    __name__,
    {
        "batch_engines": ["LOOK_BACK", "BatchEngines", "CollectedRow", "PreparedRow", "ResultSink"],
        "batch_job": ["BatchJob"],
        "embedding": ["MANY_TEXTS", "embed_stored"],
        "figures": ["MapFigures", "MapUsage", "duration"],
        "identity": ["job_digest"],
        "lane": ["Lane", "RowCall", "SpentError"],
        "map_host": ["MapHost"],
        "map_job": ["MapJob", "MapStatus"],
        "map_options": ["ImapKeywords", "Output", "parse_age"],
        "map_plan": ["MapEngines", "MapPlan"],
        "map_preview": ["Flow", "MapPreview"],
        "map_session": ["MapSession"],
        "mapped_replies": ["MappedReplies"],
        "progress_views": ["LogView", "ProgressView", "TerminalBar", "default_view", "use_view"],
        "row_prompt": ["RowPrompt", "RowRequest", "with_row_options"],
        "rows": ["Row", "Rows", "read_rows"],
        "stored_outcomes": ["decode_outcome", "encode_outcome"],
    },
)
