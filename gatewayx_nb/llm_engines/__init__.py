"""What an engine file builds on: the contract, the HTTP bases, and the values they speak in."""

from gatewayx_nb.llm_engines.engine import LLMEngine
from gatewayx_nb.llm_engines.gemini import GeminiEngine
from gatewayx_nb.llm_engines.http import Dialect, HTTPEngine, Parser
from gatewayx_nb.llm_engines.openai_chat import OpenAICompatibleEngine
from gatewayx_nb.llm_engines.openai_responses import OpenAIResponsesEngine
from gatewayx_nb.messages import Chunk, FinishReason, Message, ModelInfo, Reply, Request, Usage
from gatewayx_nb.secure_config import Secret

__all__ = [
    "Chunk",
    "Dialect",
    "FinishReason",
    "GeminiEngine",
    "HTTPEngine",
    "LLMEngine",
    "Message",
    "ModelInfo",
    "OpenAICompatibleEngine",
    "OpenAIResponsesEngine",
    "Parser",
    "Reply",
    "Request",
    "Secret",
    "Usage",
]
