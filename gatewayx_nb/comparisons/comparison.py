"""What several models answered to one prompt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

from typing_extensions import override

from gatewayx_nb import rendering
from gatewayx_nb.comparisons.frames import frame
from gatewayx_nb.errors import GatewayError, RequestError
from gatewayx_nb.messages import ModelRef, Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import pandas as pd

Outcome = Reply | GatewayError
"""What became of one question: its answer, or why there is none."""

_KINDS = {
    "time_to_first": "float64",
    "latency": "float64",
    "input_tokens": "Int64",
    "output_tokens": "Int64",
    "tokens_per_second": "float64",
    "cost": "float64",
}
"""Types of the columns that hold numbers, for a frame in which all of them are unknown."""


@dataclass(frozen=True, slots=True, repr=False)
class Comparison(Sequence[Outcome]):
    """Replies or errors, in the order in which the models were asked.

    >>> import gatewayx_nb as gx
    >>> both = gx.compare("Say this.", models=["mock", "mock:other"])
    >>> [reply.text for reply in both]
    ['[mock] Say this.', '[mock] Say this.']

    Attributes:
        prompt: What was asked.
        references: Who was asked, as they were named.
        outcomes: Replies or errors; a reply that was stopped is ``interrupted``.
    """

    prompt: str
    references: tuple[str, ...]
    outcomes: tuple[Outcome, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """A name for each column; a reference that was asked again is ``mock (2)``."""
        return labelled(self.references)

    @property
    def replies(self) -> list[Reply]:
        """The answers that came to their end, in order."""
        whole = (one for one in self.outcomes if isinstance(one, Reply))
        return [reply for reply in whole if not reply.interrupted]

    @property
    def fastest(self) -> Reply | None:
        """The answer with the least latency, of those that came to their end."""
        return min(self.replies, key=lambda reply: reply.latency, default=None)

    @property
    def cheapest(self) -> Reply | None:
        """The answer that cost least, of those whose price is known; the first of equals."""
        priced = [(reply.cost, reply) for reply in self.replies if reply.cost is not None]
        return min(priced, key=lambda pair: pair[0])[1] if priced else None

    def marks(self) -> list[list[str]]:
        """Tell for each column in what it is best: ``fastest``, ``cheapest``.

        Best of one is no mark, and neither is what all share. Several may share a least cost, or a
        least latency, in tenths of a second.
        """
        fastest = self._least(lambda reply: round(reply.latency, 1))
        cheapest = self._least(lambda reply: reply.cost)
        marked = (("fastest", fastest), ("cheapest", cheapest))
        return [
            [mark for mark, best in marked if index in best] for index in range(len(self.outcomes))
        ]

    def to_frame(self) -> pd.DataFrame:
        """Give a row for each column; what is not known is missing.

        ``latency`` and ``time_to_first`` are seconds, ``cost`` US dollars as a float, and
        ``tokens_per_second`` the tokens written in all of the latency.

        Raises:
            ConfigError: pandas is not installed.
        """
        return frame(self.rows()).astype(_KINDS)

    def rows(self) -> list[dict[str, object]]:
        """Give what `to_frame` holds, a dict for each column; what is not known is ``None``."""
        named = zip(self.labels, self.references, self.outcomes, strict=True)
        return [{"label": label, **_row(reference, one)} for label, reference, one in named]

    def _least(self, figure: Callable[[Reply], object]) -> set[int]:
        """Give the columns in which a figure is least, where that tells them from others."""
        known = {
            index: value
            for index, one in enumerate(self.outcomes)
            if isinstance(one, Reply) and not one.interrupted
            if (value := figure(one)) is not None
        }
        least = min(known.values(), default=None)  # type: ignore[type-var]
        best = {index for index, value in known.items() if value == least}
        return best if len(best) < len(known) else set()

    @overload
    def __getitem__(self, index: int) -> Outcome: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Outcome, ...]: ...
    @override
    def __getitem__(self, index: int | slice) -> Outcome | tuple[Outcome, ...]:
        return self.outcomes[index]

    @override
    def __len__(self) -> int:
        return len(self.outcomes)

    @override
    def __repr__(self) -> str:
        columns = zip(self.labels, self.outcomes, strict=True)
        return f"Comparison({', '.join(f'{label}: {_short(one)}' for label, one in columns)})"

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        """Give the answers below one another as text, beside one another as safe HTML.

        Without their seconds, which are others in each run: `to_frame` has them.
        """
        columns = list(zip(self.labels, self.outcomes, strict=True))
        texts = [f"{label}\n{'-' * len(label)}\n{_text(one)}" for label, one in columns]
        cells = [
            rendering.column_html(label, rendering.reply_html(said(one)), error=fault(one))
            for label, one in columns
        ]
        return {"text/plain": "\n\n".join(texts), "text/html": rendering.columns_html(cells)}


def labelled(references: Iterable[str]) -> tuple[str, ...]:
    """Give each reference a name of its own.

    >>> labelled(["mock", "grok", "mock"])
    ('mock', 'grok', 'mock (2)')
    """
    seen: Counter[str] = Counter()
    labels = []
    for reference in references:
        seen[reference] += 1
        labels.append(f"{reference} ({seen[reference]})" if seen[reference] > 1 else reference)
    return tuple(labels)


def pace(reply: Reply) -> float | None:
    """Give the tokens that were written a second, in all of the time that the answer took."""
    written = reply.usage.output_tokens
    return None if written is None or reply.latency <= 0 else written / reply.latency


def _row(reference: str, one: Outcome) -> dict[str, object]:
    row: dict[str, object] = dict.fromkeys(
        ("engine", "model", "text", "error", "finish_reason", "interrupted", *_KINDS)
    )
    if isinstance(one, GatewayError):
        asked = ModelRef.parse(reference)
        row["engine"], row["model"] = one.engine or asked.engine, one.model or asked.model
        return row | {"text": said(one) or None, "error": fault(one), "interrupted": False}
    names = ("engine", "model", "text", "finish_reason", "interrupted", "time_to_first", "latency")
    return row | {
        **{name: getattr(one, name) for name in names},
        "input_tokens": one.usage.input_tokens,
        "output_tokens": one.usage.output_tokens,
        "tokens_per_second": pace(one),
        "cost": None if one.cost is None else float(one.cost),
    }


def said(one: Outcome) -> str:
    """Give what came of an answer."""
    if isinstance(one, Reply):
        return one.text
    return one.partial if isinstance(one, RequestError) else ""


def fault(one: Outcome) -> str:
    """Tell why there is no answer, and what mends that."""
    return f"{type(one).__name__}: {one}" if isinstance(one, GatewayError) else ""


def _text(one: Outcome) -> str:
    return "\n".join(filter(None, [rendering.plain(said(one)), rendering.plain(fault(one))]))


def _short(one: Outcome) -> str:
    return repr(rendering.shorten(one.text, 30)) if isinstance(one, Reply) else type(one).__name__
