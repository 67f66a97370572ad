"""Command, by Cohere (https://docs.cohere.com/reference/chat)."""

from ..llm_engines import CohereChatEngine


class CohereEngine(CohereChatEngine):
    """Answers through the second version of Cohere's chat."""

    base_url = "https://api.cohere.com"
    model_name = "command-a-03-2025"
    embedding_model = "embed-v4.0"
