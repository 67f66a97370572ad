"""Words hints for a notebook, for example as a command to run or a cell option to set."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

from gatewayx_nb import hints, magics

if TYPE_CHECKING:
    from gatewayx_nb.hints import Wording


def _set_option(option: str, value: object) -> str:
    """Return an example with the cell's flag and with the keyword argument in Python."""
    example = f"`{option}={value!r}`"
    flag = magics.flags().get(option)
    if flag is None:
        return f"For example, {example}."
    if flag.endswith("="):
        return f"For example, `{flag}{value}` or {example}."
    if isinstance(value, bool):
        return f"For example, `{flag}` or {example}."
    if isinstance(value, dict):
        value = [f"{name}={json.dumps(item)}" for name, item in value.items()]
    # Repeat the flag for each item.
    first_value = value[0] if isinstance(value, list) and value else value
    return f"For example, `{flag} {shlex.quote(str(first_value))}` or {example}."


def _flag_text(option: str) -> str:
    flag = magics.flags().get(option, "").rstrip("=")
    return f"`{flag}` or `{option}`" if flag else f"`{option}`"


def _omit_param(param: str, known: str) -> str:
    flag = magics.flags().get(param)
    if flag is not None:
        return f"Use `{flag}`, which sets {param}."
    return f"Omit `-p {param}=…`" + (f"; valid: {known}." if known else ".")


NOTEBOOK: Wording = {
    "advice": hints.SCRIPT_WORDING["advice"],
    "show_help": "More: `%gatewayx help {topic}`",
    "set_key": "Run `%gatewayx key set {engine}`.",
    "set_key_for_user": "Run `%gatewayx key set {engine} --user`.",
    "set_key_for_images": (
        "Set a key for an engine that takes images: `%gatewayx key set {engine}`, or for {others}."
    ),
    "set_project_key": "Run `%gatewayx key set {engine}`.",
    "import_keys": "Import keys with `%gatewayx key import FILE`.",
    "pull": "Run `%gatewayx pull {model}`.",
    "pull_from_file": "Install it with `%gatewayx pull {model} --from FILE.whl`.",
    "save_baseline": hints.SCRIPT_WORDING["save_baseline"],
    "load_evaluation": hints.SCRIPT_WORDING["load_evaluation"],
    "name_variant": hints.SCRIPT_WORDING["name_variant"],
    "name_ids": hints.SCRIPT_WORDING["name_ids"],
    "list_engines": "`%gatewayx status` lists the engines.",
    "show_engine": "`%gatewayx status {engine}` shows its state.",
    "use_other_engine": "Use another engine; `%gatewayx status` lists them.",
    "call": "Call a model that needs no key: `%%gatewayx {reference}`.",
    "list_local_models": "`%gatewayx models local` lists the models on this machine.",
    "list_models": "`%gatewayx models` lists the models.",
    "name_model": "Name another model: `%%gatewayx {engine}:MODEL`.",
    "choose_default": "Choose a default model with `%gatewayx use {reference} --save`.",
    "trust": lambda ids="": (
        "`%gatewayx trust` shows it and asks you"
        + (f"; without a person, as in CI, set GATEWAYX_TRUST={ids}." if ids else ".")
    ),
    "allow_key": (
        "`%gatewayx key set {engine}` asks you; without a person, as in CI, set"
        " GATEWAYX_TRUST={ids}."
    ),
    "make_project": "`%gatewayx init` makes it one.",
    "check_health": "Check one with `%gatewayx health {engine}`.",
    "open_cassette": "Open a cassette with `%gatewayx cassette {path} --mode {mode}`.",
    "record_cassette": "Run `%gatewayx cassette --mode {mode}`, then the cell again.",
    "renew_recording": "Record it again with `--renew` or `renew=True`.",
    "prune_cassette": "Keep the newer ones with `%gatewayx cassette {path} --prune`.",
    "settle_merge": (
        "Run `%gatewayx cassette {path} --prune`, which keeps both sides, and the newer of two"
        " answers to one call."
    ),
    "record_without_variable": hints.SCRIPT_WORDING["record_without_variable"],
    "bypass_cassette": "Ignore the cassette with `--fresh` or `fresh=True`.",
    "set_option": _set_option,
    "raise_option": lambda option: f"Raise {_flag_text(option)}.",
    "omit_param": _omit_param,
    "omit_option": lambda option: f"Omit {_flag_text(option)}.",
    "rename_column": hints.SCRIPT_WORDING["rename_column"],
    "blank_missing": hints.SCRIPT_WORDING["blank_missing"],
    "allow_unpriced": "Allow it with `--allow-unpriced` or `allow_unpriced=True`.",
    "set_base_url": hints.SCRIPT_WORDING["set_base_url"],
    "install": 'Run `%pip install "gatewayx-nb[{extra}]"`.',
    "install_package": "Run `%pip install {package}`, then the cell again.",
    "list_tools": "`%gatewayx tools {name}` starts it and lists its tools.",
    "list_jobs": "`%gatewayx jobs` lists the jobs.",
    "cancel_job": "Stop it with `%gatewayx cancel {job}`.",
    "list_chats": "`%gatewayx chat list` lists the conversations.",
    "run_again": "Run the cell again.",
    "command": "Run `%gatewayx {line}`.",
}
"""One entry for each action of `hints.SCRIPT_WORDING`."""
