"""Commands for jobs: the notebook's background calls, and the project's maps."""

from __future__ import annotations

from datetime import datetime
from shlex import quote
from typing import TYPE_CHECKING

from gatewayx_nb.batch import MapJob, duration, parse_age
from gatewayx_nb.calls import Note, Table, text_columns
from gatewayx_nb.errors import UsageError, did_you_mean
from gatewayx_nb.hints import Hint
from gatewayx_nb.secure_config import display_path
from gatewayx_nb.text import counted, shorten

if TYPE_CHECKING:
    import argparse

    from gatewayx_nb.background import Job
    from gatewayx_nb.commands.command import Session
    from gatewayx_nb.commands.line_parser import LineParser

JOB_ACTIONS = ("list", "forget", "export")
"""The actions of `jobs`."""

_MAX_TEXT_LENGTH = 120
"""Maximum number of characters of a prompt or a problem to show."""


def jobs(session: Session, args: argparse.Namespace) -> Table | Note:
    """List the jobs, describe one of them, or export or forget a map."""
    if args.action not in JOB_ACTIONS:
        _check_is_job_name(session, args)
        args.action, args.name = "list", args.action
    _check_arguments(args)
    if args.action == "list":
        return _list_jobs(session) if args.name is None else _describe_job(session, args.name)
    if args.action == "export":
        job = _find_map(session, args.name)
        path = job.export(args.file)
        return Note(f"The answers of {job.name!r} are in {display_path(path)}.")
    return _forget_maps(session, args)


def jobs_arguments(parser: LineParser) -> None:
    """Add the arguments of ``jobs``: ``[list|forget|export] [NAME] [FILE] [--older AGE]``."""
    add = parser.add_argument
    action_help = f"{', '.join(JOB_ACTIONS)}, or the name of a job to describe; list by default"
    add("action", nargs="?", default="list", metavar="ACTION", help=action_help)
    add("name", nargs="?", metavar="NAME", help="a job")
    add("file", nargs="?", metavar="FILE", help="file to export to: .parquet, .csv or .jsonl")
    add("--older", metavar="AGE", help="forget all maps not used for AGE, such as 30d")


def cancel(session: Session, args: argparse.Namespace) -> Note:
    """Stop a job and keep its partial answer."""
    job = _find_job(session, args.job)
    if not job.cancel():
        return Note(f"{job.name!r} has already ended: {job.state}.")
    if isinstance(job, MapJob):
        return Note(f"{job.name!r} is being stopped; its answers so far are kept.")
    return Note(f"{job.name!r} is stopped; `{job.name}.result()` is its partial answer.")


def cancel_arguments(parser: LineParser) -> None:
    """Add the arguments of ``cancel``: ``JOB``."""
    parser.add_argument("job", metavar="JOB", help="name of the job, as listed by `jobs`")


def _check_is_job_name(session: Session, args: argparse.Namespace) -> None:
    """Check that a first word that is not an action is a job's name, with no other arguments.

    Raises:
        UsageError: If there are more arguments, or the word is a misspelt action.
    """
    is_misspelt = did_you_mean(args.action, JOB_ACTIONS) and not any(
        job.name.startswith(args.action) for job in session.jobs.table(session.pool.map_jobs())
    )
    if args.name or args.older or is_misspelt:
        raise UsageError(
            f"the action must be {', '.join(JOB_ACTIONS[:-1])} or {JOB_ACTIONS[-1]}, got"
            f" {shorten(args.action, _MAX_TEXT_LENGTH)!r}.{did_you_mean(args.action, JOB_ACTIONS)}",
            hint=Hint("command", line="help jobs"),
        )


def _check_arguments(args: argparse.Namespace) -> None:
    """Check that no argument is missing or unused.

    Raises:
        UsageError: If an argument is missing or unused.
    """
    if args.older is not None and (args.action != "forget" or args.name):
        raise UsageError(
            "`--older` is only for `jobs forget` without a name.",
            hint=Hint("command", line="jobs forget --older 30d"),
        )
    if args.file and args.action != "export":
        raise UsageError(
            f"`jobs {args.action}` takes no file.",
            hint=Hint("command", line=f"jobs export {args.name} {args.file}"),
        )
    if args.action == "export" and not args.file:
        raise UsageError(
            "`jobs export` needs a job and a file.",
            hint=Hint("command", line=f"jobs export {args.name or 'NAME'} answers.csv"),
        )
    if args.action == "forget" and not (args.name or args.older):
        raise UsageError(
            "`jobs forget` needs a job, or `--older`.",
            hint=Hint("command", line="jobs forget --older 30d"),
        )


def _list_jobs(session: Session) -> Table:
    table = session.jobs.table(session.pool.map_jobs())
    if not table:
        return table.with_notes(
            f"No jobs yet: `{session.ask_prog} REF --map FRAME` asks about each row, and"
            f" `{session.ask_prog} REF --bg -o NAME` runs in the background."
        )
    running_job = next((row.name for row in table if row.state == "running"), None)
    notes = [f"`{session.prog} cancel {quote(running_job)}` stops a job."] if running_job else []
    if any(row.map is None for row in table):
        name = next(row.name for row in table if row.map is None)
        notes.insert(0, f"`{name}.result()` waits for the answer.")
    if any(row.map is not None and row.state not in ("done", "running") for row in table):
        notes.append("Run the cell of a map again to ask about its missing rows.")
    return table.with_notes(*[" ".join(notes)] * bool(notes))


def _describe_job(session: Session, name: str) -> Table | Note:
    job = _find_job(session, name)
    if not isinstance(job, MapJob):
        return Note(repr(job))
    status = job.progress()
    last_used = datetime.fromtimestamp(status.last_used)  # noqa: DTZ006 - the user's local time
    rows = [
        ("state", status.state),
        ("model", status.model),
        ("prompt", shorten(" ".join(job.prompt.split()), _MAX_TEXT_LENGTH)),
        ("rows", status.rows_text),
        ("failed", f"{status.failed:,}"),
        ("cost", status.cost_text),
        ("ran", duration(status.seconds)),
        ("last run", f"{last_used:%Y-%m-%d %H:%M}"),
        *([("problem", shorten(status.problem, _MAX_TEXT_LENGTH))] if status.problem else []),
    ]
    prog = session.prog
    note = f"`{prog} jobs export {quote(job.name)} FILE` writes its answers to a file."
    if status.state == "running":
        note = f"`{prog} cancel {quote(job.name)}` stops it."
    elif status.state != "done":
        note = f"Run its cell again to ask about its missing rows. {note}"
    return Table(rows, text_columns("job", job.name), (note,))


def _forget_maps(session: Session, args: argparse.Namespace) -> Note:
    """Forget the map with a name, or all maps that have not been used for some time."""
    if args.older is not None:
        count = session.pool.forget_jobs(older=parse_age(args.older))
        return Note(f"{counted(count, 'map')} {'is' if count == 1 else 'are'} forgotten.")
    job = _find_map(session, args.name)
    if job.name != args.name:  # deleting requires the full name
        raise UsageError(
            f"there is no job {args.name!r}. Did you mean {job.name!r}?", hint=Hint("list_jobs")
        )
    job.forget()
    # A map with an edited prompt is another job, which may have the same name.
    names = [status.name for status in session.pool.map_jobs()]
    count = names.count(args.name)
    remaining_note = (
        f" {counted(count, 'earlier job')} with this name remain{'s' if count == 1 else ''}."
    )
    return Note(f"{args.name!r} and its answers are forgotten.{remaining_note if count else ''}")


def _find_job(session: Session, name: str) -> Job | MapJob:
    return session.jobs.require(name) if name in session.jobs else session.pool.job(name)


def _find_map(session: Session, name: str) -> MapJob:
    """Return the map with this name, or the only map whose name begins with it.

    Raises:
        UsageError: If there is no such map, if several names begin with ``name``, or if the job is
            a background job.
    """
    if name in session.jobs:
        raise UsageError(
            f"{name!r} is a background job, whose answer is not stored.",
            hint=f"`{name}.result()` returns the answer, which you can save.",
        )
    return session.pool.job(name)
