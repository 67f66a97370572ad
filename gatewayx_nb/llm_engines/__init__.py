"""What an engine file builds on: the contract, the HTTP bases, and the values they speak in."""

from gatewayx_nb.llm_engines.anthropic_messages import AnthropicMessagesEngine
from gatewayx_nb.llm_engines.cohere_chat import CohereChatEngine
from gatewayx_nb.llm_engines.engine import FEATURES, SAMPLING, LLMEngine
from gatewayx_nb.llm_engines.gemini import GeminiEngine
from gatewayx_nb.llm_engines.http import Dialect, HTTPEngine, Parser
from gatewayx_nb.llm_engines.keywords import check_keywords
from gatewayx_nb.llm_engines.openai_chat import OpenAICompatibleEngine
from gatewayx_nb.llm_engines.openai_responses import OpenAIResponsesEngine
from gatewayx_nb.llm_engines.rejected import RejectedParameterError, without
from gatewayx_nb.messages import (
    Chunk,
    FinishReason,
    Image,
    Message,
    ModelInfo,
    Reply,
    Request,
    ToolCall,
    Usage,
)
from gatewayx_nb.secure_config import Secret

__all__ = [
    "FEATURES",
    "SAMPLING",
    "AnthropicMessagesEngine",
    "Chunk",
    "CohereChatEngine",
    "Dialect",
    "FinishReason",
    "GeminiEngine",
    "HTTPEngine",
    "Image",
    "LLMEngine",
    "Message",
    "ModelInfo",
    "OpenAICompatibleEngine",
    "OpenAIResponsesEngine",
    "Parser",
    "RejectedParameterError",
    "Reply",
    "Request",
    "Secret",
    "ToolCall",
    "Usage",
    "check_keywords",
    "without",
]
