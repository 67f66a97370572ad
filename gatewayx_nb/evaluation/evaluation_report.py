"""The display of an evaluation: summary and conclusions, as text, HTML and Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayx_nb.calls import Note, Table
from gatewayx_nb.evaluation.score_summary import FEW_ROWS, cost_text
from gatewayx_nb.html import interval_bar, table_html
from gatewayx_nb.text import counted, one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gatewayx_nb.evaluation.evaluation import Evaluation
    from gatewayx_nb.evaluation.score_summary import VariantScore
    from gatewayx_nb.evaluation.versus import VariantDifference

_MAX_SENTENCES = 6

_NOT_QUALITY = ("cost", "latency")


def conclusions(evaluation: Evaluation) -> list[str]:
    """Return sentences that state what the data support, the most important first."""
    lines = []
    if evaluation.missing:
        lines.append(
            f"Stopped: {evaluation.missing:,} of {counted(len(evaluation.cells), 'cell')} were not"
            " asked. Run it again to ask only for these."
        )
    if len(evaluation.variants) > 1:
        lines += _differences(evaluation.versus())
    elif evaluation.scores and (units := _few_units(evaluation)):
        lines.append(f"{units}: a verdict needs at least {FEW_ROWS}.")
    failed = [cell.error for cell in evaluation.cells if cell.error]
    if failed:
        lines.append(f"{counted(len(failed), 'answer')} failed; the first: {failed[0]}")
    unscored = [
        f"{name}: {score.error}"
        for cell in evaluation.cells
        for name, score in cell.scores.items()
        if score.error
    ]
    if unscored:
        lines.append(f"{counted(len(unscored), 'score')} failed; the first: {unscored[0]}")
    for judge in evaluation.judges:
        lines.append(
            f"{judge.score} asked {judge.model} {counted(judge.questions, 'question')}:"
            f" {cost_text(judge.cost)}."
        )
    return [one_line(line) for line in (*lines, *evaluation.notes)]


def _few_units(evaluation: Evaluation) -> str:
    """Return the number of rows, or of clusters, if it is too low for a verdict."""
    clusters = evaluation.rows.clusters
    count = len(evaluation.rows.ids if clusters is None else set(clusters))
    unit = "row" if clusters is None else "cluster"
    return counted(count, unit) if count < FEW_ROWS else ""


def _differences(rows: Sequence[VariantDifference]) -> list[str]:
    quality = [row for row in rows if row.score not in _NOT_QUALITY] or list(rows)
    order = {"better": 0, "worse": 0, "not told apart": 1, "too few rows": 2}
    ranked = sorted(quality, key=lambda row: order[row.verdict])
    texts = [row.text for row in ranked[:_MAX_SENTENCES]]
    rest = len(ranked) - len(texts)
    return [*texts, *([f"{rest:,} more in `.versus()`."] if rest else [])]


def _title(evaluation: Evaluation) -> str:
    name = f"{evaluation.name}: " if evaluation.name else ""
    return f"{name}{evaluation.size_text}"


def report_text(evaluation: Evaluation) -> str:
    """Return the display as text."""
    summary = evaluation.summary()
    table = Table(summary, summary.columns, conclusions(evaluation), lead=[_title(evaluation)])
    return repr(table)


def report_html(evaluation: Evaluation) -> str:
    """Return the display as safe HTML, with the intervals drawn."""
    table = summary_html(evaluation.summary())
    title, lines = Note(_title(evaluation)), Note(*conclusions(evaluation))
    return f"{title._repr_html_()}{table}{lines._repr_html_()}"


def summary_html(summary: Table[VariantScore]) -> str:
    """Return the table of a summary as safe HTML, with the intervals drawn."""
    headings = [column.heading for column in summary.columns]
    cells = [list(row) for row in _all_cells(summary)]
    aligns = [column.align for column in summary.columns]
    kept = [
        index
        for index, column in enumerate(summary.columns)
        if not column.optional or any(row[index] for row in cells)
    ]
    titles, sides = [headings[index] for index in kept], [aligns[index] for index in kept]
    shown = [[row[index] for index in kept] for row in cells]
    drawings = {}
    if any(row.low is not None for row in summary):
        place = titles.index("95 % interval")
        drawings[place] = bars(summary)  # in a column of their own, so that they are aligned
        titles.insert(place, "")
        sides.insert(place, "left")
        for row in shown:
            row.insert(place, "")
    return table_html(titles, shown, sides, drawings)


def _all_cells(summary: Table[VariantScore]) -> Iterable[list[str]]:
    return ([column.text(row) for column in summary.columns] for row in summary)


def bars(rows: Sequence[VariantScore]) -> list[str]:
    """Return a drawing of the interval of each row, with one scale for each score."""
    scales = {row.score: _scale([each for each in rows if each.score == row.score]) for row in rows}
    return [
        "" if row.mean is None else interval_bar(row.low, row.mean, row.high, scales[row.score])
        for row in rows
    ]


def _scale(rows: Sequence[VariantScore]) -> tuple[float, float]:
    if rows[0].kind == "bool":
        return 0.0, 1.0
    ends = [end for row in rows for end in (row.low, row.mean, row.high) if end is not None]
    return (min(0.0, *ends), max(0.0, *ends)) if ends else (0.0, 1.0)


def report_markdown(evaluation: Evaluation) -> str:
    """Return the display as Markdown, with the texts escaped."""
    summary = evaluation.summary()
    kept = [
        column
        for column in summary.columns
        if not column.optional or any(column.cell(row) for row in summary)
    ]
    lines = [f"# {_escaped(_title(evaluation))}", ""]
    lines.append("| " + " | ".join(column.heading for column in kept) + " |")
    lines.append("|" + "|".join("---" if each.align == "left" else "--:" for each in kept) + "|")
    lines += [
        "| " + " | ".join(_escaped(column.cell(row)) for column in kept) + " |" for row in summary
    ]
    lines += ["", *(f"* {_escaped(line)}" for line in conclusions(evaluation))]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """Return a line of text with Markdown's special characters escaped."""
    special = "\\`*_{}[]<>()#+!|~$&"
    return "".join(f"\\{char}" if char in special else char for char in one_line(text))
