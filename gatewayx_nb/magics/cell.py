"""``%%gatewayx``: parses a cell's line and prompt, and calls the model."""

from __future__ import annotations

import builtins
import json
import keyword
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gatewayx_nb import display, output_formats
from gatewayx_nb.commands import Parser
from gatewayx_nb.errors import GatewayError, UsageError
from gatewayx_nb.magics.values import Values
from gatewayx_nb.prompts import ROWS

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping

    from gatewayx_nb.calls import AsyncReplyStream, CallOptions, ReplyStream
    from gatewayx_nb.conversations import ChatStore
    from gatewayx_nb.engine_pool import EnginePool
    from gatewayx_nb.messages import Image
    from gatewayx_nb.output_formats import OutputFormat
    from gatewayx_nb.replies import Reply

_FORMS_HELP = f"show it as {', '.join(output_formats.OUTPUT_FORMATS)}"
_IMAGE_HELP = "a name of the notebook, a file or an https address"

LAST = "_reply"
"""Name of the variable for the last reply."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A parsed cell, ready to run.

    Attributes:
        prompt: The prompt, with values filled in.
        options: The keywords of the call.
        references: The models, if there are several.
        output: Name of the variable for the reply, in addition to `LAST`.
        quiet: Whether to show nothing.
        chat: The conversation to continue.
        dry: Whether to show only what would be sent.
        background: Whether the cell ends at once and the answer arrives later.
        at_once: Whether to show the answer only when it is complete.
        form: The form in which the answer is shown.
        insert: Whether to put its code into the next cell.
    """

    prompt: str
    options: CallOptions
    references: tuple[str, ...] = ()
    output: str | None = None
    quiet: bool = False
    chat: str | None = None
    dry: bool = False
    background: bool = False
    at_once: bool = False
    form: OutputFormat = "markdown"
    insert: bool = False

    def in_chat(self, chats: ChatStore, cell: str | None) -> Cell:
        """Return the cell with its slot in the conversation, if it has one.

        Args:
            chats: The conversations.
            cell: The front end's id of the cell; running the cell again replaces its turn.
        """
        if self.chat is None:
            return self
        return replace(self, options={**self.options, "chat": chats.get(self.chat).slot(cell)})


def parser() -> Parser:
    """Return the parser for a cell's line."""
    read = Parser("%%gatewayx", "Ask a model; the prompt stands below this line.")
    add = read.add_argument
    add(
        "references", nargs="*", metavar="REF", help="engine or engine:model; several: side by side"
    )
    add("-s", "--system", metavar="TEXT", help="system prompt")
    add("-t", "--temperature", type=float, metavar="X", help="sampling temperature")
    add("-n", "--max-tokens", type=int, metavar="N", help="most tokens of the answer")
    add("-p", "--param", action="append", default=[], metavar="K=V", help="a further parameter")
    add("-o", "--out", metavar="NAME", help="bind the reply to this name")
    add(
        "-f",
        "--as",
        dest="form",
        choices=output_formats.OUTPUT_FORMATS,
        metavar="FORM",
        help=_FORMS_HELP,
    )
    add("--insert", action="store_true", help="put the code into the next cell; never runs it")
    add("--schema", metavar="NAME", help="a class or dict of the notebook; fills `_reply.parsed`")
    add("--image", action="append", default=[], metavar="EXPR", help=_IMAGE_HELP)
    add("--no-vars", action="store_true", help="leave every {{name}} as it stands")
    add(
        "--fallback", action="append", default=[], metavar="REF", help="ask it if the one REF fails"
    )
    add("-c", "--chat", metavar="NAME", help="join this conversation, or begin it")
    add("--timeout", type=float, metavar="S", help="seconds for the whole call")
    add("--max-cost", type=float, metavar="USD", help="send nothing that may cost more")
    add("--allow-unpriced", action="store_true", help="send it though its price is not known")
    add("--bg", action="store_true", help="end the cell at once; -o names the job")
    add("--no-stream", action="store_true", help="show the answer whole, at its end")
    add("--dry-run", action="store_true", help="show what would be sent, and send nothing")
    add("--fresh", action="store_true", help="ask past the cassette that is open")
    add("-q", "--quiet", action="store_true", help="show nothing")
    add("-h", "--help", action="store_true", help="show this")
    return read


def wants_help(line: str) -> bool:
    """Return whether a line asks for help; an invalid line does not."""
    try:
        return bool(parser().read(line).help)
    except UsageError:
        return False


def read(line: str, body: str, names: Mapping[str, object], rows: int = ROWS) -> Cell:
    """Parse a cell.

    Args:
        line: The text after ``%%gatewayx``, verbatim.
        body: The text below that line.
        names: The notebook's variables, for ``{{name}}``.
        rows: Maximum number of rows of a table in the prompt.

    Raises:
        UsageError: If the line is invalid, the cell is empty, or a ``{{name}}`` is undefined.
    """
    words = parser().read(line)
    if not body.strip():
        raise UsageError(
            "the cell has no prompt.", hint="Write it on the lines below `%%gatewayx`."
        )
    if words.out is not None and not _is_free(words.out):
        raise UsageError(
            f"{words.out!r} is no name that a reply can be bound to.",
            hint="For instance `-o answer`.",
        )
    _check_together(words)
    form, values = _form(words), Values(names, rows, words.no_vars)
    prompt = values.prompt(body.strip("\n"))
    return Cell(
        prompt=prompt.text,
        options=_options(words, values, prompt.images, form),
        references=tuple(words.references) if len(words.references) > 1 else (),
        output=words.out,
        quiet=words.quiet,
        form=form,
        insert=words.insert,
        chat=words.chat,
        dry=words.dry_run,
        background=words.bg,
        at_once=words.no_stream,
    )


def _check_together(words: argparse.Namespace) -> None:
    """Reject a form that could not be shown.

    Raises:
        UsageError: If there are several models, or the cell runs in the background.
    """
    shaped = words.insert or words.form not in (None, "markdown")
    if shaped and (len(words.references) > 1 or words.bg):
        raise UsageError(
            "columns and jobs show answers as Markdown, and take no `--as` and no `--insert`.",
            hint="Leave it out; `--schema NAME` fills each reply's `parsed`.",
        )


def ask(pool: EnginePool, cell: Cell, view: display.View, bind: Callable[[Reply], None]) -> Reply:
    """Call the model and wait; bind the reply, or the partial one after a failure."""
    stream = pool.stream(cell.prompt, **cell.options)
    try:
        reply = display.read(stream, view)
    except (KeyboardInterrupt, GatewayError):
        _keep(stream, bind)
        raise
    bind(reply)
    return reply


async def aask(
    pool: EnginePool, cell: Cell, view: display.View, bind: Callable[[Reply], None]
) -> None:
    """Call the model on the kernel's loop, which keeps handling widgets; see `ask`."""
    stream = pool.astream(cell.prompt, **cell.options)
    try:
        bind(await display.aread(stream, view))
    except (KeyboardInterrupt, GatewayError):
        _keep(stream, bind)
        raise


def _keep(stream: ReplyStream | AsyncReplyStream, bind: Callable[[Reply], None]) -> None:
    """Bind the partial reply of an unfinished answer."""
    if stream.partial.has_begun:
        bind(stream.partial.reply(interrupted=True))


def _form(words: argparse.Namespace) -> OutputFormat:
    """Return the form of the answer: as requested, or as implied by the other options."""
    told: OutputFormat | None = words.form
    if words.insert and told not in (None, "code"):
        raise UsageError(
            f"`--insert` puts code into the next cell, and `--as {told}` is none.",
            hint=f"Leave `--as {told}` out.",
        )
    if words.schema and told in ("code", "html", "frame"):
        raise UsageError(
            f"`--schema` asks for an object, and `--as {told}` for something else.",
            hint=f"Leave `--as {told}` out.",
        )
    return told or ("code" if words.insert else "json" if words.schema else "markdown")


def _options(
    words: argparse.Namespace, values: Values, pictures: tuple[Image, ...], form: OutputFormat
) -> CallOptions:
    options: CallOptions = {
        "params": dict(map(_param, words.param)),
        "fallback": words.fallback,
        "fresh": words.fresh,
    }
    if len(words.references) == 1:
        options["model"] = words.references[0]
    if words.system is not None:
        options["system"] = values.text(words.system)
    if words.temperature is not None:
        options["temperature"] = words.temperature
    if words.max_tokens is not None:
        options["max_tokens"] = words.max_tokens
    if words.timeout is not None:
        options["timeout"] = words.timeout
    if words.max_cost is not None:
        options["max_cost"] = words.max_cost
    if words.allow_unpriced:
        options["allow_unpriced"] = True
    pictures += tuple(map(values.image, words.image))
    if pictures:
        options["images"] = pictures
    shape = values.schema(words.schema) if words.schema else output_formats.schema_for(form)
    if shape is not None:
        options["schema"] = shape
    return options


def _is_free(name: str) -> bool:
    """Return whether a name is valid for a reply: not a keyword, builtin or IPython variable."""
    needed = name in {"get_ipython", "In", "Out", "exit", "quit"} or hasattr(builtins, name)
    return name.isidentifier() and not keyword.iskeyword(name) and not needed


def _param(text: str) -> tuple[str, Any]:
    """Parse ``K=V``: a JSON value, or otherwise the text itself."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f"{text!r} is no parameter.", hint="For instance `-p top_p=0.9`.")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
