"""Parses a ``%%gatewayx`` cell or a ``%gatewayx REF …`` line: its options and its prompt."""

from __future__ import annotations

import functools
import io
import itertools
import re
import shlex
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from gatewayx_nb import output_formats, prompts
from gatewayx_nb.calls import OPTIONS, PARAM_OPTIONS
from gatewayx_nb.commands import LineParser, option_flags, read_options, typed_flags
from gatewayx_nb.conversations import Chat
from gatewayx_nb.errors import UsageError
from gatewayx_nb.magics import cell_notes
from gatewayx_nb.magics.map_cell import MapCell, check_flags, read_map
from gatewayx_nb.magics.notebook_values import NotebookValues
from gatewayx_nb.magics.reply_target import ReplyTarget, parse_target
from gatewayx_nb.prompts import ROWS

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from gatewayx_nb.calls import CallOptions
    from gatewayx_nb.conversations import ChatStore
    from gatewayx_nb.output_formats import OutputFormat

_EXAMPLES = (
    "`%%gatewayx grok -t 0 -o answer` asks grok with the lines below, and binds the reply.",
    "`%%gatewayx grok anthropic` shows the answers of two models side by side.",
)
_SEPARATING_COMMA = re.compile(r"^[^:]*,|,[^,]*:|,$")
"""A comma that separates references: `a,b`, `a:x,b:y` or `a:x,`."""

_OPTION_START = re.compile(r"-\S")  # a dash and a space begin a Markdown list, which is a prompt


@dataclass(frozen=True, slots=True)
class Cell:
    """A parsed cell, ready to run.

    Attributes:
        prompt: The prompt, with values filled in.
        options: The options of the call.
        references: The models, if there are several.
        target: Where the reply is bound, in addition to ``_reply``.
        quiet: Whether all output is suppressed.
        chat: The conversation to continue, its name, or the name of a variable that contains it.
        dry_run: Whether the requests are only shown, not sent.
        background: Whether the cell ends immediately and the answer arrives later.
        streams: Whether the answer is shown as it arrives, rather than only when it is complete.
        output_format: The format in which the answer is shown.
        insert: Whether the reply's code is put into the next cell.
        advice: How to quote words that were probably intended as the value of one option; empty if
            there are none.
        notes: Notes on probable typing mistakes, to be shown below the answer.
    """

    prompt: str
    options: CallOptions
    references: tuple[str, ...] = ()
    target: ReplyTarget | None = None
    quiet: bool = False
    chat: str | Chat | None = None
    dry_run: bool = False
    background: bool = False
    streams: bool = True
    output_format: OutputFormat = "markdown"
    insert: bool = False
    advice: str = ""
    notes: tuple[str, ...] = ()

    def in_chat(
        self, chats: ChatStore, namespace: Mapping[str, object], cell_id: str | None
    ) -> Cell:
        """Return a copy with a slot in its conversation, or the cell itself if it has none.

        Args:
            chats: The conversations.
            namespace: The notebook's variables, one of which may contain the conversation.
            cell_id: The front end's ID of the cell; running the cell again replaces its turn.
        """
        if self.chat is None:
            return self
        chat = self.chat
        if isinstance(chat, str):
            value = namespace.get(chat)
            chat = value if isinstance(value, Chat) and chat not in chats else chats.get(chat)
        return replace(self, options={**self.options, "chat": chat.slot(cell_id)})


def parser(prog: str = "%%gatewayx", advice: str = "") -> LineParser:
    """Return the parser for a cell's first line, or for a line with a prompt.

    Args:
        prog: The beginning of the line, to be shown in the usage.
        advice: Advice for an unknown option.
    """
    description = "Call a model with the prompt on the lines below."
    line_parser = LineParser(prog, description, "%%gatewayx -h", advice)
    add = line_parser.add_argument
    reference_help = "engine or engine:model; several: side by side"
    add("references", nargs="*", metavar="REF", help=reference_help)
    line_parser.examples, line_parser.param_options = _EXAMPLES, PARAM_OPTIONS
    # The help lists the groups in this order.
    _, add_shape, add_context, add_run = map(
        line_parser.adder_for_group, ("Sampling", "Shape", "Context", "Run")
    )
    for name, option in OPTIONS.items():
        line_parser.add_call_option(name, option)
    add_shape("-o", "--out", metavar="NAME", help="bind the reply to this variable")
    formats = output_formats.OUTPUT_FORMATS
    format_help = f"show it as {', '.join(formats)}"
    add_shape(
        "-f", "--as", dest="output_format", choices=formats, metavar="FORMAT", help=format_help
    )
    add_shape(
        "--insert", action="store_true", help="put the code into the next cell; do not run it"
    )
    add_context("--no-vars", action="store_true", help="don't fill in {{name}}")
    add_run("--bg", action="store_true", help="run in the background; -o names the job")
    map_help = "ask about each row of a DataFrame, a Series or a list; {{column}} is its value"
    add_run("--map", metavar="FRAME", help=map_help)
    add_run("--no-stream", action="store_true", help="show the answer only when it is complete")
    add_run("--dry-run", action="store_true", help="show what would be sent, and send nothing")
    add_run("-q", "--quiet", action="store_true", help="show nothing; a line still has its value")
    add_run("-h", "--help", action="store_true", help="show this list")
    return line_parser


@functools.cache
def flags() -> Mapping[str, str]:
    """Return the flag of each option, such as ``-t`` or ``-p seed=``, by the option's name."""
    return option_flags(parser())


def wants_help(line: str) -> bool:
    """Return whether a line is valid and asks for help."""
    try:
        return bool(parser().read(line, _split).help)
    except UsageError:
        return False


def read(line: str, body: str, namespace: Mapping[str, object], rows: int = ROWS) -> Cell | MapCell:
    """Parse a cell.

    Args:
        line: The text after ``%%gatewayx``, verbatim.
        body: The text below that line.
        namespace: The notebook's variables, for ``{{name}}``.
        rows: Maximum number of rows of a table that is inserted into the prompt.

    Raises:
        UsageError: If the line is invalid, the cell is empty, or a ``{{name}}`` is undefined.
    """
    line_parser = parser()
    try:
        words = _split(line)
    except ValueError as error:
        raise line_parser.unreadable_error(line, error) from None
    return _create_cell(line_parser, words, body, namespace, rows)


def read_line(
    line: str, namespace: Mapping[str, object], rows: int = ROWS
) -> Cell | MapCell | None:
    """Parse a line: a reference, options and then the prompt, which is used as typed.

    Args:
        line: The text after ``%gatewayx``, verbatim.
        namespace: The notebook's variables, for ``{{name}}``.
        rows: Maximum number of rows of a table that is inserted into the prompt.

    Returns:
        The cell with this prompt; ``None`` if the line asks for help.

    Raises:
        UsageError: If an option is invalid, the prompt is empty, or a ``{{name}}`` is undefined.
    """
    line_parser = parser("%gatewayx", "A prompt that begins with a dash follows `--`.")
    try:
        words, prompt = _split_prompt(line, line_parser)
    except ValueError as error:
        raise line_parser.unreadable_error(line, error) from None
    if {"-h", "--help"}.intersection(words):
        return None
    cell = _create_cell(line_parser, words, prompt, namespace, rows)
    # After `--`, an option in the prompt is not a mistake.
    has_separator = line.strip().removesuffix(prompt).split()[-1:] == ["--"]
    late_options = () if has_separator else cell_notes.late_options(line_parser, prompt)
    return replace(cell, notes=(*cell.notes, *late_options))


def _split(line: str) -> list[str]:
    """Split a line as a shell does, but keep the quotes within a ``{{name}}``.

    Raises:
        ValueError: If a quotation mark is not closed.
    """
    masked_line, unmask = prompts.mask(line)
    return list(map(unmask, shlex.split(masked_line)))


def _split_prompt(line: str, line_parser: LineParser) -> tuple[list[str], str]:
    """Return the words of the reference and options, and the prompt after them, as typed."""
    masked_line, unmask = prompts.mask(line)
    words, remaining_text, has_reference = [], masked_line.strip(), False
    while remaining_text:
        if _OPTION_START.match(remaining_text):
            word, remaining_text = _split_first_word(remaining_text)
            if word == "--":
                break
            words.append(word)
            if remaining_text and line_parser.takes_value(word):
                value, remaining_text = _split_first_word(remaining_text)
                words.append(value)
        elif not has_reference:
            word, remaining_text = (*remaining_text.split(maxsplit=1), "")[:2]
            words.append(word)
            has_reference = True
        else:
            break
    return list(map(unmask, words)), unmask(remaining_text)


def _split_first_word(text: str) -> tuple[str, str]:
    """Return the first word, unquoted as in a shell, and the text after it."""
    stream = io.StringIO(text)
    lexer = shlex.shlex(stream, posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.commenters = True, ""
    word = lexer.get_token()
    return word or "", text[stream.tell() :].lstrip()


def _create_cell(
    line_parser: LineParser,
    words: Sequence[str],
    prompt: str,
    namespace: Mapping[str, object],
    rows: int,
) -> Cell | MapCell:
    """Return the cell with this prompt, and with these words on its first line."""
    args = line_parser.read_words(words)
    if not prompt.strip():
        raise _no_prompt_error(line_parser, args.references)
    flags_as_typed = typed_flags(line_parser, words)
    _check_dry_run(args, flags_as_typed)
    if args.map is not None:
        check_flags(args, flags_as_typed, is_cell=line_parser.prog.startswith("%%"))
    values = NotebookValues(namespace, rows, args.no_vars)
    # Check the target before the call, because an answer that cannot be bound would be lost
    # although it costs money.
    target = parse_target(args, namespace)
    output_format = _output_format(args)
    references = tuple(map(values.text, args.references))
    _check_separators(references)
    options = _read_call_options(args, flags_as_typed, values, output_format)
    if len(references) == 1:
        options["model"] = references[0]
    images = tuple(itertools.chain.from_iterable(map(values.images, args.images)))
    notes = () if args.no_vars else tuple(cell_notes.sent_as_typed("\n".join([*words, prompt])))
    if args.map is not None:
        options |= {"images": images} if images else {}
        return replace(read_map(args, prompt, values, options), target=target, notes=notes)
    # Strip only newlines, because spaces at the ends belong to the prompt.
    filled_prompt = values.prompt(prompt.strip("\n"))
    if filled_prompt.images or images:
        options["images"] = (*filled_prompt.images, *images)
    return Cell(
        prompt=filled_prompt.text,
        options=options,
        references=references if len(references) > 1 else (),
        target=target,
        quiet=args.quiet,
        chat=None if args.chat is None else _read_chat(args.chat, values),
        dry_run=args.dry_run,
        background=args.bg,
        streams=not args.no_stream,
        output_format=output_format,
        insert=args.insert,
        advice=line_parser.quoting_advice(words),
        notes=notes,
    )


def _no_prompt_error(line_parser: LineParser, references: Sequence[str]) -> UsageError:
    if line_parser.prog.startswith("%%"):
        return UsageError(
            "the cell has no prompt.",
            hint="Write the prompt on the lines below `%%gatewayx`.",
            topic="no-prompt",
        )
    example = f"%gatewayx {references[0] if references else 'mock'} Why is the sky blue?"
    return UsageError(
        "the prompt is missing.", hint=f"For example, `{example}`.", topic="no-prompt"
    )


def _read_chat(text: str, values: NotebookValues) -> str | Chat:
    """Return the conversation in a lone ``{{name}}``; otherwise, return the conversation's name."""
    value = values.option(text, lambda name: name)
    return value if isinstance(value, Chat) else values.text(text)


def _check_separators(references: Sequence[str]) -> None:
    """Check that references are not separated by commas; only a model's name may contain commas.

    Raises:
        UsageError: If there is a comma before a colon or without a colon.
    """
    for reference in references:
        if _SEPARATING_COMMA.search(reference):
            models = " ".join(" ".join(references).replace(",", " ").split())
            raise UsageError(
                f"a model reference cannot contain a comma, got {reference!r}.",
                hint=f"Write the models with a space between them: `{models}`.",
            )


def _check_dry_run(args: argparse.Namespace, typed_flags: Mapping[str, str]) -> None:
    """Check that every option has an effect if the cell is a dry run, which has no answer.

    Raises:
        UsageError: If an option has no effect.
    """
    for name in ("out", "bg", "insert", "quiet") if args.dry_run else ():
        if getattr(args, name):
            flag = typed_flags.get(name) or flags()[name]
            raise UsageError(f"`{flag}` has no effect with `--dry-run`.", hint="Omit one of them.")


def _output_format(args: argparse.Namespace) -> OutputFormat:
    """Return the format of the answer, as requested or implied by the other options.

    Raises:
        UsageError: If the options contradict each other, or the format cannot be shown.
    """
    requested_format: OutputFormat | None = args.output_format
    is_in_columns = len(args.references) > 1 or args.bg
    if is_in_columns and (args.insert or requested_format not in (None, "markdown")):
        raise UsageError(
            "the answers of several models or a job are shown as Markdown, so `--as` and `--insert`"
            " cannot be used.",
            hint="Omit them; `--schema NAME` sets each reply's `parsed`.",
        )
    if args.insert and requested_format not in (None, "code"):
        raise UsageError(
            f"`--insert` puts code into the next cell, so `--as {requested_format}` cannot be"
            " used.",
            hint=f"Omit `--as {requested_format}`.",
        )
    if args.schema and requested_format in ("code", "html", "frame"):
        raise UsageError(
            f"`--schema` returns an object, so `--as {requested_format}` cannot be used.",
            hint=f"Omit `--as {requested_format}`.",
        )
    return requested_format or ("code" if args.insert else "json" if args.schema else "markdown")


_OPTIONS_READ_SEPARATELY = ("chat", "images", "schema", "tools")
"""Options whose value is not simply the typed text."""


def _read_call_options(
    args: argparse.Namespace,
    typed_flags: Mapping[str, str],
    values: NotebookValues,
    output_format: OutputFormat,
) -> CallOptions:
    # The system prompt of a map is filled for each row; `Cell.in_chat` sets `chat`.
    skipped_names = (*_OPTIONS_READ_SEPARATELY, *(["system"] if args.map is not None else []))
    options = read_options(args, {**flags(), **typed_flags}, values.option, skipped_names)
    if args.tools:
        options["tools"] = values.tools(args.tools)
    schema = values.schema(args.schema) if args.schema else output_formats.schema_for(output_format)
    if schema is not None:
        options["schema"] = schema
    return cast("CallOptions", options)
