"""Cohere Command (https://docs.cohere.com/reference/chat)."""

from ..llm_engines import CohereChatEngine


class CohereEngine(CohereChatEngine):
    """Engine for version 2 of Cohere's Chat API."""

    base_url = "https://api.cohere.com"
    model_name = "command-a-03-2025"
    embedding_model = "embed-v4.0"
