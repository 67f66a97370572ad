import pytest

from gatewayx_nb.magics.transforms import CallCell, Depth, keep_question

CALL = "get_ipython().run_cell_magic('gatewayx', 'mock', 'hi\\n')\n"
OTHER_MAGIC = "get_ipython().run_cell_magic('time', '', '')\n"
EMPTY_CALL = "get_ipython().run_cell_magic('gx', 'mock', '')\n"


def test_a_cell_is_awaited_only_at_depth_0():
    """A cell blocks within another cell or without an event loop; otherwise, it is awaited."""
    depth = Depth()
    awaited = CallCell(depth)([CALL])
    depth.enter()

    assert awaited == ["await get_ipython()._gatewayx.magics.acell('mock', 'hi\\n')\n"]
    assert CallCell(depth)([CALL]) == [CALL]
    assert CallCell(None)([CALL]) == [CALL]


def test_the_cell_that_loads_the_extension_is_not_counted():
    """The depth remains 0 at the end of the cell that loads the extension."""
    depth = Depth()
    depth.leave()
    depth.enter()

    assert depth.cells == 1


def test_an_empty_body_becomes_an_empty_line():
    """An empty body is replaced by an empty line, so the magic can report the missing prompt."""
    assert CallCell(None)([EMPTY_CALL]) == ["get_ipython().run_cell_magic('gx', 'mock', '\\n')\n"]


@pytest.mark.parametrize("lines", [[], ["x = 1\n"], [OTHER_MAGIC]])
def test_other_cells_are_unchanged(lines):
    """Cells without this package's cell magics are unchanged."""
    assert CallCell(Depth())(lines) == lines


@pytest.mark.parametrize(
    ("line", "transformed"),
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
def test_a_question_is_part_of_the_prompt(line, transformed):
    """A question mark at the end of a magic line's prompt does not request IPython's help.

    Lines without a prompt, and lines of other magics, are unchanged.
    """
    assert keep_question([line]) == [transformed]


def test_strings_and_cell_bodies_are_unchanged():
    """A line that looks like a magic is unchanged in the body of `%%gx` and in a string."""
    cell = ["%%gx mock\n", "%gx mock why?\n"]
    string = ['"""\n', "%gx mock why?\n", '"""\n']

    assert keep_question(cell) == cell
    assert keep_question(string) == string
