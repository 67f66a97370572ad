"""What an engine file builds on: the contract, the HTTP bases, and the values they speak in."""

from gatewayx_nb.llm_engines.engine import LLMEngine
from gatewayx_nb.messages import Chunk, FinishReason, Message, ModelInfo, Reply, Request, Usage
from gatewayx_nb.secure_config import Secret

__all__ = [
    "Chunk",
    "FinishReason",
    "LLMEngine",
    "Message",
    "ModelInfo",
    "Reply",
    "Request",
    "Secret",
    "Usage",
]
