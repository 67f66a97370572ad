"""Parses what ``ask``, ``map`` and ``eval`` have in common: options, values, files, cassettes."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatewayx_nb.cli.key_guard import refuse_keys
from gatewayx_nb.commands import LineParser, option_flags, read_options, typed_flags
from gatewayx_nb.errors import UsageError
from gatewayx_nb.files import display_path
from gatewayx_nb.mcp_server import MCPServer

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from gatewayx_nb.cassettes import Cassette
    from gatewayx_nb.commands import Session

_SERVER_PREFIX = "mcp:"

_OPTION_START = re.compile(r"-\S")  # a dash and a space begin a Markdown list, which is a prompt


def read_line(
    session: Session, parser: LineParser, words: Sequence[str]
) -> tuple[argparse.Namespace, list[str]]:
    """Parse a line with options anywhere; return the options and first word, and any other words.

    Raises:
        UsageError: If an option is invalid or contains a key, or there is no first word.
    """
    options: list[str] = []
    other_words: list[str] = []
    remaining_words = iter(words)
    for word in remaining_words:
        if word == "--":
            other_words += remaining_words
        elif not _OPTION_START.match(word):
            other_words.append(word)
        else:
            options.append(word)
            if parser.takes_value(word):
                options += [value for _, value in zip([word], remaining_words, strict=False)]
    if not other_words:
        first_argument = next(
            action.metavar for action in parser.actions if not action.option_strings
        )
        raise parser.usage_error(f"`{parser.prog}` needs {first_argument}.")
    refuse_keys(session, [*options, other_words[0]])
    # Only the options and the first word are parsed.
    return parser.read_words([*options, "--", other_words[0]]), other_words[1:]


def refuse_unused(
    parser: LineParser, args: argparse.Namespace, option: str, unused_options: Sequence[str]
) -> None:
    """Refuse options that have no effect with another option.

    Raises:
        UsageError: If an option without effect was typed.
    """
    flags = option_flags(parser)
    for unused_option in unused_options if getattr(args, option) else ():
        if getattr(args, unused_option) not in (None, False, []):
            raise UsageError(
                f"`{flags[unused_option]}` has no effect with `{flags[option]}`.",
                hint="Omit one of them.",
            )


def call_options(
    parser: LineParser, args: argparse.Namespace, words: Sequence[str]
) -> dict[str, Any]:
    """Return the options of the call from a parsed line.

    Raises:
        UsageError: If a value is invalid.
    """
    flags = {**option_flags(parser), **typed_flags(parser, words)}
    options = read_options(args, flags, _read_value, ("chat", "images", "schema", "tools"))
    if paths := getattr(args, "images", None):  # a map has no images
        options["images"] = [_checked_image(path) for path in paths]
    if args.schema:
        options["schema"] = _read_schema(args.schema)
    if args.tools:
        options["tools"] = list(map(_parse_server, args.tools))
    return options


def check_folder(file: Path) -> None:
    """Check, before anything is sent, that the folder of a file exists and is writable.

    Raises:
        UsageError: If the folder does not exist or is not writable.
    """
    folder = file.parent
    if not folder.is_dir():
        raise UsageError(
            f"there is no folder {display_path(folder)!r}.", hint="Create the folder first."
        )
    if not os.access(folder, os.W_OK):
        raise UsageError(
            f"the folder {display_path(folder)!r} is not writable.", hint="Choose another folder."
        )


def recording_status(cassette: Cassette | None) -> int:
    """Return the exit status: 1 if a cassette could not be written, otherwise 0."""
    return 1 if cassette is not None and cassette.problem else 0


def _read_value(text: str, parse: Callable[[str], Any]) -> Any:  # noqa: ANN401 - any value
    try:
        return parse(text)
    except ValueError:
        return text  # the option's check reports an invalid type


def _checked_image(path: str) -> str:
    if "://" in path or Path(path).expanduser().is_file():
        return path
    raise UsageError(f"`--image`: there is no file {path!r}.", hint="Check the path.")


def _read_schema(path: str) -> object:
    """Return the JSON Schema that a file contains.

    Raises:
        UsageError: If the file cannot be read or does not contain a JSON object.
    """
    try:
        schema = json.loads(Path(path).expanduser().read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or f"it is not JSON ({error})"
        raise UsageError(
            f"`--schema {path}` cannot be read: {reason}.", hint="Check the file."
        ) from None
    if not isinstance(schema, dict):
        raise UsageError(
            f"`--schema {path}` must contain a JSON object.",
            hint='For example, `{"type": "object", "properties": {"city": {"type": "string"}}}`.',
        )
    return schema


def _parse_server(name: str) -> MCPServer:
    if not name.startswith(_SERVER_PREFIX):
        raise UsageError(
            f"`--tools` must be `{_SERVER_PREFIX}NAME` in a shell, got {name!r}.",
            hint="NAME is an MCP server in the settings, `[mcp.NAME]`; functions need a notebook.",
        )
    return MCPServer(name.removeprefix(_SERVER_PREFIX))
