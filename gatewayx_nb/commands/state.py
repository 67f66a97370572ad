"""Status commands: the bare ``%gatewayx``, ``status``, ``models``, ``reload`` and ``use``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayx_nb.commands.outcomes import Note, Table, note
from gatewayx_nb.errors import ConfigError, EngineNotFoundError, did_you_mean
from gatewayx_nb.secure_config import display_path

if TYPE_CHECKING:
    import argparse

    from gatewayx_nb.commands.grammar import Parser, Session
    from gatewayx_nb.engine_pool import EnginePool
    from gatewayx_nb.model_registry import EngineStatus

EXAMPLES = (
    "`%%gatewayx` asks the default model: the prompt stands below it in the cell",
    "`%%gatewayx grok -t 0 -o answer` asks grok, and binds the reply to `answer`",
    "`%gatewayx ask mock Say this` asks in one line",
    "`%gatewayx key set grok` asks for a key and keeps it in a file of your own",
    "`%gatewayx help` lists the commands",
)

_IDLE = {
    "no key": "Waiting for a key, `%gatewayx key set NAME`",
    "not running": "No server on this machine answers",
}

_ONCE_USED = "known once used"


def overview(session: Session, _: argparse.Namespace) -> Table:
    """Show an overview and five examples."""
    pool = session.pool
    rows = pool.status()
    shown = [row for row in rows if row.state not in _IDLE]
    idle = [_idle(rows, state, how) for state, how in _IDLE.items()]
    notes = (*filter(None, idle), *_summary(session), *_problems(pool), "", *EXAMPLES)
    return _engines(shown, notes)


def status(session: Session, words: argparse.Namespace) -> Table:
    """Show the status of one engine, or of all."""
    rows = session.pool.status()
    if words.name:
        named = [row for row in rows if row.name == words.name]
        if not named:
            raise EngineNotFoundError(
                f"no engine {words.name!r}.{did_you_mean(words.name, [row.name for row in rows])}",
                hint="`%gatewayx status` lists the engines.",
            )
        return _engines(named, ())
    return _engines(rows, (*_summary(session), *_problems(session.pool)))


def status_arguments(parser: Parser) -> None:
    """``[NAME]``."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="one engine")


def models(session: Session, words: argparse.Namespace) -> Table:
    """Show the models that can be called, or those that the providers list."""
    listed = session.pool.models(words.engine, live=words.live)
    if not listed:
        return Table((), (), ("No model can be called; `%gatewayx status` says why.",))
    return Table(
        ("reference", "model"),
        tuple(
            (model.engine if model.default else str(model), model.model or _ONCE_USED)
            for model in listed
        ),
    )


def models_arguments(parser: Parser) -> None:
    """``[ENGINE] [--live]``."""
    parser.add_argument("engine", nargs="?", metavar="ENGINE", help="one engine")
    parser.add_argument("--live", action="store_true", help="ask the providers; costs nothing")


def reload(session: Session, _: argparse.Namespace) -> Table:
    """Reload all files."""
    return _engines(session.pool.reload(), _problems(session.pool))


def use(session: Session, words: argparse.Namespace) -> Note:
    """Set the default model."""
    session.pool.use(words.reference, save=words.save)
    place = session.pool.config.project or session.pool.config.user
    kept = f"saved in {place.label(place.settings)}" if words.save else "until the kernel ends"
    return note(f"The default model is {words.reference}, {kept}.")


def use_arguments(parser: Parser) -> None:
    """``REF [--save]``."""
    parser.add_argument("reference", metavar="REF", help="an engine, or engine:model")
    parser.add_argument("--save", action="store_true", help="write it into config/gatewayx.toml")


def _idle(rows: list[EngineStatus], state: str, how: str) -> str:
    """List the engines in a given state in one line, with what they need."""
    names = [row.name for row in rows if row.state == state]
    return f"{how}: {', '.join(names)}" if names else ""


def _engines(rows: list[EngineStatus], notes: tuple[str, ...]) -> Table:
    figures = ("calls", "spend") if any(row.calls for row in rows) else ()
    cells = tuple(
        (
            row.name,
            row.state,
            row.key,
            row.model or _ONCE_USED,
            row.source if row.loaded else f"{row.source} (not run)",
            *(_figures(row) if figures else ()),
            _to_do(row),
        )
        for row in rows
    )
    return Table(("engine", "state", "key", "model", "from", *figures, "to do"), cells, notes)


def _figures(row: EngineStatus) -> tuple[str, str]:
    """Return the number of calls and the spend; unpriced calls are counted, not taken as free."""
    if not row.calls:
        return "", ""
    spend = [f"${row.spend.normalize():f}"] if row.spend or not row.unpriced else []
    unpriced = [f"{row.unpriced} unpriced"] if row.unpriced else []
    return str(row.calls), " + ".join(spend + unpriced)


def _to_do(row: EngineStatus) -> str:
    """Return the engine's error, the command that fixes it, and the last call's error."""
    last = f"last call: {row.last_error}" if row.last_error else ""
    return "; ".join(filter(None, (row.error, row.hint, row.warning, last))).replace("`", "")


def _summary(session: Session) -> tuple[str, ...]:
    """Return notes on the whole pool; in replay mode, only what is the same on every machine."""
    pool = session.pool
    project = pool.config.project
    try:
        default = f"Default model: {pool.default_model()}"
    except ConfigError as error:
        default = f"{str(error)[:1].upper()}{str(error)[1:]}"
    opened = pool.active_cassette
    if opened and opened.mode == "replay":
        return (default, f"Cassette {opened.path.name} is played back; no engine is started.")
    place = (
        f"Project folder: {display_path(project.root)}"
        if project
        else "No project folder: `%gatewayx init`"
    )
    return (default, place, *filter(None, [session.lacking]))


def _problems(pool: EnginePool) -> tuple[str, ...]:
    return tuple(pool.problems)
