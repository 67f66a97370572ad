"""The shell command ``eval``; the front end reads the file of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayx_nb.calls import PARAM_OPTIONS
from gatewayx_nb.commands.call_options import add_shell_options
from gatewayx_nb.commands.map_rows import ROW_FORMATS, add_run_options

if TYPE_CHECKING:
    import argparse

    from gatewayx_nb.commands.command import Session
    from gatewayx_nb.commands.line_parser import LineParser


def eval_file(session: Session, args: argparse.Namespace) -> object:
    """Score prompts and models on the rows of a file."""
    return session.eval_line(args.text)


def eval_arguments(parser: LineParser) -> None:
    """Add the arguments of ``eval``: ``IN --prompt TEXT --scorer NAME [options]``."""
    parser.usage = "%(prog)s IN --prompt TEXT [--model REF] [--scorer NAME] [options]"
    parser.param_options = PARAM_OPTIONS
    add = parser.add_argument
    add("source", metavar="IN", help=f"the file of the rows, {ROW_FORMATS}")
    prompt_help = "a prompt, in which `{{column}}` is the value of a row; NAME=TEXT names it"
    add("--prompt", metavar="TEXT", action="append", default=[], help=prompt_help)
    model_help = "engine or engine:model, also several times; the default if omitted"
    add("--model", metavar="REF", action="append", default=[], help=model_help)
    scorer_help = (
        "equals, contains, matches, number, one_of, fits, cost or latency; also NAME=VALUE"
    )
    add("--scorer", metavar="NAME", action="append", default=[], help=scorer_help)
    judge_help = "a question to a model about each answer; NAME=TEXT names it"
    add("--judge", metavar="TEXT", action="append", default=[], help=judge_help)
    add("--judge-model", metavar="REF", help="the model that judges; the default if omitted")
    add("--expected", metavar="COLUMN", help="the column of expected answers")
    add("--id", metavar="COLUMN", help="the column of unique IDs; the positions if omitted")
    add("--cluster", metavar="COLUMN", help="the column whose equal values mark related rows")
    add("--samples", metavar="N", type=int, help="number of answers to each row")
    add_check = parser.adder_for_group("Check")
    least_help = "fail if the mean of a score is lower, such as equals=0.9"
    add_check("--at-least", metavar="SCORE=X", action="append", default=[], help=least_help)
    most_help = "fail if the mean of a score, the median latency or the cost is higher"
    add_check("--at-most", metavar="SCORE=X", action="append", default=[], help=most_help)
    add_check(
        "--no-worse-than", metavar="FILE", help="fail if a score is worse than in this baseline"
    )
    add_check("--margin", metavar="X", type=float, help="the accepted difference; 0.02 if omitted")
    add_shell_options(parser, skip=("chat", "images", "renew"))
    add_run_options(parser)
    add_run_option = parser.adder_for_group("Run")
    save_help = "write the evaluation to a .json, .csv or .md file"
    add_run_option("--save", metavar="FILE", action="append", default=[], help=save_help)
    add_run_option("--save-baseline", metavar="FILE", help="write the scores for --no-worse-than")
