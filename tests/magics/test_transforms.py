import pytest

from gatewayx_nb.magics.transforms import CallCell, Depth, keep_question

CELL = "get_ipython().run_cell_magic('gatewayx', 'mock', 'hi\\n')\n"
OTHER = "get_ipython().run_cell_magic('time', '', '')\n"
EMPTY = "get_ipython().run_cell_magic('gx', 'mock', '')\n"


def test_a_cell_is_awaited_at_depth_0_only():
    """A cell is awaited only at depth 0; inside another cell or without an event loop it blocks."""
    depth = Depth()
    awaited = CallCell(depth)([CELL])
    depth.enter()

    assert awaited == ["await get_ipython().run_cell_magic('gatewayx_awaited', 'mock', 'hi\\n')\n"]
    assert CallCell(depth)([CELL]) == [CELL]
    assert CallCell(None)([CELL]) == [CELL]


def test_the_cell_that_loads_the_extension_was_never_counted():
    """The cell that loads the extension is not counted, so its end leaves the depth at 0."""
    depth = Depth()
    depth.leave()
    depth.enter()

    assert depth.cells == 1


def test_an_empty_body_becomes_a_line():
    """A cell magic without a body becomes a line magic, whose error says what is missing."""
    assert CallCell(None)([EMPTY]) == ["get_ipython().run_cell_magic('gx', 'mock', '\\n')\n"]


@pytest.mark.parametrize("lines", [[], ["x = 1\n"], [OTHER]])
def test_other_cells_are_left_alone(lines):
    """Other cells are not changed by a single character."""
    assert CallCell(Depth())(lines) == lines


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("%gx mock why?\n", "get_ipython().run_line_magic('gx', 'mock why?')\n"),
        (
            "  r = %gx ask a b?\n",
            "  r = get_ipython().run_line_magic('gx', 'ask a b?')\n",
        ),
        ("%gx mock it's '?\n", "get_ipython().run_line_magic('gx', \"mock it's '?\")\n"),
        ("%gx?\n", "%gx?\n"),
        ("%gxy mock why?\n", "%gxy mock why?\n"),
        ("%gx mock why\n", "%gx mock why\n"),
        ("print?\n", "print?\n"),
    ],
)
def test_a_question_is_part_of_the_prompt(line, kept):
    """A question mark is part of the prompt on a line of this package with words.

    Everything else is unchanged.
    """
    assert keep_question([line]) == [kept]


def test_texts_and_cell_magics_are_left_alone():
    """A line that looks like a call is unchanged in a prompt below `%%gx` or in a string."""
    cell = ["%%gx mock\n", "%gx mock why?\n"]
    text = ['"""\n', "%gx mock why?\n", '"""\n']

    assert keep_question(cell) == cell
    assert keep_question(text) == text
