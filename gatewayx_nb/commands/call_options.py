"""Defines the flags of call options on a command line, and reads the typed values."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gatewayx_nb.calls import OPTIONS, PARAM_OPTIONS, check_option
from gatewayx_nb.errors import UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from gatewayx_nb.commands.line_parser import LineParser

    ReadValue = Callable[[str, Callable[[str], Any]], Any]
    """A function that returns an option's value from the typed text and the option's parser."""


_SHELL_FLAGS = {
    "schema": ("--schema FILE", "a file with a JSON Schema; the answer is JSON"),
    "images": ("--image FILE", "a file or URL of an image to send"),
    "tools": ("--tools mcp:NAME", "an MCP server in the settings, whose tools the model may call"),
}
"""The flag and the help, in a shell, of options whose value is a variable in a notebook."""


def add_shell_options(parser: LineParser, *, skip: Collection[str]) -> None:
    """Add the call options to a shell command, in which values are files instead of variables."""
    # This creates the groups in the order in which the help lists them.
    _, _, _, _ = map(parser.adder_for_group, ("Sampling", "Shape", "Context", "Run"))
    for name, option in OPTIONS.items():
        flag, help_text = _SHELL_FLAGS.get(name, (option.flag, option.help))
        if name not in skip:
            parser.add_call_option(name, replace(option, flag=flag, help=help_text))


def typed_flags(parser: LineParser, words: Sequence[str]) -> dict[str, str]:
    """Return the flag with which each option was typed, for error messages."""
    flags = {}
    for word in words:
        action = parser.action_for_flag(word.partition("=")[0])
        if action is not None:
            flags[action.dest] = word.partition("=")[0]
    return flags


def option_flags(parser: LineParser) -> dict[str, str]:
    """Return the flag of each option, such as ``-t`` or ``-p seed=``, by the option's name."""
    flags = {
        action.dest: action.option_strings[0] for action in parser.actions if action.option_strings
    }
    return flags | {name: f"-p {name}=" for name in PARAM_OPTIONS}


def read_options(
    args: argparse.Namespace,
    flags: Mapping[str, str],
    read_value: ReadValue,
    skip: Collection[str],
) -> dict[str, Any]:
    """Return the call options that were typed, validated, including those set with ``-p``.

    Args:
        args: The parsed line.
        flags: The flag of each option by name, for error messages.
        read_value: Converts the text of an option.
        skip: The options that the caller reads itself.

    Raises:
        UsageError: If a value is invalid.
    """
    options: dict[str, Any] = {}
    for name, option in OPTIONS.items():
        argument = getattr(args, name, None)
        if name in skip or name in ("params", "model") or argument in (None, [], False):
            continue
        value = argument
        if isinstance(argument, str):
            value = read_value(argument, option.parse_flag)
        elif isinstance(argument, list):
            value = [read_value(text, option.parse_flag) for text in argument]
        # Check the value here, so that the message can name the flag as typed.
        check_option(name, value, flags[name])
        options[name] = value
    params = _params(args.params, read_value)
    for name in PARAM_OPTIONS.keys() & params.keys():
        options[name] = params.pop(name)
        check_option(name, options[name], flags[name])
    if params:
        options["params"] = params
    return options


def _params(texts: Iterable[str], read_value: ReadValue) -> dict[str, Any]:
    """Return the parameters in strings of the form ``K=V``; a dot in K denotes a nested object.

    Raises:
        UsageError: If a parameter is invalid or has two values.
    """
    params: dict[str, Any] = {}
    for text in texts:
        name, separator, value_text = text.partition("=")
        if not separator or not name:
            raise UsageError(
                f"`-p` must be K=V, got {text!r}.", hint="For example, `-p top_p=0.9`."
            )
        value = read_value(value_text, _json_or_text)
        *path, last_key = name.split(".")
        target = params
        for key in path:
            nested_value = target.setdefault(key, {})
            if not isinstance(nested_value, dict):
                raise UsageError(
                    f"`-p {key}` has a value, so it cannot also have `{name}`.",
                    hint="Omit one of them.",
                )
            target = nested_value
        if last_key in target:
            raise UsageError(f"`-p {name}` has two values.", hint="Omit one of them.")
        target[last_key] = value
    return params


def _json_or_text(text: str) -> Any:  # noqa: ANN401 - JSON
    try:
        return json.loads(text)
    except ValueError:
        return text
