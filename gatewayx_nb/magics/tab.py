"""What IPython asks when Tab is pressed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatewayx_nb.magics import completion

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.completer import CompletionContext, SimpleMatcherResult
    from IPython.core.interactiveshell import InteractiveShell

    from gatewayx_nb.commands import Session


def matchers(session: Session, shell: InteractiveShell) -> list[Callable[..., Any]]:
    """Give what to add to a shell's matchers; nothing before IPython 8.6, which has no such ones.

    Where the text is ours, no other matcher's words are offered.
    """
    try:
        from IPython.core.completer import SimpleCompletion, context_matcher
    except ImportError:
        return []

    @context_matcher(identifier="gatewayx")  # type: ignore[untyped-decorator]
    def complete(context: CompletionContext) -> SimpleMatcherResult:
        offered = completion.offer(session, _up_to_cursor(context), shell.user_ns)
        if offered is None:
            return {"completions": []}
        found = [SimpleCompletion(word, type="gatewayx") for word in offered.words]
        return {"completions": found, "matched_fragment": offered.fragment, "suppress": True}

    return [complete]


def _up_to_cursor(context: CompletionContext) -> str:
    """Give the cell up to the cursor."""
    above = context.full_text.split("\n")[: context.cursor_line]
    return "\n".join([*above, context.line_with_cursor[: context.cursor_position]])
