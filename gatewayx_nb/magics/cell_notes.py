"""Creates notes on input that may not have been typed as intended; they follow the answer."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

from typing_extensions import override

from gatewayx_nb import prompts
from gatewayx_nb.calls import Note
from gatewayx_nb.html import MUTED
from gatewayx_nb.text import shorten

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gatewayx_nb.commands import LineParser

_MAX_QUOTED_LENGTH = 60
"""Maximum number of characters of quoted input in a note."""

_NUMBER = re.compile(r"-?[0-9.]+")


class MutedNote(Note):
    """A note that is displayed less prominently than the answer above it."""

    @override
    def _repr_html_(self) -> str:
        return f'<div class="gatewayx-line" style="{MUTED}">{super()._repr_html_()}</div>'


def sent_as_typed(text: str) -> Iterator[str]:
    """Yield a note on expressions in double braces, which are not evaluated."""
    expressions = prompts.unfilled(text)
    if expressions:
        verb = "was" if len(expressions) == 1 else "were"
        yield (
            f"{_summarize(expressions)} {verb} sent as typed: only names, attributes and items are"
            " filled in."
        )


def late_options(line_parser: LineParser, prompt: str) -> Iterator[str]:
    """Yield a note on words in a line's prompt that look like options.

    Args:
        line_parser: The parser of the line.
        prompt: The prompt as typed. A short option is noted only if a number follows it.
    """
    flags = []
    for word, next_word in itertools.pairwise([*prompt.split(), ""]):
        flag = word.partition("=")[0]
        is_option = flag.startswith("--") or (word == flag and _NUMBER.fullmatch(next_word))
        if is_option and line_parser.action_for_flag(flag):
            flags.append(flag)
    if flags:
        verb = "is" if len(set(flags)) == 1 else "are"
        yield f"{_summarize(flags)} {verb} part of the prompt: options come before it."


def _summarize(texts: Sequence[str]) -> str:
    """Return the first string as code, and the second string or the number of further strings."""
    first, *other_texts = (
        f"`{shorten(text, _MAX_QUOTED_LENGTH)}`" for text in dict.fromkeys(texts)
    )
    if len(other_texts) > 1:
        return f"{first} and {len(other_texts)} more"
    return " and ".join([first, *other_texts])
