"""Language models in the next notebook cell: drop in a key or an engine file, no code, no restart.

>>> import gatewayx_nb as gx
>>> print(gx.ask("Say this", model="mock"))
[mock] Say this

Names are imported on first use: importing the package does not load IPython or an HTTP client,
read a file or open a socket.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayx_nb._lazy import attach

if TYPE_CHECKING:
    from gatewayx_nb._api import (
        aask,
        acompare,
        aembed,
        aevaluate,
        ahealth,
        aimap,
        amap,
        apreview,
        apreview_map,
        aresume,
        ask,
        astream,
        asubmit,
        cassette,
        chat,
        compare,
        embed,
        evaluate,
        health,
        history,
        imap,
        map,  # noqa: A004 - the name of the function
        models,
        preview,
        preview_map,
        reload,
        resume,
        status,
        stream,
        submit,
        usage,
        use,
    )
    from gatewayx_nb._version import __version__  # noqa: F401 - not in `__all__`, by convention
    from gatewayx_nb.background import Job, job, jobs
    from gatewayx_nb.batch import BatchJob, MapJob, MappedReplies, MapPreview, MapStatus
    from gatewayx_nb.calls import Table
    from gatewayx_nb.cassettes import Cassette
    from gatewayx_nb.comparisons import Comparison
    from gatewayx_nb.conversations import Chat
    from gatewayx_nb.engine_pool import CallPreview, EngineHealth, EnginePool, ModelUsage, pool
    from gatewayx_nb.errors import (
        AuthenticationError,
        BudgetError,
        CassetteMissError,
        ConfigError,
        ContentFilterError,
        ContextLengthError,
        DeadlineError,
        EngineError,
        EngineLoadError,
        EngineNotFoundError,
        GatewayError,
        MissingKeyError,
        ModelNotFoundError,
        ProviderError,
        QuotaError,
        RateLimitError,
        RequestError,
        TransportError,
        TruncatedError,
        TrustError,
        UnsupportedFeatureError,
        UsageError,
    )
    from gatewayx_nb.evaluation import (
        Agreement,
        Evaluation,
        judge,
        load_evaluation,
        prefer,
        preview_evaluation,
        rows_needed,
        scorers,
    )
    from gatewayx_nb.function_tools import tool
    from gatewayx_nb.hints import Hint
    from gatewayx_nb.images import Image
    from gatewayx_nb.llm_engines import LLMEngine
    from gatewayx_nb.magics import load_ipython_extension, unload_ipython_extension
    from gatewayx_nb.mcp_client import MCPServerStatus, MCPTool
    from gatewayx_nb.mcp_server import MCPServer, mcp
    from gatewayx_nb.messages import Carried, Message, ModelInfo, ToolCall, ToolResult
    from gatewayx_nb.model_registry import EngineStatus
    from gatewayx_nb.replies import Chunk, Citation, Logprob, RateLimits, Reply, Usage
    from gatewayx_nb.server import NotebookServer, serve
    from gatewayx_nb.storage import LedgerEntry, UsageTotals
    from gatewayx_nb.tool_steps import Step
    from gatewayx_nb.weights import pull
    from gatewayx_nb.widgets import compare_view, evaluation_view, picker

__all__ = [
    "Agreement",
    "AuthenticationError",
    "BatchJob",
    "BudgetError",
    "CallPreview",
    "Carried",
    "Cassette",
    "CassetteMissError",
    "Chat",
    "Chunk",
    "Citation",
    "Comparison",
    "ConfigError",
    "ContentFilterError",
    "ContextLengthError",
    "DeadlineError",
    "EngineError",
    "EngineHealth",
    "EngineLoadError",
    "EngineNotFoundError",
    "EnginePool",
    "EngineStatus",
    "Evaluation",
    "GatewayError",
    "Hint",
    "Image",
    "Job",
    "LLMEngine",
    "LedgerEntry",
    "Logprob",
    "MCPServer",
    "MCPServerStatus",
    "MCPTool",
    "MapJob",
    "MapPreview",
    "MapStatus",
    "MappedReplies",
    "Message",
    "MissingKeyError",
    "ModelInfo",
    "ModelNotFoundError",
    "ModelUsage",
    "NotebookServer",
    "ProviderError",
    "QuotaError",
    "RateLimitError",
    "RateLimits",
    "Reply",
    "RequestError",
    "Step",
    "Table",
    "ToolCall",
    "ToolResult",
    "TransportError",
    "TruncatedError",
    "TrustError",
    "UnsupportedFeatureError",
    "Usage",
    "UsageError",
    "UsageTotals",
    "aask",
    "acompare",
    "aembed",
    "aevaluate",
    "ahealth",
    "aimap",
    "amap",
    "apreview",
    "apreview_map",
    "aresume",
    "ask",
    "astream",
    "asubmit",
    "cassette",
    "chat",
    "compare",
    "compare_view",
    "embed",
    "evaluate",
    "evaluation_view",
    "health",
    "history",
    "imap",
    "job",
    "jobs",
    "judge",
    "load_evaluation",
    "load_ipython_extension",
    "map",
    "mcp",
    "models",
    "picker",
    "pool",
    "prefer",
    "preview",
    "preview_evaluation",
    "preview_map",
    "pull",
    "reload",
    "resume",
    "rows_needed",
    "scorers",
    "serve",
    "status",
    "stream",
    "submit",
    "tool",
    "unload_ipython_extension",
    "usage",
    "use",
]

_MODULES = {
    "_version": ["__version__"],
    "background": ["Job", "job", "jobs"],
    "batch": ["BatchJob", "MapJob", "MapPreview", "MapStatus", "MappedReplies"],
    "calls": ["Table"],
    "cassettes": ["Cassette"],
    "comparisons": ["Comparison"],
    "conversations": ["Chat"],
    # `EnginePool` and `pool` come from `_api`, which chooses the display of their maps.
    "engine_pool": ["CallPreview", "EngineHealth", "ModelUsage"],
    # `evaluate` and `aevaluate` come from `_api`, too.
    "evaluation": [
        "Agreement",
        "Evaluation",
        "judge",
        "load_evaluation",
        "prefer",
        "preview_evaluation",
        "rows_needed",
        "scorers",
    ],
    "errors": [
        "AuthenticationError",
        "BudgetError",
        "CassetteMissError",
        "ConfigError",
        "ContentFilterError",
        "ContextLengthError",
        "DeadlineError",
        "EngineError",
        "EngineLoadError",
        "EngineNotFoundError",
        "GatewayError",
        "MissingKeyError",
        "ModelNotFoundError",
        "ProviderError",
        "QuotaError",
        "RateLimitError",
        "RequestError",
        "TransportError",
        "TruncatedError",
        "TrustError",
        "UnsupportedFeatureError",
        "UsageError",
    ],
    "function_tools": ["tool"],
    "hints": ["Hint"],
    "images": ["Image"],
    "llm_engines": ["LLMEngine"],
    "magics": ["load_ipython_extension", "unload_ipython_extension"],
    "mcp_client": ["MCPServerStatus", "MCPTool"],
    "mcp_server": ["MCPServer", "mcp"],
    "messages": ["Carried", "Message", "ModelInfo", "ToolCall", "ToolResult"],
    "model_registry": ["EngineStatus"],
    "replies": ["Chunk", "Citation", "Logprob", "RateLimits", "Reply", "Usage"],
    "storage": ["LedgerEntry", "UsageTotals"],
    "server": ["NotebookServer", "serve"],
    "tool_steps": ["Step"],
    "weights": ["pull"],
    "widgets": ["compare_view", "evaluation_view", "picker"],
}
"""The names that are not methods of the default pool, by module."""

__getattr__, __dir__ = attach(
    __name__,
    dict.fromkeys(__all__, f"{__name__}._api")
    | {name: f"{__name__}.{module}" for module, names in _MODULES.items() for name in names},
)
