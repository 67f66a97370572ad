"""Commands that show the state of engines, models, the default model, health and security."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from gatewayx_nb.calls import Note, Table, text_columns
from gatewayx_nb.errors import ConfigError, EngineNotFoundError, did_you_mean
from gatewayx_nb.files import quoted_path
from gatewayx_nb.hints import Hint
from gatewayx_nb.secure_config import RATE_OPTIONS, display_path, origin

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from gatewayx_nb.commands.command import Session
    from gatewayx_nb.commands.line_parser import LineParser
    from gatewayx_nb.engine_pool import EngineHealth, SecurityStatus
    from gatewayx_nb.messages import ModelInfo
    from gatewayx_nb.model_registry import EngineStatus
    from gatewayx_nb.secure_config import FileSecurity


_IMAGE_ENGINE = "grok"
"""The engine in the image example if no ready engine supports images."""


def overview(session: Session) -> Table[EngineStatus]:
    """Show the engines that are ready or need one more step, with example calls below."""
    table = session.pool.status()
    ready = [row.name for row in table if row.readiness == "ready"]
    images = [row.name for row in table if row.name in ready and "images" in row.features]
    examples = _example_lines(session, ready, next(iter(images), ""))
    notes = (*_pool_notes(session), *session.pool.problems, "", *examples)
    return table.with_notes(*notes)


def _example_lines(session: Session, ready: Sequence[str], image_engine: str) -> Iterator[str]:
    """Yield five examples that use the ready engines.

    Args:
        session: Provides the prefix of a line.
        ready: The engines that are ready.
        image_engine: A ready engine that supports images; empty if there is none.
    """
    first_engine, second_engine, *_ = dict.fromkeys((*ready, "mock", "local"))
    cell, line = session.ask_prog, session.prog
    yield (
        f"`{cell} {first_engine}` calls {first_engine} with the lines below; `{cell} -h` lists the"
        " options."
    )
    key_note = "" if image_engine else f" It needs a key for {_IMAGE_ENGINE}."
    yield (
        f"`{cell} {image_engine or _IMAGE_ENGINE} --image fig --schema City --max-cost 0.05` sends"
        f" a figure, returns a `City`, and costs at most $0.05.{key_note}"
    )
    yield (
        f"`{cell} {first_engine} {second_engine} -o both` shows two answers side by side, and binds"
        " them."
    )
    yield f"`{line} cassette` records replies beside the notebook, and replays them next time."
    yield f"`{line} help` lists the commands; `{line} key set grok` asks for a key."


def status(session: Session, args: argparse.Namespace) -> Table[EngineStatus]:
    """Show the status of one engine, or of all engines."""
    rows = session.pool.status()
    if not args.name:
        return rows.with_notes(
            *_pool_notes(session), *_results_note(session), *session.pool.problems
        )
    matching_rows = [row for row in rows if row.name == args.name]
    if not matching_rows:
        raise EngineNotFoundError(
            f"no engine {args.name!r}.{did_you_mean(args.name, [row.name for row in rows])}",
            hint=Hint("list_engines"),
        )
    notes = [line for row in matching_rows for line in _engine_details(session, row)]
    # The table is not folded, because the user named the engine.
    return Table(matching_rows, rows.columns, notes)


def _results_note(session: Session) -> Iterator[str]:
    """Yield a note on where the answers of maps are stored, if any are stored."""
    description = session.pool.describe_results()
    if description is None:
        return
    size = f"{description.size / 1e6:,.1f} MB"
    reason = description.journal.reason
    journal = f", with a rollback journal, because {reason}" if reason else ""
    yield f"The answers of maps are in {display_path(description.path)} ({size}{journal})."
    if description.problem:
        yield description.problem


def _engine_details(session: Session, row: EngineStatus) -> Iterator[str]:
    """Yield details of an engine that do not fit into the table of all engines."""
    folders = [folder.root for folder in session.pool.config.config_dirs]
    path = Path(row.where)
    # A notebook saves this output, but a shipped engine's path differs between machines.
    is_user_file = any(path.is_relative_to(folder) for folder in folders)
    yield f"Code: {display_path(path) if is_user_file else row.source}"
    if row.key != "not needed" and row.variable:
        source_text = "the environment" if row.found_in == "environment" else row.found_in
        yield f"Key: `{row.variable}`, {f'found in {source_text}' if source_text else 'not found'}"


def status_arguments(parser: LineParser) -> None:
    """Add the arguments of ``status``: ``[NAME]``."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="an engine; all if omitted")


def models(session: Session, args: argparse.Namespace) -> Table[ModelInfo]:
    """Show the models that can be called, or that providers list."""
    model_table = session.pool.models(args.engine, live=args.live)
    if not model_table and args.engine == "local":
        return model_table.with_notes(
            f"No local model is installed; `{session.prog} pull smollm2` downloads a small one."
        )
    rows = session.pool.status() if args.engine and not model_table else ()
    if any(row.name == args.engine and row.state == "no key" for row in rows):
        return model_table.with_notes(
            f"Engine {args.engine!r} needs a key: run `{session.prog} key set {args.engine}`."
        )
    if not model_table:
        return model_table.with_notes(f"No model can be called; `{session.prog} status` says why.")
    return model_table


def models_arguments(parser: LineParser) -> None:
    """Add the arguments of ``models``: ``[ENGINE] [--live]``."""
    parser.add_argument("engine", nargs="?", metavar="ENGINE", help="an engine; all if omitted")
    parser.add_argument("--live", action="store_true", help="ask the providers; costs nothing")


def reload(session: Session, _: argparse.Namespace) -> Table[EngineStatus]:
    """Reload all files."""
    return session.pool.reload()


def use(session: Session, args: argparse.Namespace) -> Note:
    """Set the default model."""
    if args.save:
        return save_default(session, args)
    session.pool.use(args.reference)
    return Note(f"The default model is {args.reference}, for this session.")


def save_default(session: Session, args: argparse.Namespace) -> Note:
    """Write the default model to the settings."""
    session.pool.use(args.reference, save=True)
    config_dir = session.pool.config.project or session.pool.config.user
    file = config_dir.label(config_dir.settings)
    return Note(f"The default model is {args.reference}, saved in {file}.")


def reference_argument(parser: LineParser) -> None:
    """Add the argument ``REF``."""
    parser.add_argument("reference", metavar="REF", help="an engine, or engine:model")


def use_arguments(parser: LineParser) -> None:
    """Add the arguments of ``use``: ``REF [--save]``."""
    reference_argument(parser)
    parser.add_argument("--save", action="store_true", help="write it to config/gatewayx.toml")


def health(session: Session, args: argparse.Namespace) -> Table[EngineHealth]:
    """Check the named engines, or all engines that are ready."""
    rows = session.pool.health(*args.names)
    if args.names:
        return rows
    others_note = f"The other engines are not ready; see `{session.prog} status`."
    return rows.with_notes(*rows.notes, others_note)


def health_arguments(parser: LineParser) -> None:
    """Add the arguments of ``health``: ``[NAME…]``."""
    parser.usage = "%(prog)s [NAME…]"
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="an engine; all ready engines if omitted"
    )


def security(session: Session, _: argparse.Namespace) -> Table:
    """Show `EnginePool.security_status` as a table with advice below."""
    report = session.pool.security_status()
    files = _existing_files(session, report)
    rows = tuple(
        (file.place, name, file.mode or "", _owner(file), _git_state(file)) for file, name in files
    )
    notes = [*_security_summary(report)]
    notes += [line for file, name in files for line in _file_warnings(file, name)]
    active_cassette = session.pool.active_cassette
    notes += [active_cassette.warning] if active_cassette and active_cassette.warning else []
    return Table(rows, text_columns("folder", "file", "mode", "owner", "git"), notes)


def file_warnings(session: Session) -> list[str]:
    """Return the problems of the key files and settings, and how to fix them."""
    files = _existing_files(session, session.pool.security_status())
    return [line for file, name in files for line in _file_warnings(file, name)]


def _existing_files(session: Session, report: SecurityStatus) -> list[tuple[FileSecurity, str]]:
    folders = {folder.owner: folder for folder in session.pool.config.config_dirs}
    return [
        (file, folders[file.place].label(folders[file.place].root / file.path))
        for file in report.files
        if file.exists
    ]


def settings(session: Session, _: argparse.Namespace) -> Table:
    """Show each setting with its value, the file that sets it, and what it means."""
    config = session.pool.config
    labels = {folder.owner: folder.label(folder.settings) for folder in config.config_dirs}
    rows = [
        (setting.path, _setting_text(value), labels[owner] if owner else "", setting.help)
        for setting, value, owner in config.settings_in_force()
    ]
    options = [
        (f"engines.{name}.{option}", _option_text(option, value), "", "")
        for name, table in sorted(config.settings.engines.items())
        for option, value in table.items()
    ]
    note = "A setting is a line of `config/gatewayx.toml`; without one, the default applies."
    return Table([*rows, *options], text_columns("setting", "value", "set in", "meaning"), [note])


def _option_text(name: str, value: object) -> str:
    """Return the value of an engine's option, or only ``"set"`` if the value may be private."""
    if name == "base_url":
        return origin(str(value))  # without a user name and a password
    return _setting_text(value) if name in ("model", "api", *RATE_OPTIONS) else "set"


def _setting_text(value: object) -> str:
    if value is None or value == ():
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def _pool_notes(session: Session) -> tuple[str, ...]:
    """Return notes on the pool; in replay mode, all of them are the same on every machine."""
    try:
        default = f"Default model: {session.pool.default_model()}"
    except ConfigError as error:
        text = error.describe()
        # Messages begin in lower case, because they usually follow the name of the error class.
        default = f"{text[:1].upper()}{text[1:]}"
    active_cassette, project = session.pool.active_cassette, session.pool.config.project
    if active_cassette and active_cassette.mode == "replay":
        return (
            default,
            f"Cassette {active_cassette.path.name} is being replayed; no engine is started.",
        )
    project_note = f"No project folder: `{session.prog} init`"
    if project:
        project_note = f"Project folder: {display_path(project.root)}"
    return (default, project_note, *filter(None, [session.limitations]))


def _security_summary(report: SecurityStatus) -> Iterator[str]:
    counts = report.counts
    sources = [key.source for key in report.keys if key.state == "set"]
    counts_text = ", ".join(
        f"{count} in the {source}" for source, count in Counter(sources).items()
    )
    placeholders = counts["placeholder"]
    yield (
        f"Keys: {counts['set']} set{f' ({counts_text})' if counts_text else ''}, "
        f"{placeholders} placeholder{'' if placeholders == 1 else 's'}."
    )
    yield f"Started engines: {', '.join(report.started) or 'none'}."
    for refusal in report.refused:
        yield " ".join(filter(None, ("Refused:", refusal.what, refusal.source, refusal.why)))


def _file_warnings(file: FileSecurity, name: str) -> Iterator[str]:
    """Yield the problems of a file and how to fix them."""
    if file.tracked:
        yield (
            f"Git tracks {name}: run `git rm --cached {quoted_path(name)}`, commit, and renew its"
            " keys, which stay in the history."
        )
    elif file.ignored is False:
        folder = name.rpartition("/")[0]
        yield f"Git does not ignore {name}: `echo '*' > {quoted_path(folder)}/.gitignore`"
    if file.others_write and not file.link:
        yield f"Others can change {name}: `chmod go-w {quoted_path(name)}`"


def _owner(file: FileSecurity) -> str:
    if file.yours is None:
        return "unknown"
    return "you" if file.yours else "root" if file.root else "someone else"


def _git_state(file: FileSecurity) -> str:
    if file.tracked:
        return "tracked"
    return {True: "ignored", False: "not ignored", None: ""}[file.ignored]
