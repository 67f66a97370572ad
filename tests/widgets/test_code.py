"""Code of a cell that repeats a run."""

from pathlib import Path

import pytest

from gatewayx_nb.comparisons.session import ComparisonInput
from gatewayx_nb.messages import Image
from gatewayx_nb.widgets.code import as_code

CASES = {
    "plain": (ComparisonInput("", ("mock", "mock:other")), ["Why?\n'Because' \\ {x} {{y}}"]),
    "options": (
        ComparisonInput("", ("mock",), {"temperature": 0.5, "stop": "END"}, samples=3),
        ["Why?"],
    ),
    "inputs": (
        ComparisonInput("", ("mock", "mock"), inputs=("a", "it's")),
        ["Is a?", 'Is "it\'s"?'],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_cell_runs_and_asks_the_same(name):
    """The generated cell runs and sends the same prompt."""
    question, prompts = CASES[name]
    lines = as_code(question, prompts).splitlines()
    values = {}
    exec("\n".join(lines[:-1]), values)
    rounds = values.get("comparisons") or [values["comparison"]]

    assert [one.prompt for one in rounds] == prompts
    assert all(one.references == question.references * question.samples for one in rounds)
    assert [reply.text for one in rounds for reply in one.replies] == [
        f"[mock] {prompt}" for prompt in prompts for _ in rounds[0]
    ]


def test_options_and_pictures_are_told():
    """Images are written by variable or file name; an image without either is a placeholder."""
    given = {"seed": 1, "images": [Path("dog.png"), b"x"]}
    question = ComparisonInput("", ("mock",), given, {"cat.png": Image("image/png", b"x")})
    code = as_code(question, ["x"], ['plots["a"]'])
    assert "    seed=1,\n    images=[plots[\"a\"], 'dog.png', ..., 'cat.png'],\n" in code
    assert "\n# Put what was uploaded beside the notebook: 'cat.png'\ncomparison = " in code
    compile(code, "cell", "exec")


def test_a_class_is_written_by_its_name_and_what_cannot_be_written_is_left_open():
    """A schema class is written by name; a value that cannot be written is a placeholder.

    The cell is valid Python in any case.
    """
    question = ComparisonInput(
        "", ("mock",), {"schema": ComparisonInput, "params": {"at": object()}}
    )
    assert "    schema=Question,\n    params=...,\n" in as_code(question, ["x"])
