"""The shell command ``map``; the front end reads and writes the files of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayx_nb.calls import PARAM_OPTIONS
from gatewayx_nb.commands.call_options import add_shell_options

if TYPE_CHECKING:
    import argparse

    from gatewayx_nb.commands.command import Session
    from gatewayx_nb.commands.line_parser import LineParser

ROW_FORMATS = ".csv, .tsv, .jsonl or .parquet"
"""The suffixes of files with rows."""


def map_file(session: Session, args: argparse.Namespace) -> object:
    """Ask a model about each row of a file."""
    return session.map_line(args.text)


def map_arguments(parser: LineParser) -> None:
    """Add the arguments of ``map``: ``IN OUT --prompt TEXT [options]``."""
    parser.usage = "%(prog)s IN OUT --prompt TEXT [--model REF] [options]"
    parser.param_options = PARAM_OPTIONS
    add = parser.add_argument
    add("source", metavar="IN", help=f"the file of the rows, {ROW_FORMATS}")
    add("others", nargs="*", metavar="OUT", help="the file to write")
    add("--prompt", metavar="TEXT", help="the prompt; `{{column}}` is the value of a row")
    add("--model", metavar="REF", help="engine or engine:model; the default if omitted")
    add_shell_options(parser, skip=("chat", "images", "renew"))
    add_run_options(parser)
    add_run_option = parser.adder_for_group("Run")
    add_run_option(
        "--force", action="store_true", help="replace OUT even if it is not the output of a map"
    )
    add_run_option(
        "--dry-run", action="store_true", help="show rows, tokens and cost, and send nothing"
    )


def add_run_options(parser: LineParser) -> None:
    """Add the options of a command that asks about the rows of a file."""
    add_run_option = parser.adder_for_group("Run")
    missing_help = "error fails a row in which a value is missing; blank inserts an empty string"
    add_run_option("--missing", choices=("error", "blank"), metavar="HOW", help=missing_help)
    add_run_option(
        "--max-age", metavar="AGE", help="ask again about rows with an older answer, such as 30d"
    )
    add_run_option("--name", metavar="NAME", help="name of the job")
    add_run_option("--concurrency", metavar="N", type=int, help="maximum number of calls in flight")
    add_run_option(
        "--cassette", metavar="FILE", help="record the replies in this file, or replay them"
    )
    add_run_option("-q", "--quiet", action="store_true", help="show no progress")
    add_run_option("-h", "--help", action="store_true", help="show this list")
