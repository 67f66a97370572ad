from collections.abc import Callable
from dataclasses import dataclass

import pytest

from gatewayx_nb.errors import ConfigError
from gatewayx_nb.llm_engines import (
    AnthropicMessagesEngine,
    CohereChatEngine,
    GeminiEngine,
    LLMEngine,
    OpenAICompatibleEngine,
    OpenAIResponsesEngine,
    check_keywords,
)


class AnyKeywordEngine(LLMEngine):
    """Engine that may read any keyword from `self.options`."""


class ExplicitKeywordEngine(LLMEngine):
    """Engine whose constructor names all its keywords."""

    def __init__(self, api_key="", *, voice=""):
        super().__init__(api_key)


class KwargsEngine(OpenAICompatibleEngine):
    """Engine whose constructor passes all keywords on."""

    def __init__(self, api_key, **kwargs):
        super().__init__(api_key, **kwargs)


class DeclaredKeywordEngine(LLMEngine):
    """Engine that declares its keywords in a class attribute."""

    keywords = frozenset({"voice"})


@dataclass(frozen=True)
class Case:
    """An engine, a keyword, and the expected error; empty if the keyword is accepted."""

    engine: Callable
    keyword: str
    expected_message: str = ""


@pytest.mark.parametrize(
    "case",
    [
        Case(AnyKeywordEngine, "anything"),
        Case(KwargsEngine, "anything"),
        Case(ExplicitKeywordEngine, "voice"),
        Case(ExplicitKeywordEngine, "voise", "Did you mean 'voice'"),
        Case(DeclaredKeywordEngine, "voice"),
        Case(DeclaredKeywordEngine, "voise", "Did you mean 'voice'"),
        Case(AnthropicMessagesEngine, "version"),
        Case(GeminiEngine, "version"),
        Case(OpenAIResponsesEngine, "api"),
        *(
            Case(engine, "base_ur", "Did you mean 'base_url'")
            for engine in (
                AnthropicMessagesEngine,
                CohereChatEngine,
                GeminiEngine,
                OpenAICompatibleEngine,
                OpenAIResponsesEngine,
            )
        ),
    ],
    ids=lambda case: f"{case.engine.__name__}-{case.keyword}",
)
def test_unknown_keywords_are_refused(case):
    """An engine accepts the keywords that it names, or any keyword if it names none."""
    check_keywords(case.engine, ["base_url", "model"], "engine")
    if not case.expected_message:
        check_keywords(case.engine, [case.keyword], "engine")
        return
    with pytest.raises(ConfigError, match=case.expected_message):
        check_keywords(case.engine, [case.keyword], "engine")
