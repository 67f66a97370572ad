"""Finds models of a judge's family, because a judge may favour the answers of its own family."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gatewayx_nb.messages import ModelRef

if TYPE_CHECKING:
    from collections.abc import Iterable

_WORDS_BY_FAMILY = {
    "claude": "claude anthropic",
    "command": "command cohere c4ai aya",
    "deepseek": "deepseek",
    "gemini": "gemini gemma google palm",
    "glm": "glm zai zhipu chatglm",
    "gpt": "gpt chatgpt openai codex davinci o1 o3 o4",
    "granite": "granite ibm",
    "grok": "grok xai",
    "kimi": "kimi moonshot moonshotai",
    "llama": "llama meta codellama",
    "minimax": "minimax",
    "mistral": "mistral mistralai mixtral ministral magistral codestral devstral pixtral voxtral",
    "nova": "nova amazon titan",
    "phi": "phi microsoft",
    "qwen": "qwen qwq qvq alibaba tongyi",
    "smollm": "smollm",
    "sonar": "sonar perplexity",
}
"""Words that occur in the names of the models and engines of each family."""

_FAMILY_BY_WORD = {
    word: family for family, words in _WORDS_BY_FAMILY.items() for word in words.split()
}


def same_family(judge_model: str, models: Iterable[str]) -> list[str]:
    """Return the models that belong to the same family as a judge.

    A model tends to prefer the answers of its own family: https://arxiv.org/abs/2404.13076.

    >>> same_family("openrouter:anthropic/claude-sonnet-4.5", ["grok", "anthropic", "claude-opus"])
    ['anthropic', 'claude-opus']

    Args:
        judge_model: Reference of the judge, or the name of its model.
        models: References or names of models.
    """
    family = _family(judge_model)
    return [model for model in dict.fromkeys(models) if family and _family(model) == family]


def _family(reference: str) -> str:
    """Return the family of a model, or the first word of its name if the family is not known."""
    ref = ModelRef.parse(reference)
    names = [name for name in (ref.model, ref.engine) if name]
    words = [word for name in names for word in re.findall(r"[a-z0-9]+", name.lower())]
    for word in words:
        # The version may follow without a hyphen, as in "llama3".
        if family := _FAMILY_BY_WORD.get(word) or _FAMILY_BY_WORD.get(word.rstrip("0123456789")):
            return family
    return next((letters for word in words if (letters := word.rstrip("0123456789"))), "")
