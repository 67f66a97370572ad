"""An argument parser for command lines, whose errors any front end can show."""

from __future__ import annotations

import argparse
import difflib
import itertools
import re
import shlex
from operator import itemgetter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn

from typing_extensions import override

from gatewayx_nb.calls import Table, TableColumn
from gatewayx_nb.errors import UsageError, did_you_mean
from gatewayx_nb.text import shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gatewayx_nb.calls import Option

_SHORT_LENGTH = 2
"""Number of characters in a short option, such as ``-t``."""

_MAX_QUOTED_LENGTH = 60
"""Maximum number of characters of quoted input in an error message."""

# The messages of argparse are "invalid int value: 'x'" and "invalid choice: 'x' (choose from …)".
_REJECTED_VALUE = re.compile(r"[^'\"]*?(?:value|choice): (['\"])(.*?)\1(?: \(|$)", re.DOTALL)

_EXPECTED_BY_TYPE: Mapping[object, str] = {int: "a whole number", float: "a number"}


class _StoreOnce(argparse.Action):
    """The action of an option that cannot be repeated; by default, argparse uses the last value."""

    @override
    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        if option_string and getattr(namespace, self.dest) is not self.default:
            raise UsageError(
                f"`{option_string}` can be used only once.", hint="Remove the repetition."
            )
        setattr(namespace, self.dest, values)


class LineParser(argparse.ArgumentParser):
    """Argument parser that raises each error as a `UsageError` with a hint.

    Args:
        prog: The prefix of the command.
        description: What the command does, in one line.
        help_line: The command line that shows this command's help.
        advice: Advice for an unknown option.
        is_from_shell: Whether the words come from a shell, which has removed comments.

    Attributes:
        examples: Lines to show at the top of the table, instead of the full usage line.
        param_options: The options that are set with ``-p``, as in ``-p seed=1``, by name.
    """

    examples: tuple[str, ...] = ()
    param_options: Mapping[str, Option] = MappingProxyType({})

    def __init__(
        self,
        prog: str,
        description: str = "",
        help_line: str = "",
        advice: str = "",
        *,
        is_from_shell: bool = False,
    ) -> None:
        # By default, argparse prints help and exits. Abbreviations could clash with future options.
        super().__init__(
            prog=prog,
            description=description,
            add_help=False,
            allow_abbrev=False,
            exit_on_error=False,
        )
        for action in (None, "store"):
            self.register("action", action, _StoreOnce)
        self._help_line, self._advice = help_line or f"{prog} -h", advice
        self._is_from_shell = is_from_shell

    def read(
        self, line: str, split: Callable[[str], list[str]] = shlex.split
    ) -> argparse.Namespace:
        """Parse a line, split as in a shell.

        Raises:
            UsageError: If the line is invalid; for an unknown option, the message suggests the most
                similar one, if any.
        """
        try:
            words = split(line)
        except ValueError as error:
            raise self.unreadable_error(line, error) from None
        return self.read_words(words)

    def read_words(self, words: Sequence[str]) -> argparse.Namespace:
        """Parse the words of a line.

        Raises:
            UsageError: If the words are invalid; for an unknown option, the message suggests the
                most similar one, if any.
        """
        if not self._is_from_shell:
            self._refuse_comment(words)
        self._refuse_single_dash(words)
        try:
            args, unknown_words = self.parse_known_args(words)
        except argparse.ArgumentError as error:
            # The value of an unknown option would be parsed as an argument, with a misleading
            # error.
            names = (word.partition("=")[0] for word in words if word.startswith("--"))
            unknown_flags = [name for name in names if self.action_for_flag(name) is None]
            if unknown_flags and not str(error.argument_name).startswith("-"):
                raise self._unknown_words_error(words, unknown_flags) from None
            raise self._argument_error(error, words) from None
        if unknown_words:
            raise self._unknown_words_error(words, unknown_words)
        return args

    def unreadable_error(self, line: str, error: ValueError) -> UsageError:
        """Return the error for a line that cannot be split, possibly because of a comment.

        Args:
            line: The line.
            error: The error of `shlex`.
        """
        text_before, separator, comment = f" {line}".partition(" #")
        if separator and not {"'", '"'}.intersection(text_before):
            return self._comment_error(f"#{comment}")
        hint = (
            "Close the quotation marks, or put text that contains an apostrophe in double quotes."
        )
        if str(error) == "No escaped character":
            hint = "Remove the backslash at the end, or write two to keep one."
        return UsageError(
            f"`{self.prog} {shorten(line, _MAX_QUOTED_LENGTH)}` cannot be parsed: {error}.",
            hint=hint,
        )

    def add_call_option(self, name: str, option: Option) -> None:
        """Add the flag of a call option, if any; its unparsed value is stored under ``name``."""
        flags, _, metavar = option.flag.partition(" ")
        if not flags:
            return
        arguments: dict[str, Any] = {"action": "store_true"}  # argparse rejects a metavar here
        if metavar:
            arguments = {"metavar": metavar}
        if option.repeatable:
            arguments |= {"action": "append", "default": []}
        add = self.adder_for_group(option.group) if option.group else self.add_argument
        add(*flags.split("/"), dest=name, help=option.help, **arguments)

    def adder_for_group(self, title: str) -> Callable[..., argparse.Action]:
        """Return the function that adds an option to the group with this title."""
        group_by_title = {group.title: group for group in self._action_groups}
        return (group_by_title.get(title) or self.add_argument_group(title)).add_argument

    @property
    def actions(self) -> Sequence[argparse.Action]:
        """The arguments and options."""
        return self._actions  # argparse has no public API for this

    @property
    def option_strings(self) -> list[str]:
        """The flags of all options."""
        return [option for action in self.actions for option in action.option_strings]

    @property
    def synopsis(self) -> str:
        """The usage of the command, in one line."""
        return " ".join(self.format_usage().removeprefix("usage: ").split())

    @property
    def short_usage(self) -> str:
        """The command and its required arguments."""
        return re.sub(r" \[[^]]*\]", "", self.synopsis).partition(" | ")[0]

    def action_for_flag(self, word: str) -> argparse.Action | None:
        """Return the option with this flag, if any."""
        matching_actions = (action for action in self.actions if word in action.option_strings)
        return next(matching_actions, None)

    def param_example(self, word: str, value: str = "") -> str:
        """Return how to set an option with ``-p``, such as ``-p seed=1``.

        Args:
            word: The option's name, with or without dashes.
            value: The typed value; if empty, an example is used.

        Returns:
            The flag and its value; empty if no such option exists.
        """
        name = word.lstrip("-").replace("-", "_")
        option = self.param_options.get(name)
        return f"-p {name}={shlex.quote(value or str(option.example))}" if option else ""

    def takes_value(self, word: str) -> bool:
        """Return whether a word is a flag whose value is the next word."""
        action = self.action_for_flag(word)
        return action is not None and action.nargs != 0

    def table(self) -> Table:
        """Describe the command, its arguments and its options, by group."""
        rows: list[tuple[str, str, str]] = []
        # The first two groups are argparse's default groups for arguments and options.
        titles = ["", "", *(str(group.title) for group in self._action_groups[2:])]
        for title, group in zip(titles, self._action_groups, strict=True):
            help_texts = [(_usage_of(action), action.help) for action in group._group_actions]  # noqa: SLF001 - no public API
            described_options = [(usage, text) for usage, text in help_texts if text]
            rows += [
                (title if index == 0 else "", usage, text)
                for index, (usage, text) in enumerate(described_options)
            ]
        lead_lines = self.examples or (f"`{self.synopsis}`", self.description or "")
        return Table(rows, GROUPED_COLUMNS, self._param_notes(), lead=lead_lines)

    def _param_notes(self) -> list[str]:
        """Return the note about the options that only ``-p`` sets, if there are any."""
        if not self.param_options:
            return []
        *names, last_name = (f"`{name}`" for name in self.param_options)
        if not names:
            return [f"`-p` also sets {last_name}, which has no flag of its own."]
        return [
            f"`-p` also sets {', '.join(names)} and {last_name}, which have no flag of their own."
        ]

    def usage_error(self, problem: str, advice: str = "") -> UsageError:
        """Return the error for an invalid line: the problem, and the command that shows help."""
        return UsageError(problem, hint=f"{advice} Run `{self._help_line}` for help.".strip())

    @override
    def error(self, message: str) -> NoReturn:
        # argparse calls this for missing required arguments; Python 3.12 raises the error itself.
        raise argparse.ArgumentError(None, message)

    def _argument_error(self, error: argparse.ArgumentError, words: Sequence[str]) -> UsageError:
        """Return the error for an option or argument whose value is missing or invalid."""
        if error.argument_name is None:  # a missing argument
            return self.usage_error(f"`{self.prog}` needs {error.message.rpartition(': ')[2]}.")
        names = error.argument_name.split("/")
        action = self.action_for_flag(names[0]) or next(
            (action for action in self.actions if names[0] in (action.metavar, action.dest)), None
        )
        typed_words = (word.partition("=")[0] for word in words)
        name = next((f"`{word}`" for word in typed_words if word in names), names[0])
        if "|" in name or name == "ACTION":
            name = "the action"
        rejected_value = _REJECTED_VALUE.match(error.message)
        if action is None:
            return self.usage_error(f"{error}.")
        if action.nargs == 0:
            return self.usage_error(f"{name} takes no value.")
        if rejected_value is None and action.choices:
            return self.usage_error(f"{name} must be one of {', '.join(map(str, action.choices))}.")
        if rejected_value is None:
            return self.usage_error(f"{name} needs a value, {action.metavar}: {action.help}.")
        return self._rejected_value_error(name, action, rejected_value[2])

    def _rejected_value_error(self, name: str, action: argparse.Action, value: str) -> UsageError:
        quoted_text = repr(shorten(value, _MAX_QUOTED_LENGTH))
        if action.choices:
            choices = list(map(str, action.choices))
            suggestion = did_you_mean(value, choices)
            return self.usage_error(
                f"{name} must be one of {', '.join(choices)}, got {quoted_text}.{suggestion}"
            )
        if expected := _EXPECTED_BY_TYPE.get(action.type):
            return self.usage_error(f"{name} must be {expected}, got {quoted_text}.")
        return self.usage_error(f"{quoted_text} is not a valid value for {name}.")

    def _unknown_words_error(
        self, words: Sequence[str], unknown_words: Sequence[str]
    ) -> UsageError:
        """Return the error for unknown words."""
        flag = next(
            (word.partition("=")[0] for word in unknown_words if word.startswith("-")), None
        )
        words_after = " ".join(words).partition(flag)[2].lstrip("= ").split() if flag else []
        value = words_after[0] if words_after else ""
        takes_reference = any(action.metavar == "REF" for action in self.actions)
        if flag in ("-m", "--model") and takes_reference:
            return self.usage_error(
                f"there is no option {flag!r}: the model is the first word.",
                f"For example, `{self.prog} {value or 'grok'}`.",
            )
        if flag and (example := self.param_example(flag, value)):
            return self.usage_error(f"there is no option {flag!r}.", f"Use `{example}`.")
        if flag:
            longer_flags = [option for option in self.option_strings if option.startswith(flag)]
            suggestion = did_you_mean(
                longer_flags[0] if longer_flags else flag, self.option_strings
            )
            return self.usage_error(f"there is no option {flag!r}.{suggestion}", self._advice)
        if quoting_advice := self.quoting_advice(words):
            return self.usage_error("text with spaces must be quoted.", quoting_advice)
        return self.usage_error(
            f"{shorten(' '.join(unknown_words), _MAX_QUOTED_LENGTH)!r} is not expected here.",
            self._repetition_advice(words, unknown_words[0]),
        )

    def quoting_advice(self, words: Sequence[str]) -> str:
        """Return how to quote words of which only the first was parsed as an option's value.

        Return an empty string if there are no such words.
        """
        for index, word in enumerate(words[:-2]):
            if (
                self.takes_value(word)
                and getattr(self.action_for_flag(word), "metavar", "") == "TEXT"
            ):
                words_after = itertools.takewhile(lambda part: part[:1] != "-", words[index + 1 :])
                text = " ".join(words_after)
                if " " in text:
                    return f'Write `{word} "{shorten(text, _MAX_QUOTED_LENGTH)}"`.'
        return ""

    def _repetition_advice(self, words: Sequence[str], value: str) -> str:
        """Return the advice to repeat an option; empty if the option cannot be repeated."""
        words_before = words[: words.index(value)]
        flag = next((word for word in reversed(words_before) if word.startswith("-")), "")
        option = self.action_for_flag(flag.partition("=")[0])
        if not isinstance(getattr(option, "default", None), list):  # see `add_call_option`
            return ""
        return f"To add a value, repeat the option: `{flag.partition('=')[0]} {value}`."

    def _refuse_comment(self, words: Sequence[str]) -> None:
        """Refuse ``# …``, unless it is the value of an option."""
        for index, (word, previous_word) in enumerate(zip(words, ["", *words], strict=False)):
            if word.startswith("#") and not self.takes_value(previous_word):
                raise self._comment_error(" ".join(words[index:]))

    def _comment_error(self, comment: str) -> UsageError:
        quoted_text = shorten(comment, _MAX_QUOTED_LENGTH)
        return UsageError(
            f"the line of a magic cannot contain a comment, got {quoted_text!r}.",
            hint="Omit the comment.",
        )

    def _refuse_single_dash(self, words: Sequence[str]) -> None:
        """Refuse ``-temperature``, which argparse reads as ``-t emperature``."""
        for word in words:
            name = word.partition("=")[0]
            is_long = len(name) > _SHORT_LENGTH and name[0] == "-" and name[1:].isidentifier()
            similar_flags = difflib.get_close_matches(
                f"-{name}", self.option_strings, n=1, cutoff=0.8
            )
            if is_long and self.param_example(name):
                raise self._unknown_words_error(words, [word])
            if is_long and similar_flags:
                raise self.usage_error(
                    f"there is no option {name!r}. Did you mean {similar_flags[0]!r}?"
                )


def _usage_of(action: argparse.Action) -> str:
    """Return the flags of an option with its metavar, or the name of an argument."""
    value = "" if action.nargs == 0 else f" {action.metavar}"
    return f"{', '.join(action.option_strings)}{value}".strip()


GROUPED_COLUMNS: tuple[TableColumn[tuple[str, str, str]], ...] = (
    TableColumn("", itemgetter(0), optional=True),
    TableColumn("you type", itemgetter(1), is_code=True),
    TableColumn("what it does", itemgetter(2)),
)
"""Columns for a group's title, a command or option, and what it does."""
