"""Tab completion for IPython."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatewayx_nb.magics import completion

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.completer import CompletionContext, SimpleMatcherResult
    from IPython.core.interactiveshell import InteractiveShell

    from gatewayx_nb.commands import Session


def matchers(session: Session, shell: InteractiveShell) -> list[Callable[..., Any]]:
    """Return the matchers to add to a shell; none before IPython 8.6, which lacks this API.

    For this package's own syntax, completions of other matchers are suppressed.
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
    """Return the cell's text up to the cursor."""
    above = context.full_text.split("\n")[: context.cursor_line]
    return "\n".join([*above, context.line_with_cursor[: context.cursor_position]])
