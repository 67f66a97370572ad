"""Every option, on every kind of engine, either changes the request or is refused by name."""

from dataclasses import dataclass

import pytest

from gatewayx_nb.calls import OPTIONS
from gatewayx_nb.errors import UnsupportedFeatureError

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
    "0000000d49444154789c6360f8cfc0f01f0005050102cfd4d9360000000049454e44ae426082"
)

SENT = {
    "system": "Be brief.",
    "temperature": 0.5,
    "top_p": 0.5,
    "max_tokens": 7,
    "stop": "END",
    "seed": 3,
    "effort": "low",
    "cache": "auto",
    "images": PNG,
    "schema": {"type": "object", "properties": {"city": {"type": "string"}}},
    "params": {"unheard_of": 1},
}
"""A value for each option that is sent."""

NOT_SENT = {
    "model", "timeout", "max_cost", "allow_unpriced", "fallback", "chat", "fresh", "renew",
    "tools", "tool_choice", "max_turns", "approve",
}  # fmt: skip
"""Options that decide whether, when and where a call is sent; other tests check their effect."""

NAMED = """\
    async def generate(self, prompt, *, temperature=None, style=None):
        return prompt
"""
ANY = """\
    async def generate(self, prompt, **kwargs):
        return prompt
"""


@dataclass(frozen=True)
class Kind:
    """A kind of engine.

    Attributes:
        refused: The options that it refuses.
    """

    engine: str
    refused: frozenset[str]


KINDS = [
    Kind("openai", frozenset()),  # Chat Completions and Responses
    Kind("deepseek", frozenset({"cache"})),  # an entry of engines.toml
    Kind("anthropic", frozenset({"seed"})),
    Kind("google", frozenset({"cache"})),
    Kind("cohere", frozenset({"cache"})),
    Kind("local", frozenset({"images", "params", "effort", "cache"})),
    Kind("mock", frozenset({"images", "params"})),
    Kind("any", frozenset({"images"})),  # a file whose `generate` takes **kwargs
    Kind(
        "named",
        frozenset({"system", "top_p", "max_tokens", "stop", "seed", "effort", "cache"})
        | {"images", "params"},
    ),
]


def test_the_table_has_every_option():
    """A new option needs a value in this test, or a reason why it is not sent."""
    assert set(SENT) | NOT_SENT == set(OPTIONS)


@pytest.mark.parametrize("option", SENT)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.engine)
def test_an_option_changes_what_is_sent_or_is_refused_by_name(project, kind, option):
    """Each option either changes the request or raises an error that names it."""
    project.set_keys(
        "".join(
            f"GATEWAYX_{name}_API_KEY={name.lower()}-0123456789abcdef\n"
            for name in ("OPENAI", "DEEPSEEK", "ANTHROPIC", "GOOGLE", "COHERE")
        )
    )
    project.engine("any", body=ANY)
    project.engine("named", body=NAMED)
    with project.pool() as pool:
        model = kind.engine if kind.engine == "local" else f"{kind.engine}:m"
        plain = pool.preview("Hello", model).body
        if option in kind.refused:
            with pytest.raises(UnsupportedFeatureError) as caught:
                pool.preview("Hello", model, **{option: SENT[option]})
            name = "unheard_of" if option == "params" else option.removesuffix("s")
            assert name in caught.value.message
        else:
            body = pool.preview("Hello", model, **{option: SENT[option]}).body
            assert body != plain
