"""Formats the summary and the conclusions of an evaluation as text, HTML and Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayx_nb.calls import Note, Table
from gatewayx_nb.evaluation.score_summary import MIN_VERDICT_ROWS, cost_text
from gatewayx_nb.html import interval_bar, table_html
from gatewayx_nb.text import counted, one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gatewayx_nb.evaluation.evaluation import Evaluation
    from gatewayx_nb.evaluation.score_summary import VariantScore
    from gatewayx_nb.evaluation.versus import VariantDifference

_MAX_SHOWN_DIFFERENCES = 6

_NON_QUALITY_SCORES = ("cost", "latency")
"""Scores whose differences are shown only if there are no other scores."""


def conclusions(evaluation: Evaluation) -> list[str]:
    """Return sentences that state what the data support, the most important first."""
    lines = []
    if evaluation.missing:
        lines.append(
            f"Stopped: {evaluation.missing:,} of {counted(len(evaluation.cells), 'cell')} were not"
            " asked. Run it again to ask only for these."
        )
    if len(evaluation.variants) > 1:
        lines += _difference_sentences(evaluation.versus())
    elif evaluation.scores and (units := _insufficient_units(evaluation)):
        lines.append(f"{units}: a verdict needs at least {MIN_VERDICT_ROWS}.")
    answer_errors = [cell.error for cell in evaluation.cells if cell.error]
    if answer_errors:
        lines.append(
            f"{counted(len(answer_errors), 'answer')} failed; the first: {answer_errors[0]}"
        )
    score_errors = [
        f"{name}: {score.error}"
        for cell in evaluation.cells
        for name, score in cell.scores.items()
        if score.error
    ]
    if score_errors:
        lines.append(f"{counted(len(score_errors), 'score')} failed; the first: {score_errors[0]}")
    for judge in evaluation.judges:
        lines.append(
            f"{judge.score} asked {judge.model} {counted(judge.questions, 'question')}:"
            f" {cost_text(judge.cost)}."
        )
    return [one_line(line) for line in (*lines, *evaluation.notes)]


def _insufficient_units(evaluation: Evaluation) -> str:
    """Return the number of rows or clusters if it is too low for a verdict, else an empty str."""
    clusters = evaluation.rows.clusters
    count = len(evaluation.rows.ids if clusters is None else set(clusters))
    unit = "row" if clusters is None else "cluster"
    return counted(count, unit) if count < MIN_VERDICT_ROWS else ""


def _difference_sentences(rows: Sequence[VariantDifference]) -> list[str]:
    relevant_rows = [row for row in rows if row.score not in _NON_QUALITY_SCORES] or list(rows)
    order = {"better": 0, "worse": 0, "not told apart": 1, "too few rows": 2}
    ranked_rows = sorted(relevant_rows, key=lambda row: order[row.verdict])
    sentences = [row.text for row in ranked_rows[:_MAX_SHOWN_DIFFERENCES]]
    hidden_count = len(ranked_rows) - len(sentences)
    return [*sentences, *([f"{hidden_count:,} more in `.versus()`."] if hidden_count else [])]


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
    all_texts = list(_cell_texts(summary))
    kept_indexes = [
        index
        for index, column in enumerate(summary.columns)
        if not column.optional or any(texts[index] for texts in all_texts)
    ]
    headings = [summary.columns[index].heading for index in kept_indexes]
    alignments = [summary.columns[index].align for index in kept_indexes]
    kept_texts = [[texts[index] for index in kept_indexes] for texts in all_texts]
    drawings = {}
    if any(row.low is not None for row in summary):
        bar_index = headings.index("95 % interval")
        drawings[bar_index] = interval_bars(summary)  # in their own column, so that they align
        headings.insert(bar_index, "")
        alignments.insert(bar_index, "left")
        for texts in kept_texts:
            texts.insert(bar_index, "")
    return table_html(headings, kept_texts, alignments, drawings)


def _cell_texts(summary: Table[VariantScore]) -> Iterable[list[str]]:
    return ([column.text(row) for column in summary.columns] for row in summary)


def interval_bars(rows: Sequence[VariantScore]) -> list[str]:
    """Return a drawing of the interval of each row, with one scale for each score."""
    scales = {
        score: _scale([row for row in rows if row.score == score])
        for score in {row.score for row in rows}
    }
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
    """Return the display as Markdown, with Markdown's special characters escaped."""
    summary = evaluation.summary()
    columns = [
        column
        for column in summary.columns
        if not column.optional or any(column.cell(row) for row in summary)
    ]
    lines = [f"# {_escape_markdown(_title(evaluation))}", ""]
    lines.append("| " + " | ".join(column.heading for column in columns) + " |")
    rules = ("---" if column.align == "left" else "--:" for column in columns)
    lines.append("|" + "|".join(rules) + "|")
    lines += [
        "| " + " | ".join(_escape_markdown(column.cell(row)) for column in columns) + " |"
        for row in summary
    ]
    lines += ["", *(f"* {_escape_markdown(line)}" for line in conclusions(evaluation))]
    return "\n".join(lines) + "\n"


def _escape_markdown(text: str) -> str:
    """Return a line of text with Markdown's special characters escaped."""
    special = "\\`*_{}[]<>()#+!|~$&"
    return "".join(f"\\{char}" if char in special else char for char in one_line(text))
