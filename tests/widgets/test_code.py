"""A run as a cell, which asks the same again."""

import pytest

from gatewayx_nb.messages import Image
from gatewayx_nb.widgets.code import as_code
from gatewayx_nb.widgets.contest import Question

CASES = {
    "plain": (Question("", ("mock", "mock:other")), ["Why?\n'Because' \\ {x} {{y}}"]),
    "options": (Question("", ("mock",), {"temperature": 0.5, "stop": "END"}, samples=3), ["Why?"]),
    "inputs": (Question("", ("mock", "mock"), inputs=("a", "it's")), ["Is a?", 'Is "it\'s"?']),
}


@pytest.mark.parametrize("name", CASES)
def test_the_cell_runs_and_asks_the_same(name):
    """On `mock`, which says back what it is asked."""
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
    """Pictures by the name of their file."""
    question = Question("", ("mock",), {"seed": 1}, {"cat.png": Image("image/png", b"x")})
    assert "    seed=1,\n    images=['cat.png'],\n" in as_code(question, ["x"])
