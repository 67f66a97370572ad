"""The answers of several models to one prompt, with their metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

from typing_extensions import override

from gatewayx_nb.calls import to_frame
from gatewayx_nb.errors import GatewayError, RequestError
from gatewayx_nb.html import column_html, columns_html, reply_html
from gatewayx_nb.messages import ModelRef
from gatewayx_nb.replies import Reply, details_html, details_text
from gatewayx_nb.text import plain, shorten
from gatewayx_nb.tool_steps import calls_html, calls_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import pandas as pd

Outcome = Reply | GatewayError
"""The result of one call: its reply or its error."""

_DTYPES = {
    "time_to_first": "float64",
    "latency": "float64",
    "input_tokens": "Int64",
    "output_tokens": "Int64",
    "tokens_per_second": "float64",
    "cost": "float64",
}
"""The dtypes of the numeric columns; without them, a column of missing values would be `object`."""


@dataclass(frozen=True, slots=True, repr=False)
class Comparison(Sequence[Outcome]):
    """The replies or errors of several models, in the order of their references.

    >>> import gatewayx_nb as gx
    >>> both = gx.compare("Say this.", models=["mock", "mock:other"])
    >>> [reply.text for reply in both]
    ['[mock] Say this.', '[mock] Say this.']

    Attributes:
        prompt: The prompt.
        references: The model references, exactly as the caller passed them.
        outcomes: The replies or errors; the reply of a stopped call is ``interrupted``.
    """

    prompt: str
    references: tuple[str, ...]
    outcomes: tuple[Outcome, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """Unique names of the columns; a repeated reference becomes ``mock (2)``."""
        return unique_labels(self.references)

    @property
    def replies(self) -> list[Reply]:
        """The complete replies, in order."""
        replies = (outcome for outcome in self.outcomes if isinstance(outcome, Reply))
        return [reply for reply in replies if not reply.interrupted]

    @property
    def fastest(self) -> Reply | None:
        """The complete reply with the lowest latency."""
        return min(self.replies, key=lambda reply: reply.latency, default=None)

    @property
    def cheapest(self) -> Reply | None:
        """The complete reply with the lowest known cost; the first one on a tie."""
        priced_replies = [(reply.cost, reply) for reply in self.replies if reply.cost is not None]
        # The key is needed, because `min` would compare the replies if their costs are equal.
        return min(priced_replies, key=lambda pair: pair[0])[1] if priced_replies else None

    def marks(self) -> list[list[str]]:
        """Return for each column the metrics in which it is best: ``fastest``, ``cheapest``.

        A metric is omitted if it is known for only one column or equal in all columns. Several
        columns may share the lowest cost, or the lowest latency rounded to tenths of a second.
        """
        indices_by_mark = {
            "fastest": self._best_columns(lambda reply: round(reply.latency, 1)),
            "cheapest": self._best_columns(lambda reply: reply.cost),
        }
        indices = range(len(self.outcomes))
        return [
            [mark for mark in indices_by_mark if index in indices_by_mark[mark]]
            for index in indices
        ]

    def to_frame(self) -> pd.DataFrame:
        """Return a DataFrame with a row for each answer; unknown values are missing.

        ``latency`` and ``time_to_first`` are in seconds, ``cost`` is US dollars as a float, and
        ``tokens_per_second`` is output tokens divided by the total latency.

        Raises:
            ConfigError: If pandas is not installed.
        """
        return to_frame(self.rows()).astype(_DTYPES)

    def rows(self) -> list[dict[str, object]]:
        """Return the rows of `to_frame` as dicts; unknown values are ``None``."""
        columns = zip(self.labels, self.references, self.outcomes, strict=True)
        return [
            {"label": label, **_outcome_row(reference, outcome)}
            for label, reference, outcome in columns
        ]

    def _best_columns(self, metric: Callable[[Reply], object]) -> set[int]:
        """Return the columns with the lowest metric, or an empty set if all columns tie."""
        values = {
            index: value
            for index, outcome in enumerate(self.outcomes)
            if isinstance(outcome, Reply) and not outcome.interrupted
            if (value := metric(outcome)) is not None
        }
        lowest_value = min(values.values(), default=None)  # type: ignore[type-var]
        best_indices = {index for index, value in values.items() if value == lowest_value}
        return best_indices if len(best_indices) < len(values) else set()

    @overload
    def __getitem__(self, index: int | str) -> Outcome: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Outcome, ...]: ...
    @override
    def __getitem__(self, index: int | str | slice) -> Outcome | tuple[Outcome, ...]:
        if not isinstance(index, str):
            return self.outcomes[index]
        if index not in self.labels:
            labels = ", ".join(map(repr, self.labels))
            raise KeyError(f"no answer is labelled {index!r}; the labels are {labels}")
        return self.outcomes[self.labels.index(index)]

    @override
    def __len__(self) -> int:
        return len(self.outcomes)

    @override
    def __repr__(self) -> str:
        columns = zip(map(plain, self.labels), self.outcomes, strict=True)
        summaries = (f"{label}: {_outcome_summary(outcome)}" for label, outcome in columns)
        return f"Comparison({', '.join(summaries)})"

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        """Return the answers as text, one below another, and as safe HTML, side by side.

        Timings are omitted because they differ in each run; `to_frame` has them.
        """
        columns = list(zip(map(plain, self.labels), self.outcomes, strict=True))
        texts = [
            f"{label}\n{'-' * len(label)}\n{_outcome_text(outcome)}" for label, outcome in columns
        ]
        cells = [
            column_html(
                label,
                reply_html(
                    answer_text(outcome),
                    above=answer_calls_html(outcome),
                    below=answer_details_html(outcome),
                ),
                error=error_text(outcome),
            )
            for label, outcome in columns
        ]
        return {"text/plain": "\n\n".join(texts), "text/html": columns_html(cells)}


def unique_labels(references: Iterable[str]) -> tuple[str, ...]:
    """Return a unique label for each reference.

    >>> unique_labels(["mock", "grok", "mock"])
    ('mock', 'grok', 'mock (2)')
    """
    counts: Counter[str] = Counter()
    labels = []
    for reference in references:
        counts[reference] += 1
        labels.append(f"{reference} ({counts[reference]})" if counts[reference] > 1 else reference)
    return tuple(labels)


def tokens_per_second(reply: Reply) -> float | None:
    """Return the output tokens per second of total latency; ``None`` if unknown."""
    tokens = reply.usage.output_tokens
    return None if tokens is None or reply.latency <= 0 else tokens / reply.latency


def _outcome_row(reference: str, outcome: Outcome) -> dict[str, object]:
    # The rows of replies and errors have the same keys in the same order, because the keys become
    # the columns of a DataFrame or a CSV file.
    names = ("engine", "model", "text", "error", "finish_reason", "interrupted", *_DTYPES)
    row: dict[str, object] = dict.fromkeys(names)
    if isinstance(outcome, GatewayError):
        ref = ModelRef.parse(reference)
        row |= {"engine": outcome.engine or ref.engine, "model": outcome.model or ref.model}
        row |= {"text": answer_text(outcome) or None, "error": error_text(outcome)}
        return row | {"interrupted": False}
    fields = ("engine", "model", "text", "finish_reason", "interrupted", "time_to_first", "latency")
    return row | {
        **{name: getattr(outcome, name) for name in fields},
        "input_tokens": outcome.usage.input_tokens,
        "output_tokens": outcome.usage.output_tokens,
        "tokens_per_second": tokens_per_second(outcome),
        # pandas has no decimal dtype.
        "cost": None if outcome.cost is None else float(outcome.cost),
    }


def answer_text(outcome: Outcome) -> str:
    """Return the text of a reply, or the partial text of an error."""
    if isinstance(outcome, Reply):
        return outcome.text
    return outcome.partial if isinstance(outcome, RequestError) else ""


def answer_calls_html(outcome: Outcome) -> str:
    """Return the tool calls of a reply as safe HTML; empty if it has none."""
    return calls_html(outcome.steps) if isinstance(outcome, Reply) else ""


def answer_details_html(outcome: Outcome) -> str:
    """Return the images and notes of a reply as safe HTML; empty if it has none."""
    return details_html(outcome) if isinstance(outcome, Reply) else ""


def error_text(outcome: Outcome) -> str:
    """Return the error's class and message with its hint; empty for a reply."""
    if isinstance(outcome, Reply):
        return ""
    return f"{type(outcome).__name__}: {outcome.describe()}"


def _outcome_text(outcome: Outcome) -> str:
    details = details_text(outcome) if isinstance(outcome, Reply) else error_text(outcome)
    calls = calls_text(outcome.steps) if isinstance(outcome, Reply) else ""
    return "\n".join(filter(None, [calls, plain(answer_text(outcome)), plain(details)]))


def _outcome_summary(outcome: Outcome) -> str:
    return repr(shorten(outcome.text, 30)) if isinstance(outcome, Reply) else type(outcome).__name__
