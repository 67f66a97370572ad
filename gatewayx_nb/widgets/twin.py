"""What a saved notebook shows of a view: the last answers, as plain HTML, without a kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayx_nb import rendering
from gatewayx_nb.comparisons import fault, said
from gatewayx_nb.messages import Reply
from gatewayx_nb.widgets.pages import told

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gatewayx_nb.comparisons import Outcome, Record

_BACK = "Run this cell again for the controls."
_LONGEST_PROMPT = 2_000


class Twin:
    """One display below a view, updated after each run.

    Args:
        call: The call that made the view, for its line.
    """

    def __init__(self) -> None:
        from IPython.display import DisplayHandle

        self._handle = DisplayHandle()
        self._is_shown = False
        self._answers: list[tuple[Outcome, str]] = []
        self._records: Sequence[Record] = []
        self._bundle = self._made([])

    def show(self) -> None:
        """Put it into the output of the cell that runs."""
        self._is_shown = True
        self._handle.display(self._bundle, raw=True)

    def update(self, records: Sequence[Record]) -> None:
        """Show the answers of a run; what it shows already costs nothing."""
        if list(map(id, records)) == list(map(id, self._records)):
            return
        self._records = records
        self._bundle = self._made(records)
        if self._is_shown:
            self._handle.update(self._bundle, raw=True)

    def _made(self, records: Sequence[Record]) -> dict[str, str]:
        self._answers = [self._answered(one) for record in records for one in record.comparison]
        answers = iter([page for _, page in self._answers])
        text = "\n\n".join([*map(_text, records), _BACK])
        page = "".join(_page(record, answers) for record in records)
        line = f'<div style="opacity:.7">{_BACK}</div>'
        return {"text/plain": text, "text/html": f'<div class="gatewayx-twin">{page}{line}</div>'}

    def _answered(self, one: Outcome) -> tuple[Outcome, str]:
        """Render an answer, once: a long one takes seconds, and a vote leaves it as it is."""
        for known in self._answers:
            if known[0] is one:
                return known
        return one, _answer(one)


def _text(record: Record) -> str:
    compared = record.comparison
    answers = [
        f"{rendering.plain(label)}\n{'-' * len(label)}\n{rendering.plain(said(one) or fault(one))}"
        for label, one in zip(compared.labels, compared, strict=True)
    ]
    return "\n\n".join([_asked(record), *answers])


def _page(record: Record, answers: Iterator[str]) -> str:
    compared = record.comparison
    columns = [
        rendering.column_html(label, next(answers), marks, fault(one))
        for label, one, marks in zip(compared.labels, compared, _marks(record), strict=True)
    ]
    asked = rendering.escape(_asked(record))
    prompt = f'<div style="white-space:pre-wrap;margin-bottom:.5em">{asked}</div>'
    return prompt + rendering.columns_html(columns)


def _answer(one: Outcome) -> str:
    footer = told(one) if isinstance(one, Reply) else ""
    return rendering.reply_html(said(one), footer)


def _asked(record: Record) -> str:
    prompt = rendering.plain(record.comparison.prompt)
    return prompt if len(prompt) <= _LONGEST_PROMPT else f"{prompt[:_LONGEST_PROMPT]} …"


def _marks(record: Record) -> list[list[str]]:
    """Give what each column is best in, and the vote."""
    votes = [
        record.verdict.of(at) if record.verdict else "" for at in range(len(record.comparison))
    ]
    return [
        [*best, vote] if vote == "better" else list(best)
        for best, vote in zip(record.comparison.marks(), votes, strict=True)
    ]
