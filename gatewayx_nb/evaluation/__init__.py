"""Evaluation of prompts and models: intervals, paired comparisons and agreement."""

from gatewayx_nb.evaluation.agreement import Kappa, cohen_kappa
from gatewayx_nb.evaluation.intervals import Interval, share_interval
from gatewayx_nb.evaluation.means import mean_interval
from gatewayx_nb.evaluation.paired_tests import (
    PairedDifference,
    holm,
    paired_means,
    paired_shares,
)
from gatewayx_nb.evaluation.sample_size import rows_needed

__all__ = [
    "Interval",
    "Kappa",
    "PairedDifference",
    "cohen_kappa",
    "holm",
    "mean_interval",
    "paired_means",
    "paired_shares",
    "rows_needed",
    "share_interval",
]
