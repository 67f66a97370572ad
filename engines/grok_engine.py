"""xAI Grok (https://docs.x.ai/docs/api-reference)."""

from ..llm_engines import OpenAIResponsesEngine


class GrokEngine(OpenAIResponsesEngine):
    """Engine for xAI's Responses API."""

    base_url = "https://api.x.ai/v1"
    model_name = "grok-4.6"
    prices = "x-ai"
