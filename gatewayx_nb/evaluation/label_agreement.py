"""Compares the labels of two raters, such as a judge and a person."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from gatewayx_nb.calls import Table, text_columns
from gatewayx_nb.errors import UsageError
from gatewayx_nb.evaluation.agreement import cohen_kappa
from gatewayx_nb.prompts import is_missing
from gatewayx_nb.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gatewayx_nb.evaluation.intervals import Interval

_MAX_LABELS = 50
_MAX_LISTED_LABELS = 4
"""Maximum number of labels in an error."""

_TRUE_LABELS = {"yes", "good", "true", "1", "1.0", "pass", "y"}
_FALSE_LABELS = {"no", "bad", "false", "0", "0.0", "fail", "n"}


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well two raters agree.

    Attributes:
        first: Name of the first rater, in the rows of the table.
        second: Name of the second rater, in the columns of the table.
        labels: The labels, in the order of the rows and columns.
        counts: The number of cells with each pair of labels.
        n: Number of cells that both have rated.
        observed: The share of cells on which they agree.
        kappa: Cohen's kappa, the agreement beyond chance; ``None`` if there is only one label.
        interval: The 95 % interval of kappa; ``None`` if kappa is ``None``.
    """

    first: str
    second: str
    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    n: int
    observed: float
    kappa: float | None
    interval: Interval | None

    def table(self) -> Table[Sequence[str]]:
        """Return the confusion table."""
        heading = f"{self.first} \\ {self.second}"
        rows = [
            [label, *map(str, counts)]
            for label, counts in zip(self.labels, self.counts, strict=True)
        ]
        return Table(rows, text_columns(heading, *self.labels), [self.text])

    @property
    def text(self) -> str:
        """The result in a sentence."""
        agreed = sum(self.counts[index][index] for index in range(len(self.labels)))
        sentence = (
            f"{self.first} and {self.second} agree on {agreed:,} of {counted(self.n, 'cell')}"
        )
        if self.kappa is None:
            return f"{sentence}; kappa is not defined, because there is only one label."
        if self.interval is None:
            return f"{sentence}; kappa is {self.kappa:.2f}."
        low, high = (round(end, 2) + 0.0 for end in (self.interval.low, self.interval.high))
        return f"{sentence}; kappa is {self.kappa:.2f} (95 % interval {low:.2f} to {high:.2f})."

    @override
    def __repr__(self) -> str:
        return repr(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


def agreement_of(
    first: str,
    second: str,
    first_values: Iterable[Any],
    second_values: Iterable[Any],
) -> Agreement:
    """Return the agreement of two raters on the cells that both have rated.

    If one rater gives bools, labels of the other that mean True or False count as bools: ``yes``,
    ``no``, ``true``, ``false``, ``good``, ``bad``, ``pass``, ``fail``, ``y``, ``n``, 1 and 0.

    Args:
        first: Name of the first rater.
        second: Name of the second rater.
        first_values: The labels of the first rater; missing labels are left out.
        second_values: The labels of the second rater, in the same order.

    Raises:
        UsageError: If no cell has both labels, the raters have no label in common, or there are
            more than 50 labels.
    """
    pairs = [
        (a, b)
        for a, b in zip(first_values, second_values, strict=True)
        if not (is_missing(a) or is_missing(b))
    ]
    if not pairs:
        raise UsageError(
            f"no cell has both {first!r} and {second!r}.",
            hint="Label some cells with both; cells with a missing label do not count.",
        )
    has_bools = any(isinstance(value, bool) for pair in pairs for value in pair)
    pair_counts = Counter((_label(a, has_bools), _label(b, has_bools)) for a, b in pairs)
    labels = tuple(sorted({label for pair in pair_counts for label in pair}))
    if len(labels) > _MAX_LABELS:
        raise UsageError(
            f"{first!r} and {second!r} have {len(labels)} different values, too many for labels.",
            hint="Compare bools or labels, not numbers or free text.",
        )
    label_sets = [{pair[side] for pair in pair_counts} for side in (0, 1)]
    if not label_sets[0] & label_sets[1] and not {"True", "False"}.issuperset(labels):
        label_lists = " and ".join(
            ", ".join(sorted(label_set)[:_MAX_LISTED_LABELS]) for label_set in label_sets
        )
        raise UsageError(
            f"{first!r} and {second!r} have no label in common: {label_lists}.",
            hint="Use the same labels; bools may be yes and no, good and bad, or 1 and 0.",
        )
    counts = tuple(tuple(pair_counts[row, column] for column in labels) for row in labels)
    kappa = cohen_kappa(counts)
    agreed_count = sum(pair_counts[label, label] for label in labels)
    return Agreement(
        *(first, second, labels, counts, len(pairs), agreed_count / len(pairs)),
        kappa.value,
        kappa.interval,
    )


def _label(value: object, has_bools: bool) -> str:  # noqa: FBT001 - of either rater
    to_scalar = getattr(value, "item", None)  # of a NumPy scalar
    value = to_scalar() if callable(to_scalar) else value
    if isinstance(value, bool) or not has_bools:
        return str(value)
    text = str(value).strip().lower()
    return "True" if text in _TRUE_LABELS else "False" if text in _FALSE_LABELS else str(value)
