"""Writes the help and the completion scripts: ``python -m gatewayx_nb.cli.static_files``.

The texts are generated from the table of commands and stored as files, because printing a file
takes a tenth of the time of importing the table. A test compares the files with the table.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from gatewayx_nb.cli.asking import ask_parser
from gatewayx_nb.commands import GROUPS, SHELL_COMMANDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gatewayx_nb.commands import LineParser

FOLDER = Path(__file__).with_name("static")

_COMMANDS_WITH_ENGINES = ("ask", "health", "key", "models", "status", "use")
"""The commands that take engines; a script gets the names of engines from ``gatewayx``."""

_HELP_HEAD = """\
usage: gatewayx COMMAND …

Call language models, and manage keys, engines and recorded replies.

  gatewayx ask mock "Say this"               call a model
  git diff | gatewayx ask grok "Review it"   text that is piped in follows the prompt
  gatewayx map in.csv out.csv --prompt "Sentiment of {{text}}?" --model grok
"""

_HELP_TAIL = """
`gatewayx help COMMAND` explains a command, `gatewayx help TOPIC` a guide or an error message.
The exit status is 0 for success, 1 if a call failed or its answer is incomplete, 2 for an invalid
command line, 3 for a problem with keys, permissions or settings, and 130 after Ctrl-C.
"""

_BASH = """\
# Completion of gatewayx in bash: eval "$(gatewayx completion bash)"
_gatewayx() {
  local current=${COMP_WORDS[COMP_CWORD]} words=
  if [ "$COMP_CWORD" -eq 1 ]; then
    words="%(commands)s"
  else
    case ${COMP_WORDS[1]} in
%(cases)s
    esac
    case ${COMP_WORDS[1]} in
      %(engines)s) case $current in
        -*) ;;
        *) words="$words $(gatewayx completion engines 2>/dev/null)" ;;
      esac ;;
    esac
  fi
  # `compgen -W` would run commands in the names, which come from the files of a project.
  local -a all=()
  local word
  IFS=$' \n' read -r -d '' -a all <<< "$words"
  COMPREPLY=()
  for word in "${all[@]}"; do
    if [[ $word == "$current"* ]]; then COMPREPLY+=("$word"); fi
  done
}
complete -o default -F _gatewayx gatewayx
"""

_ZSH = """\
#compdef gatewayx
# Completion of gatewayx in zsh: eval "$(gatewayx completion zsh)"
_gatewayx() {
  local -a words_
  if (( CURRENT == 2 )); then
    words_=(%(described)s)
    _describe command words_
    return
  fi
  case $words[2] in
%(cases)s
  esac
  case $words[2] in
    %(engines)s) words_+=(${(f)"$(gatewayx completion engines 2>/dev/null)"}) ;;
  esac
  compadd -- $words_
  _files
}
compdef _gatewayx gatewayx
"""


def static_files() -> dict[str, str]:
    """Return the content of each file, by file name."""
    return {
        "help.txt": _help(),
        "completion.bash": _BASH % _script_values('      {}) words="{}" ;;'),
        "completion.zsh": _ZSH % _script_values("    {}) words_=({}) ;;"),
        "completion.fish": _fish(),
    }


def write_files() -> None:
    """Write the files into the package."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in static_files().items():
        (FOLDER / name).write_text(text, "utf-8")


def _help() -> str:
    lines = [_HELP_HEAD]
    width = max(map(len, SHELL_COMMANDS)) + 2
    for title, names in GROUPS.items():
        commands = [SHELL_COMMANDS[name] for name in names if name in SHELL_COMMANDS]
        if commands:
            lines.append(f"{title}:")
            lines += [f"  {command.name:{width}}{command.summary}" for command in commands]
    return "\n".join(lines).replace("`", "") + f"\n{_HELP_TAIL}"


def _script_values(case_template: str) -> Mapping[str, str]:
    """Return the parts of a script that depend on the commands."""
    options = {name: " ".join(_completion_words(name)) for name in SHELL_COMMANDS}
    described_commands = (f"{name}:{command.summary}" for name, command in SHELL_COMMANDS.items())
    return {
        "commands": " ".join(SHELL_COMMANDS),
        "described": " ".join(map(shlex.quote, described_commands)),
        "cases": "\n".join(
            case_template.format(name, words) for name, words in options.items() if words
        ),
        "engines": "|".join(_COMMANDS_WITH_ENGINES),
    }


def _fish() -> str:
    lines = ["# Completion of gatewayx in fish: gatewayx completion fish | source"]
    for name, command in SHELL_COMMANDS.items():
        start = "complete -c gatewayx -n __fish_use_subcommand -f"
        lines.append(f"{start} -a {name} -d {shlex.quote(command.summary)}")
        after_command = f"complete -c gatewayx -n '__fish_seen_subcommand_from {name}'"
        for word in _completion_words(name):
            flag = f"-l {word[2:]}" if word.startswith("--") else f"-a {word}"
            lines.append(f"{after_command} {flag}")
    names = " ".join(_COMMANDS_WITH_ENGINES)
    after_command = f"complete -c gatewayx -n '__fish_seen_subcommand_from {names}'"
    lines.append(f"{after_command} -a '(gatewayx completion engines 2>/dev/null)'")
    return "\n".join(lines) + "\n"


def _completion_words(name: str) -> Sequence[str]:
    """Return the long options of a command, and the choices of its arguments."""
    parser = shell_parser(name)
    flags = [flag for flag in parser.option_strings if flag.startswith("--")]
    choices = [
        str(choice)
        for action in parser.actions
        if not action.option_strings
        for choice in action.choices or ()
    ]
    return [*choices, *flags]


def shell_parser(name: str) -> LineParser:
    """Return the parser of a command in a shell."""
    if name == "ask":
        return ask_parser()
    return SHELL_COMMANDS[name].parser("gatewayx")


if __name__ == "__main__":
    write_files()
