"""Anthropic Claude (https://platform.claude.com/docs/en/api/messages)."""

from ..llm_engines import AnthropicMessagesEngine


class AnthropicEngine(AnthropicMessagesEngine):
    """Engine for Anthropic's Messages API."""

    base_url = "https://api.anthropic.com"
    model_name = "claude-sonnet-5-5"
