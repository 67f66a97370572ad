"""Evaluation of prompts and models: a scored grid, with intervals and paired comparisons."""

from gatewayx_nb.evaluation import scorers
from gatewayx_nb.evaluation.baseline import read_baseline
from gatewayx_nb.evaluation.differing_cells import ChangedScore, FailedAnswer, value_text
from gatewayx_nb.evaluation.evaluation import Evaluation
from gatewayx_nb.evaluation.evaluation_run import aevaluate, evaluate, preview_evaluation
from gatewayx_nb.evaluation.grid_cell import GridCell, Score, Variant
from gatewayx_nb.evaluation.judges import judge, prefer
from gatewayx_nb.evaluation.label_agreement import Agreement
from gatewayx_nb.evaluation.records import FORMATS
from gatewayx_nb.evaluation.row_filter import RowKind, cells_by_row, matching_rows, row_title
from gatewayx_nb.evaluation.sample_size import rows_needed
from gatewayx_nb.evaluation.saved import load_evaluation
from gatewayx_nb.evaluation.score_summary import VariantScore
from gatewayx_nb.evaluation.scoring import read_scorers
from gatewayx_nb.evaluation.versus import VariantDifference

__all__ = [
    "FORMATS",
    "Agreement",
    "ChangedScore",
    "Evaluation",
    "FailedAnswer",
    "GridCell",
    "RowKind",
    "Score",
    "Variant",
    "VariantDifference",
    "VariantScore",
    "aevaluate",
    "cells_by_row",
    "evaluate",
    "judge",
    "load_evaluation",
    "matching_rows",
    "prefer",
    "preview_evaluation",
    "read_baseline",
    "read_scorers",
    "row_title",
    "rows_needed",
    "scorers",
    "value_text",
]
