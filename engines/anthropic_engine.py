"""Claude, by Anthropic (https://platform.claude.com/docs/en/api/messages)."""

from ..llm_engines import AnthropicMessagesEngine


class AnthropicEngine(AnthropicMessagesEngine):
    """Answers through Anthropic's Messages."""

    base_url = "https://api.anthropic.com"
    model_name = "claude-sonnet-5-5"
