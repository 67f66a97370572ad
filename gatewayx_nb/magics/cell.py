"""Parsing of a ``%%gatewayx`` cell: its line of options and its prompt."""

from __future__ import annotations

import builtins
import functools
import json
import keyword
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from gatewayx_nb import output_formats
from gatewayx_nb.calls import OPTIONS
from gatewayx_nb.commands import LineParser
from gatewayx_nb.errors import UsageError
from gatewayx_nb.magics.notebook_values import NotebookValues
from gatewayx_nb.prompts import ROWS

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from gatewayx_nb.calls import CallOptions
    from gatewayx_nb.conversations import ChatStore
    from gatewayx_nb.output_formats import OutputFormat

_IPYTHON_NAMES = frozenset({"get_ipython", "In", "Out", "exit", "quit"})


@dataclass(frozen=True, slots=True)
class Cell:
    """A parsed cell, ready to run.

    Attributes:
        prompt: The prompt, with values filled in.
        options: The options of the call.
        references: The models, if there are several.
        variable: Name of the variable for the reply, in addition to ``_reply``.
        quiet: Whether to show nothing.
        chat: The conversation to continue.
        dry_run: Whether to show only what would be sent.
        background: Whether the cell ends at once and the answer arrives later.
        streams: Whether to show the answer as it arrives, or only when it is complete.
        output_format: The format in which the answer is shown.
        insert: Whether to put the reply's code into the next cell.
    """

    prompt: str
    options: CallOptions
    references: tuple[str, ...] = ()
    variable: str | None = None
    quiet: bool = False
    chat: str | None = None
    dry_run: bool = False
    background: bool = False
    streams: bool = True
    output_format: OutputFormat = "markdown"
    insert: bool = False

    def in_chat(self, chats: ChatStore, cell_id: str | None) -> Cell:
        """Return the cell with a slot in its conversation, or unchanged if it has none.

        Args:
            chats: The conversations.
            cell_id: The front end's ID of the cell; running the cell again replaces its turn.
        """
        if self.chat is None:
            return self
        return replace(self, options={**self.options, "chat": chats.get(self.chat).slot(cell_id)})


def parser() -> LineParser:
    """Return the parser for a cell's line."""
    line = LineParser("%%gatewayx", "Call a model with the prompt on the lines below.")
    add = line.add_argument
    reference_help = "engine or engine:model; several: side by side"
    add("references", nargs="*", metavar="REF", help=reference_help)
    for name, option in OPTIONS.items():
        line.add_call_option(name, option)
    add("-o", "--out", metavar="NAME", help="bind the reply to this variable")
    formats = output_formats.OUTPUT_FORMATS
    format_help = f"show it as {', '.join(formats)}"
    add("-f", "--as", dest="output_format", choices=formats, metavar="FORMAT", help=format_help)
    add("--insert", action="store_true", help="put the code into the next cell; never runs it")
    add("--no-vars", action="store_true", help="don't fill in {{name}}")
    add("--bg", action="store_true", help="run in the background; -o names the job")
    add("--no-stream", action="store_true", help="show the answer only when it is complete")
    add("--dry-run", action="store_true", help="show what would be sent, and send nothing")
    add("-q", "--quiet", action="store_true", help="show nothing")
    add("-h", "--help", action="store_true", help="show this list")
    return line


@functools.cache
def flags() -> Mapping[str, str]:
    """Return the flag of each option that has one, such as ``-t`` for ``temperature``."""
    actions = parser().actions
    return {action.dest: action.option_strings[0] for action in actions if action.option_strings}


def wants_help(line: str) -> bool:
    """Return whether a line asks for help; an invalid line does not."""
    try:
        return bool(parser().read(line).help)
    except UsageError:
        return False


def read(line: str, body: str, namespace: Mapping[str, object], rows: int = ROWS) -> Cell:
    """Parse a cell.

    Args:
        line: The text after ``%%gatewayx``, verbatim.
        body: The text below that line.
        namespace: The notebook's variables, for ``{{name}}``.
        rows: Maximum number of rows of a table in the prompt.

    Raises:
        UsageError: If the line is invalid, the cell is empty, or a ``{{name}}`` is undefined.
    """
    args = parser().read(line)
    if not body.strip():
        raise UsageError(
            "the cell has no prompt.", hint="Write it on the lines below `%%gatewayx`."
        )
    # Checked before the call: an answer that cannot be bound would be lost, and it costs money.
    _check_variable(args.out)
    output_format = _output_format(args)
    values = NotebookValues(namespace, rows, args.no_vars)
    # Only newlines are stripped: spaces at the ends belong to the prompt.
    prompt = values.prompt(body.strip("\n"))
    options = _options(args, values, output_format)
    images = (*prompt.images, *map(values.image, args.images))
    if images:
        options["images"] = images
    return Cell(
        prompt=prompt.text,
        options=options,
        references=tuple(args.references) if len(args.references) > 1 else (),
        variable=args.out,
        quiet=args.quiet,
        chat=args.chat,
        dry_run=args.dry_run,
        background=args.bg,
        streams=not args.no_stream,
        output_format=output_format,
        insert=args.insert,
    )


def _check_variable(name: str | None) -> None:
    """Reject a name that is not valid, or that Python or IPython needs."""
    if name is None:
        return
    # Binding a built-in such as `list` would break later cells.
    is_reserved = keyword.iskeyword(name) or name in _IPYTHON_NAMES or hasattr(builtins, name)
    if is_reserved or not name.isidentifier():
        raise UsageError(
            f"{name!r} is not a valid variable name, or is reserved by Python or IPython.",
            hint="For example, `-o answer`.",
        )


def _output_format(args: argparse.Namespace) -> OutputFormat:
    """Return the format of the answer: as requested, or as implied by the other options.

    Raises:
        UsageError: If the options contradict each other, or the format could not be shown.
    """
    requested: OutputFormat | None = args.output_format
    in_columns = len(args.references) > 1 or args.bg
    if in_columns and (args.insert or requested not in (None, "markdown")):
        raise UsageError(
            "several models, and jobs, show their answers as Markdown: `--as` and `--insert` cannot"
            " be used.",
            hint="Omit them; `--schema NAME` sets each reply's `parsed`.",
        )
    if args.insert and requested not in (None, "code"):
        raise UsageError(
            f"`--insert` puts code into the next cell, and cannot be used with `--as {requested}`.",
            hint=f"Omit `--as {requested}`.",
        )
    if args.schema and requested in ("code", "html", "frame"):
        raise UsageError(
            f"`--schema` returns an object, and cannot be used with `--as {requested}`.",
            hint=f"Omit `--as {requested}`.",
        )
    return requested or ("code" if args.insert else "json" if args.schema else "markdown")


def _options(
    args: argparse.Namespace, values: NotebookValues, output_format: OutputFormat
) -> CallOptions:
    flags = ((name, getattr(args, name)) for name, option in OPTIONS.items() if option.flag)
    # False is compared by identity, because 0 equals it and is a value, as in `-t 0`.
    set_options = {
        name: value for name, value in flags if value not in (None, []) and value is not False
    }
    options = cast("CallOptions", set_options)
    options.pop("chat", None)  # set by `Cell.in_chat`, which knows the cell's ID
    if len(args.references) == 1:
        options["model"] = args.references[0]
    if args.system is not None:
        options["system"] = values.text(args.system)
    if args.params:
        options["params"] = dict(map(_param, args.params))
    schema = values.schema(args.schema) if args.schema else output_formats.schema_for(output_format)
    if schema is not None:
        options["schema"] = schema
    return options


def _param(text: str) -> tuple[str, Any]:
    """Parse ``K=V``: a JSON value, or otherwise the text itself."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f"`-p` must be K=V, got {text!r}.", hint="For example, `-p top_p=0.9`.")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
