"""Building blocks of engine files: base classes, HTTP APIs, data types and errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayx_nb._lazy import attach_modules
from gatewayx_nb.errors import (
    AuthenticationError,
    ConfigError,
    ContentFilterError,
    ContextLengthError,
    DeadlineError,
    GatewayError,
    ModelNotFoundError,
    ProviderError,
    QuotaError,
    RateLimitError,
    TransportError,
    TruncatedError,
    UnsupportedFeatureError,
    UsageError,
    classify,
)
from gatewayx_nb.images import Image
from gatewayx_nb.llm_engines.engine import (
    FEATURES,
    SAMPLING,
    LLMEngine,
    SchemaMode,
    ToolRules,
    call_generate,
)
from gatewayx_nb.llm_engines.http import Dialect, HTTPEngine, Parser, whole_body
from gatewayx_nb.llm_engines.keywords import check_keywords
from gatewayx_nb.llm_engines.message_parts import sendable
from gatewayx_nb.llm_engines.provider_errors import ProviderErrors
from gatewayx_nb.llm_engines.tool_declarations import chosen_tools
from gatewayx_nb.llm_engines.unsupported_params import (
    RejectedParameterError,
    check_supported,
    model_token_limit,
    takes,
    without_param,
)
from gatewayx_nb.messages import (
    Carried,
    Message,
    ModelInfo,
    Part,
    Request,
    ToolCall,
    ToolDefinition,
    ToolResult,
)
from gatewayx_nb.replies import Chunk, Citation, Details, FinishReason, Logprob, Reply, Usage
from gatewayx_nb.secure_config import Secret

if TYPE_CHECKING:
    from gatewayx_nb.llm_engines.anthropic_messages import AnthropicMessagesEngine
    from gatewayx_nb.llm_engines.batches import (
        BatchFormat,
        BatchInterface,
        BatchResult,
        RemoteBatch,
        parse_line,
        row_error,
        row_prefix,
        was_refused,
        without_interface,
    )
    from gatewayx_nb.llm_engines.cohere_chat import CohereChatEngine
    from gatewayx_nb.llm_engines.gemini import GeminiEngine
    from gatewayx_nb.llm_engines.openai_chat import (
        OpenAICompatibleEngine,
        chat_messages,
    )
    from gatewayx_nb.llm_engines.openai_responses import OpenAIResponsesEngine
    from gatewayx_nb.llm_engines.tool_calls import ToolCallAssembler

__all__ = [
    "FEATURES",
    "SAMPLING",
    "AnthropicMessagesEngine",
    "AuthenticationError",
    "BatchFormat",
    "BatchInterface",
    "BatchResult",
    "Carried",
    "Chunk",
    "Citation",
    "CohereChatEngine",
    "ConfigError",
    "ContentFilterError",
    "ContextLengthError",
    "DeadlineError",
    "Details",
    "Dialect",
    "FinishReason",
    "GatewayError",
    "GeminiEngine",
    "HTTPEngine",
    "Image",
    "LLMEngine",
    "Logprob",
    "Message",
    "ModelInfo",
    "ModelNotFoundError",
    "OpenAICompatibleEngine",
    "OpenAIResponsesEngine",
    "Parser",
    "Part",
    "ProviderError",
    "ProviderErrors",
    "QuotaError",
    "RateLimitError",
    "RejectedParameterError",
    "RemoteBatch",
    "Reply",
    "Request",
    "SchemaMode",
    "Secret",
    "ToolCall",
    "ToolCallAssembler",
    "ToolDefinition",
    "ToolResult",
    "ToolRules",
    "TransportError",
    "TruncatedError",
    "UnsupportedFeatureError",
    "Usage",
    "UsageError",
    "call_generate",
    "chat_messages",
    "check_keywords",
    "check_supported",
    "chosen_tools",
    "classify",
    "model_token_limit",
    "parse_line",
    "row_error",
    "row_prefix",
    "sendable",
    "takes",
    "was_refused",
    "whole_body",
    "without_interface",
    "without_param",
]

# Imported on first use, because few programs use more than one API.
__getattr__ = attach_modules(
    __name__,
    {
        "anthropic_messages": ["AnthropicMessagesEngine"],
        "batches": [
            "BatchFormat",
            "BatchInterface",
            "BatchResult",
            "RemoteBatch",
            "parse_line",
            "row_error",
            "row_prefix",
            "was_refused",
            "without_interface",
        ],
        "cohere_chat": ["CohereChatEngine"],
        "gemini": ["GeminiEngine"],
        "openai_chat": ["OpenAICompatibleEngine", "chat_messages"],
        "openai_responses": ["OpenAIResponsesEngine"],
        "tool_calls": ["ToolCallAssembler"],
    },
)
