from fractions import Fraction

import pytest

from gatewayx_nb.calls import Option
from gatewayx_nb.commands import LineParser
from gatewayx_nb.errors import UsageError


@pytest.fixture
def parser():
    """Return a parser with two options that take a value."""
    parser = LineParser("prog")
    parser.add_argument("-a", metavar="TEXT", help="the text")
    parser.add_argument("--ratio", type=Fraction, metavar="X", help="a ratio")
    return parser


@pytest.mark.parametrize(
    ("line", "problem", "hint"),
    [
        ("-a it's", "No closing quotation", "Close the quotation marks"),
        ('-a "it', "No closing quotation", "Close the quotation marks"),
        ("-a it\\", "No escaped character", "Remove the backslash at the end"),
        ('-a "it\\', "No escaped character", "Remove the backslash at the end"),
    ],
)
def test_the_hint_for_a_line_that_cannot_be_split_names_the_character(parser, line, problem, hint):
    """An unclosed quotation mark and a backslash at the end have different hints."""
    with pytest.raises(UsageError, match=problem) as caught:
        parser.read(line)

    assert str(caught.value.hint).startswith(hint)
    assert "\n" not in str(caught.value)


def test_a_value_of_another_type_is_quoted_in_the_error(parser):
    """A value that the type of an option rejects is named, even if the type has no description."""
    with pytest.raises(UsageError, match=r"^'half' is not a valid value for `--ratio`\."):
        parser.read("--ratio half")


@pytest.mark.parametrize(
    ("names", "notes"),
    [
        ((), ()),
        (("seed",), ("`-p` also sets `seed`, which has no flag of its own.",)),
        (
            ("seed", "stop", "top_p"),
            ("`-p` also sets `seed`, `stop` and `top_p`, which have no flag of their own.",),
        ),
    ],
)
def test_the_help_lists_the_options_that_only_p_sets(parser, names, notes):
    """The note below the help names every option without a flag, even if there is only one."""
    parser.param_options = {name: Option(str, "", example=1) for name in names}

    assert tuple(parser.table().notes) == notes
