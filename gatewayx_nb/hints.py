"""Hints on how to fix an error, as data, and their wording for each front end.

A hint is an action with arguments: ``Hint("set_key", engine="grok")``. A plain script shows "Set
GATEWAYX_GROK_API_KEY in the environment or in config/secrets/.env.local."; a notebook shows the
command that does the same, because loading the extension registers its wording with `set_wording`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Wording = Mapping[str, str | Callable[..., str]]
    """Maps each action to a format string with the arguments as fields, or to a function of the
    arguments."""


class Hint:
    """An action that fixes an error, with its arguments.

    ``str(hint)`` returns the wording for a plain script; `render` returns the wording for the
    current front end. ``a | b`` is a hint that offers both actions.

    Args:
        action: Name of the action, a key of `SCRIPT_WORDING`.
        **arguments: The values of the fields in its wording.

    Raises:
        KeyError: If the action does not exist.

    >>> str(Hint("set_key", engine="grok"))
    'Set GATEWAYX_GROK_API_KEY in the environment or in config/secrets/.env.local.'
    """

    def __init__(self, action: str, **arguments: object) -> None:
        # Check the action here, because its wording is looked up only when the error is shown.
        if action not in SCRIPT_WORDING:
            raise KeyError(action)
        self.action = action
        self.arguments: Mapping[str, object] = arguments
        self.alternative: Hint | None = None

    def with_arguments(self, change: Callable[[object], object]) -> Hint:
        """Return this hint without its alternative, with a function applied to each argument."""
        return Hint(self.action, **{name: change(value) for name, value in self.arguments.items()})

    def __or__(self, other: Hint | str) -> Hint:
        combined_hint = Hint(self.action, **self.arguments)  # a copy: operands do not change
        combined_hint.alternative = (
            (self.alternative | other) if self.alternative else as_hint(other)
        )
        return combined_hint

    @override
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hint) and self._key == other._key

    @override
    def __hash__(self) -> int:
        return hash(str(self))  # arguments may be lists or dicts, which are not hashable

    @override
    def __str__(self) -> str:
        return format_hint(self, SCRIPT_WORDING)

    @override
    def __repr__(self) -> str:
        arguments = "".join(f", {name}={value!r}" for name, value in self.arguments.items())
        alternative = f" | {self.alternative!r}" if self.alternative else ""
        return f"Hint({self.action!r}{arguments}){alternative}"

    @property
    def _key(self) -> tuple[object, ...]:
        return (self.action, dict(self.arguments), self.alternative)


def as_hint(hint: Hint | str) -> Hint:
    """Return the hint; a str becomes a hint with the same text in every front end."""
    return Hint("advice", text=hint) if isinstance(hint, str) else hint


def format_hint(hint: Hint, wording: Wording) -> str:
    """Return the text of a hint; actions missing from ``wording`` use `SCRIPT_WORDING`."""
    template = wording.get(hint.action) or SCRIPT_WORDING[hint.action]
    text = template(**hint.arguments) if callable(template) else template.format(**hint.arguments)
    if hint.alternative is None:
        return text
    alternative = format_hint(hint.alternative, wording)
    if not (text and alternative):  # one of the actions does not exist in this front end
        return text or alternative
    if alternative[1:2].islower():  # otherwise it begins with a name in capitals
        alternative = alternative[0].lower() + alternative[1:]
    return f"{text} Or {alternative}"


def render(hint: Hint) -> str:
    """Return the text of a hint in the current front end's wording."""
    return format_hint(hint, _wording)


def set_wording(wording: Wording | None = None) -> Wording:
    """Set the wording of the current front end, by default `SCRIPT_WORDING`; return the old one."""
    global _wording
    previous, _wording = _wording, SCRIPT_WORDING if wording is None else wording
    return previous


def _key_variable(engine: str) -> str:
    return f"GATEWAYX_{engine.upper()}_API_KEY"


SCRIPT_WORDING: Wording = {
    "advice": "{text}",
    "set_key": lambda engine: (
        f"Set {_key_variable(engine)} in the environment or in config/secrets/.env.local."
    ),
    "set_key_for_user": lambda engine: (
        f"Set {_key_variable(engine)} in the environment, or in the key file of the user folder."
    ),
    "set_key_for_images": lambda engine, others: (
        f"Set {_key_variable(engine)} to use {engine}, which takes images; so do {others}."
    ),
    "set_project_key": lambda engine: (
        f"Set {_key_variable(engine)} in the project's config/secrets/.env.local, and not in the"
        " environment."
    ),
    "import_keys": 'Import keys with `gatewayx_nb.pool().import_keys("FILE")`.',
    "pull": 'Fetch a local model with `gatewayx_nb.pull("{model}")`.',
    "pull_from_file": 'Install it with `gatewayx_nb.pull("{model}", source="FILE.whl")`.',
    "save_baseline": "Write the baseline with `result.save_baseline(path)`.",
    "load_evaluation": "Pass `gatewayx_nb.load_evaluation(path)`.",
    "name_variant": "Name one with `variant=`; the baseline has {known}.",
    "name_ids": "Name a column of IDs with `id=`, if rows have moved.",
    "list_engines": "`gatewayx_nb.status()` lists the engines.",
    "show_engine": "`gatewayx_nb.status()` shows the state of {engine}.",
    "use_other_engine": "Use another engine; `gatewayx_nb.status()` lists them.",
    "call": 'Call a model that needs no key: `model="{reference}"`.',
    "list_local_models": '`gatewayx_nb.models("local")` lists the models on this machine.',
    "list_tools": '`gatewayx_nb.pool().mcp_servers("{name}")` starts it and lists its tools.',
    "list_models": "`gatewayx_nb.models()` lists the models.",
    "name_model": 'Name another model: `model="{engine}:MODEL"`.',
    "choose_default": 'Choose a default model with `gatewayx_nb.use("{reference}", save=True)`.',
    "trust": lambda ids="": (
        "Review `gatewayx_nb.pool().untrusted_engines()`, then pass it to `pool.trust`"
        + (f", or set GATEWAYX_TRUST={ids} in the environment." if ids else ".")
    ),
    "allow_key": lambda engine, ids: (
        f'Review `gatewayx_nb.pool().key_destinations("{engine}")`, then pass it to `pool.trust`,'
        f" or set GATEWAYX_TRUST={ids} in the environment."
    ),
    "make_project": "Create the folder config/secrets or the file config/gatewayx.toml in it.",
    "check_health": 'Check one with `gatewayx_nb.health("{engine}")`.',
    "open_cassette": 'Open a cassette with `gatewayx_nb.cassette("{path}", mode="{mode}")`.',
    "record_cassette": 'Record it with `mode="{mode}"`, or GATEWAYX_CASSETTE_MODE={mode}.',
    "renew_recording": "Record it again with `renew=True`.",
    "prune_cassette": 'Keep the newer ones with `gatewayx_nb.cassette("{path}").prune()`.',
    "settle_merge": (
        r"Keep both sides with `sed -i -E '/^(<{{7}}|\|{{7}}|={{7}}|>{{7}})( |$)/d' {path}`, then"
        " the newer of two answers to one call with `gatewayx_nb.cassette(…).prune()`."
    ),
    "record_without_variable": (
        "Run it once where {variable} is not set in the environment, and commit the cassette."
    ),
    "bypass_cassette": "Ignore the cassette with `fresh=True`.",
    "set_option": "For example, `{option}={value!r}`.",
    "raise_option": "Raise `{option}`.",
    "omit_option": "Omit `{option}`.",
    "omit_param": lambda param, known: (
        f"Omit {param!r} from `params`" + (f"; valid: {known}." if known else ".")
    ),
    "rename_column": "Rename it: `df.rename(columns={{{name!r}: {new!r}}})`.",
    "blank_missing": 'Fill it in; `gx.map(…, missing="blank")` inserts an empty string.',
    "allow_unpriced": "Allow it with `allow_unpriced=True`.",
    "set_base_url": lambda engine: (
        f"Set GATEWAYX_{engine.upper()}_BASE_URL=https://… in config/secrets/.env.local."
    ),
    "install": '`pip install "gatewayx-nb[{extra}]"`',
    "install_package": "`pip install {package}`, then try again.",
    "list_jobs": "`gatewayx_nb.jobs()` lists the jobs.",
    "cancel_job": "Stop it with `gatewayx_nb.job({job!r}).cancel()`.",
    "list_chats": "List the conversations with `list(gatewayx_nb.pool().chats)`.",
    "run_again": "Try again.",
    "show_help": "More: the entry `{topic}` of the troubleshooting page.",
    "command": "Run the command `{line}` in a notebook that has loaded gatewayx_nb.",
}
"""Wording for a plain script; its keys are the valid actions."""

_wording: Wording = SCRIPT_WORDING
