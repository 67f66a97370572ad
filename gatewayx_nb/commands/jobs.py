"""``%gatewayx jobs`` and ``cancel``: background jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayx_nb.commands.outcomes import Note, Table, note

if TYPE_CHECKING:
    import argparse

    from gatewayx_nb.commands.grammar import Parser, Session


def jobs(session: Session, _: argparse.Namespace) -> Table:
    """List this notebook's jobs."""
    rows = tuple(
        (job.name, " ".join(job.references), job.state, f"{job.seconds:.0f} s")
        for job in session.jobs
    )
    if not rows:
        return Table((), (), ("No job yet: `%%gatewayx REF --bg -o NAME` starts one.",))
    last = rows[-1][0]
    how = f"`{last}.result()` waits for an answer, `%gatewayx cancel {last}` stops it."
    return Table(("job", "models", "state", "ran"), rows, (how,))


def cancel(session: Session, words: argparse.Namespace) -> Note:
    """Stop a job and keep its partial answer."""
    job = session.jobs.require(words.job)
    if job.cancel():
        return note(f"{job.name!r} is stopped; `{job.name}.result()` is what had come.")
    return note(f"{job.name!r} had ended already: {job.state}.")


def cancel_arguments(parser: Parser) -> None:
    """``JOB``."""
    parser.add_argument("job", metavar="JOB", help="its name, as `%%gatewayx jobs` lists it")
