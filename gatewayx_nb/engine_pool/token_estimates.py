"""Estimates the number of tokens in a request, for rate limits and cost limits."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gatewayx_nb.messages import Request

_CHARACTERS_PER_TOKEN = 4
"""OpenAI's rule of thumb for English text; other text has more tokens.

https://help.openai.com/en/articles/4936856-what-are-tokens-and-how-to-count-them
"""

_MAX_CARRIED_LENGTH = 50_000
"""Maximum number of characters to count in each carried string, which may be an image."""


def estimate_request_tokens(request: Request) -> int:
    """Estimate the tokens in a request, without its reply."""
    return estimate_tokens(texts_of(request))


def texts_of(request: Request) -> list[str]:
    """Return all text in a request: prompts, tools, their calls and results, and carried data."""
    texts = [request.system or "", *(message.content for message in request.messages)]
    tool_calls = (call for message in request.messages for call in message.tool_calls)
    tool_results = (result for message in request.messages for result in message.tool_results)
    texts += [f"{call.id}{call.name}{call.arguments}" for call in tool_calls]
    texts += [f"{result.id}{result.name}" for result in tool_results]
    texts += [
        f"{tool.name}{tool.description}{json.dumps(tool.parameters, default=repr)}"
        for tool in request.tools
    ]
    carried_turns = (message.carried for message in request.messages if message.carried)
    return texts + [text for turn in carried_turns for text in _strings(turn.data)]


def _strings(value: object) -> Iterator[str]:
    """Yield the strings in JSON data, cut to `_MAX_CARRIED_LENGTH`; longer strings are not text."""
    match value:
        case str():
            yield value[:_MAX_CARRIED_LENGTH]
        case Mapping():
            for item in value.values():
                yield from _strings(item)
        case list():
            for item in value:
                yield from _strings(item)


def estimate_tokens(texts: Iterable[str]) -> int:
    """Estimate the number of tokens in English text."""
    return math.ceil(sum(map(len, texts)) / _CHARACTERS_PER_TOKEN)
