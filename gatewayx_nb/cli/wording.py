"""Words hints for a shell, for example as a command line or an option to set."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

from gatewayx_nb import hints
from gatewayx_nb.cli.asking import ask_parser
from gatewayx_nb.commands import SHELL_COMMANDS, option_flags

if TYPE_CHECKING:
    from gatewayx_nb.hints import Wording


def _set_option(option: str, value: object) -> str:
    if option == "model":
        return f"For example, `gatewayx ask {value}`."
    flag = _flags().get(option)
    if flag is None:
        return ""
    if flag.endswith("="):
        return f"For example, `{flag}{value}`."
    if isinstance(value, bool):
        return f"For example, `{flag}`."
    if isinstance(value, dict):
        value = [f"{name}={json.dumps(item)}" for name, item in value.items()]
    first_value = value[0] if isinstance(value, list) and value else value
    return f"For example, `{flag} {shlex.quote(str(first_value))}`."


def _flags() -> dict[str, str]:
    """Return the flag of each option of ``ask`` and ``map``, by the option's name."""
    map_parser = SHELL_COMMANDS["map"].parser("gatewayx")
    return {**option_flags(map_parser), **option_flags(ask_parser())}


def _flag_text(option: str) -> str:
    return f"`{_flags().get(option, option).rstrip('=')}`"


def _omit_param(param: str, known: str) -> str:
    flag = _flags().get(param)
    if flag is not None:
        return f"Use `{flag}`, which sets {param}."
    return f"Omit `-p {param}=…`" + (f"; valid: {known}." if known else ".")


_SAME_AS_IN_A_SCRIPT = (
    "advice",
    "cancel_job",
    "install",
    "install_package",
    "list_chats",
    "list_jobs",
    "record_without_variable",
    "set_base_url",
)
"""Actions whose hint names no command, or that occur only in a notebook or a script."""

SHELL: Wording = {
    **{action: hints.SCRIPT_WORDING[action] for action in _SAME_AS_IN_A_SCRIPT},
    "show_help": "More: `gatewayx help {topic}`",
    "set_key": "Run `gatewayx key set {engine}`.",
    "set_key_for_user": "Run `gatewayx key set {engine} --user`.",
    "set_key_for_images": (
        "Set a key for an engine that takes images: `gatewayx key set {engine}`, or for {others}."
    ),
    "set_project_key": "Run `gatewayx key set {engine}`.",
    "import_keys": "Import keys with `gatewayx key import FILE`.",
    "pull": "Run `gatewayx pull {model}`.",
    "pull_from_file": "Install it with `gatewayx pull {model} --from FILE.whl`.",
    "save_baseline": "Write the baseline with `--save-baseline FILE`.",
    "load_evaluation": "",
    "name_variant": "The baseline has {known}.",
    "name_ids": "Name a column of IDs with `--id COLUMN`, if rows have moved.",
    "list_engines": "`gatewayx status` lists the engines.",
    "show_engine": "`gatewayx status {engine}` shows its state.",
    "use_other_engine": "Use another engine; `gatewayx status` lists them.",
    "call": "Call a model that needs no key: `gatewayx ask {reference}`.",
    "list_local_models": "`gatewayx models local` lists the models on this machine.",
    "list_models": "`gatewayx models` lists the models.",
    "name_model": "Name another model: `gatewayx ask {engine}:MODEL`.",
    "choose_default": "Choose a default model with `gatewayx use {reference}`.",
    "trust": lambda ids="": (
        "`gatewayx trust` shows it and asks you"
        + (f"; without a person, as in CI, set GATEWAYX_TRUST={ids}." if ids else ".")
    ),
    "allow_key": (
        "`gatewayx key set {engine}` asks you; without a person, as in CI, set"
        " GATEWAYX_TRUST={ids}."
    ),
    "make_project": "`gatewayx init` makes it one.",
    "check_health": "Check one with `gatewayx health {engine}`.",
    "open_cassette": "Use `--cassette {path}`, and GATEWAYX_CASSETTE_MODE={mode} for another mode.",
    "record_cassette": "Record it with GATEWAYX_CASSETTE_MODE={mode} in the environment.",
    "renew_recording": "Record it again with `--renew`.",
    "prune_cassette": "Keep the newer ones with `gatewayx cassette {path} --prune`.",
    "settle_merge": (
        "Run `gatewayx cassette {path} --prune`, which keeps both sides, and the newer of two"
        " answers to one call."
    ),
    "bypass_cassette": "Ignore the cassette with `--fresh`.",
    "set_option": _set_option,
    "raise_option": lambda option: f"Raise {_flag_text(option)}.",
    "omit_param": _omit_param,
    "omit_option": lambda option: f"Omit {_flag_text(option)}.",
    "rename_column": "Rename it in the file, for example to {new!r}.",
    "blank_missing": "Fill it in; `--missing blank` inserts an empty string.",
    "allow_unpriced": "Allow it with `--allow-unpriced`.",
    "list_tools": "`gatewayx tools {name}` starts it and lists its tools.",
    "run_again": "Run the command again.",
    "command": "Run `gatewayx {line}`.",
}
"""One entry for each action of `hints.SCRIPT_WORDING`."""
