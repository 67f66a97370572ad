"""The command ``gatewayx eval``: scores prompts and models on the rows of a file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatewayx_nb.cli.call_line import call_options, check_folder, read_line, recording_status
from gatewayx_nb.cli.row_files import read_rows_file
from gatewayx_nb.cli.standard_error import warn
from gatewayx_nb.commands import SHELL_COMMANDS, recording
from gatewayx_nb.errors import UsageError, did_you_mean
from gatewayx_nb.evaluation import (
    FORMATS,
    evaluate,
    judge,
    read_baseline,
    read_scorers,
    scorers,
)
from gatewayx_nb.files import absolute_path, path_to_write
from gatewayx_nb.text import plain

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Sequence

    from gatewayx_nb.cli.shell_session import ShellSession
    from gatewayx_nb.evaluation import Evaluation

_NAMED_TEXT = re.compile(r"([A-Za-z_][\w -]{0,40})=(.+)", re.DOTALL)
"""Matches a prompt or a judge with its name, as in ``short=…``."""

_EVALUATION_OPTIONS = (
    "expected",
    "id",
    "cluster",
    "samples",
    "missing",
    "max_age",
    "name",
    "concurrency",
)


def evaluate_file(session: ShellSession, words: Sequence[str]) -> int:
    """Run an evaluation from the words after ``gatewayx eval``; return the exit status.

    The status is 1 if a check fails, or an answer or a score is missing.

    Raises:
        GatewayError: If the line is invalid, a file cannot be used, or all answers fail.
        KeyboardInterrupt: If the user stops the evaluation; finished answers are stored.
    """
    parser = SHELL_COMMANDS["eval"].parser(session.prog)
    args, other_words = read_line(session, parser, words)
    if other_words:
        raise parser.usage_error(
            f"`{parser.prog}` takes one file, got a second one, {other_words[0]!r}."
        )
    if not args.prompt:
        raise parser.usage_error(f"`{parser.prog}` needs `--prompt TEXT`.")
    if args.margin is not None and not args.no_worse_than:
        raise parser.usage_error("`--margin` has no effect without `--no-worse-than`.")
    options = call_options(parser, args, words)
    options |= {
        name: getattr(args, name) for name in _EVALUATION_OPTIONS if getattr(args, name) is not None
    }
    bounds = {name: _read_bounds(getattr(args, name), name) for name in ("at_least", "at_most")}
    all_scorers = [*_read_scorer_options(args, options.get("schema")), *_read_judges(args)]
    _check_names(bounds, all_scorers)
    if args.no_worse_than:
        read_baseline(absolute_path(args.no_worse_than))
    for path in args.save:
        check_folder(path_to_write(path, FORMATS, "evaluation.json"))
    if args.save_baseline:
        check_folder(absolute_path(args.save_baseline))
    rows = read_rows_file(Path(args.source).expanduser())
    with recording(session.pool, args.cassette) as cassette:
        result = evaluate(
            rows,
            _texts_by_name(args.prompt, "--prompt"),
            args.model or None,
            all_scorers,
            pool=session.pool,
            progress=not args.quiet,
            **options,
        )
    session.show(result)
    for path in args.save:
        result.save(path)
    if result.missing or result.is_stopped:
        raise KeyboardInterrupt
    status = _check_result(result, args, bounds)
    if args.save_baseline:
        result.save_baseline(args.save_baseline)
    return status or recording_status(cassette)


def _check_result(
    result: Evaluation, args: argparse.Namespace, bounds: dict[str, dict[str, float]]
) -> int:
    """Write the failed checks to standard error; return 1 if a check or an answer failed."""
    check_options: dict[str, Any] = {name: values for name, values in bounds.items() if values}
    if args.no_worse_than:
        check_options["no_worse_than"] = args.no_worse_than
        check_options |= {} if args.margin is None else {"margin": args.margin}
    if check_options:
        try:
            result.check(**check_options)
        except AssertionError as failure:
            for line in str(failure).partition("\n\n")[0].splitlines():
                warn(plain(line))
            return 1
        return 0
    failed_count = sum(bool(cell.error) for cell in result.cells)
    if failed_count:
        warn(f"{failed_count:,} of {len(result.cells):,} answers failed.")
    return 1 if failed_count else 0


def _texts_by_name(texts: Sequence[str], flag: str) -> str | dict[str, str]:
    """Return the texts by name; if there is a single text without a name, return that text.

    Raises:
        UsageError: If one of several texts has no name, or two texts have the same name.
    """
    if len(texts) == 1 and _NAMED_TEXT.fullmatch(texts[0]) is None:
        return texts[0]
    texts_by_name: dict[str, str] = {}
    for text in texts:
        match = _NAMED_TEXT.fullmatch(text)
        if match is None:
            raise UsageError(
                f"several `{flag}` options need names, got {text[:40]!r}.",
                hint=f"For example, `{flag} 'short=…' {flag} 'long=…'`.",
            )
        if match[1] in texts_by_name:
            raise UsageError(f"two `{flag}` options have the name {match[1]!r}.")
        texts_by_name[match[1]] = match[2]
    return texts_by_name


def _read_scorer_options(args: argparse.Namespace, schema: object) -> Iterable[object]:
    for text in args.scorer:
        name, separator, value = text.partition("=")
        if name not in scorers.__all__:
            raise UsageError(
                f"`--scorer` must be one of {', '.join(scorers.__all__)}, got {name!r}."
                f"{did_you_mean(name, scorers.__all__)}"
            )
        yield _create_scorer(name, value if separator else None, schema)


def _create_scorer(name: str, value: str | None, schema: object) -> object:
    """Return a scorer; ``value`` is a string to compare with, a pattern, a tolerance or choices."""
    make_scorer = getattr(scorers, name)
    if name == "fits":
        if value is not None or schema is None:
            raise UsageError("`--scorer fits` needs `--schema FILE`, and no value.")
        return make_scorer(schema)
    if name in ("cost", "latency") and value is not None:
        raise UsageError(f"`--scorer {name}` takes no value.")
    if value is None:
        return make_scorer()
    if name == "one_of":
        return make_scorer(*(choice.strip() for choice in value.split(",")))
    if name == "number":
        return make_scorer(tolerance=_parse_number(value, f"--scorer {name}={value}"))
    return make_scorer(value)


def _read_judges(args: argparse.Namespace) -> Iterable[object]:
    if args.judge_model and not args.judge:
        raise UsageError("`--judge-model` has no effect without `--judge`.")
    questions = _texts_by_name(args.judge, "--judge") if args.judge else {}
    if isinstance(questions, str):
        questions = {"judge": questions}
    for name, question in questions.items():
        yield judge(question, args.judge_model, name=name)


def _read_bounds(texts: Sequence[str], name: str) -> dict[str, float]:
    flag = f"--{name.replace('_', '-')}"
    bounds = {}
    for text in texts:
        score, separator, value = text.rpartition("=")
        if not separator or not score:
            raise UsageError(
                f"`{flag}` must be SCORE=X, got {text!r}.",
                hint=f"For example, `{flag} equals=0.9`.",
            )
        bounds[score] = _parse_number(value, f"{flag} {text}")
    return bounds


def _check_names(bounds: dict[str, dict[str, float]], all_scorers: Sequence[object]) -> None:
    """Check, before anything is sent, that each bound is for a score of this evaluation."""
    score_names = [*(scorer.name for scorer in read_scorers(all_scorers)), "cost", "latency"]
    for name in dict.fromkeys(name for values in bounds.values() for name in values):
        if name not in score_names:
            raise UsageError(
                f"this evaluation has no score {name!r}.{did_you_mean(name, score_names)}",
                hint=f"The scores are {', '.join(dict.fromkeys(score_names))}.",
            )


def _parse_number(text: str, flag: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"`{flag}` needs a number, got {text!r}.") from None
