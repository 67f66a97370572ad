"""OpenAI (https://platform.openai.com/docs/api-reference)."""

from ..llm_engines import OpenAIResponsesEngine


class OpenAIEngine(OpenAIResponsesEngine):
    """Engine for OpenAI's Responses API, with embeddings."""

    base_url = "https://api.openai.com/v1"
    model_name = "gpt-6.1-sol"
    prices = "openai"
    features = OpenAIResponsesEngine.features | {"embed"}
    embedding_model = "text-embedding-3-small"
    embedding_batch = 256
    has_batches = True
