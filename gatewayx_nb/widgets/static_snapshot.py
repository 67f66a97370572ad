"""Shows the last replies of a view as plain HTML, for a saved notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayx_nb.comparisons import (
    answer_calls_html,
    answer_details_html,
    answer_text,
    error_text,
)
from gatewayx_nb.html import column_html, columns_html, escape, reply_html
from gatewayx_nb.replies import Reply
from gatewayx_nb.text import plain
from gatewayx_nb.widgets.pages import reply_footer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gatewayx_nb.comparisons import ComparisonRecord, Outcome

_RERUN_NOTE = "Run this cell again for the controls."
_MAX_PROMPT_LENGTH = 2_000


class StaticSnapshot:
    """A single display below a view, updated after each run."""

    def __init__(self) -> None:
        from IPython.display import DisplayHandle

        self._handle = DisplayHandle()
        self._is_shown = False
        self._rendered_outcomes: list[tuple[Outcome, str]] = []  # with their HTML
        self._records: Sequence[ComparisonRecord] = []
        self._bundle = self._render([])

    def show(self) -> None:
        """Add the display to the output of the running cell."""
        self._is_shown = True
        self._handle.display(self._bundle, raw=True)

    def update(self, records: Sequence[ComparisonRecord]) -> None:
        """Show the replies of a run, unless they are already shown."""
        # Records are compared by identity, because every change creates a new record, and comparing
        # long answers is slow.
        if list(map(id, records)) == list(map(id, self._records)):
            return
        self._records = records
        self._bundle = self._render(records)
        if self._is_shown:
            self._handle.update(self._bundle, raw=True)

    def _render(self, records: Sequence[ComparisonRecord]) -> dict[str, str]:
        outcomes = [outcome for record in records for outcome in record.comparison]
        self._rendered_outcomes = list(map(self._with_html, outcomes))
        answers = iter([html for _, html in self._rendered_outcomes])
        text = "\n\n".join([*map(_record_text, records), _RERUN_NOTE])
        html = "".join(_record_html(record, answers) for record in records)
        note = f'<div style="opacity:.7">{_RERUN_NOTE}</div>'
        return {"text/plain": text, "text/html": f'<div class="gatewayx-twin">{html}{note}</div>'}

    def _with_html(self, outcome: Outcome) -> tuple[Outcome, str]:
        """Return an outcome with its HTML, which is kept because rendering may take seconds."""
        for rendered_outcome in self._rendered_outcomes:
            if rendered_outcome[0] is outcome:
                return rendered_outcome
        footer = reply_footer(outcome) if isinstance(outcome, Reply) else ""
        return outcome, reply_html(
            answer_text(outcome),
            footer,
            above=answer_calls_html(outcome),
            below=answer_details_html(outcome),
        )


def _record_text(record: ComparisonRecord) -> str:
    comparison = record.comparison
    answers = [
        f"{plain(label)}\n{'-' * len(label)}\n{plain(answer_text(outcome) or error_text(outcome))}"
        for label, outcome in zip(comparison.labels, comparison, strict=True)
    ]
    return "\n\n".join([_shortened_prompt(record), *answers])


def _record_html(record: ComparisonRecord, answers: Iterator[str]) -> str:
    comparison = record.comparison
    columns = [
        column_html(label, next(answers), badges, error_text(outcome))
        for label, outcome, badges in zip(
            comparison.labels, comparison, record.marks(), strict=True
        )
    ]
    text = escape(_shortened_prompt(record))
    prompt = f'<div style="white-space:pre-wrap;margin-bottom:.5em">{text}</div>'
    return prompt + columns_html(columns)


def _shortened_prompt(record: ComparisonRecord) -> str:
    prompt = plain(record.comparison.prompt)
    return prompt if len(prompt) <= _MAX_PROMPT_LENGTH else f"{prompt[:_MAX_PROMPT_LENGTH]} …"
