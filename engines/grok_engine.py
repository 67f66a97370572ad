"""Grok, by xAI (https://docs.x.ai/docs/api-reference)."""

from ..llm_engines import OpenAICompatibleEngine


class GrokEngine(OpenAICompatibleEngine):
    """Answers through xAI's OpenAI-compatible interface."""

    base_url = "https://api.x.ai/v1"
    model_name = "grok-4.6"
    max_tokens_field = "max_completion_tokens"
