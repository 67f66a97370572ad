"""Values in a prompt: tables, source code, images."""

import functools
import inspect
import linecache
import textwrap

import matplotlib.figure
import numpy as np
import pandas as pd
import polars as pl
import pytest

from gatewayx_nb import prompts
from gatewayx_nb.errors import UsageError
from gatewayx_nb.prompts import compose, fill


class Key(str):
    """A text type whose value must never be sent."""

    __slots__ = ()


def figure():
    """Return a matplotlib figure with axes."""
    drawn = matplotlib.figure.Figure()
    drawn.subplots().plot([1, 2])
    return drawn


@pytest.mark.parametrize("package", [pd, pl], ids=["pandas", "polars"])
def test_a_frame_becomes_a_table_of_its_head(package):
    """A frame becomes a table of its first rows, with shape and dtypes.

    Vertical bars and newlines in cells do not break it.
    """
    frame = package.DataFrame({"n": [1, 2, 3], "te|xt": ["a|b", "c\n d", "e\\f"]})
    integer, text = map(str, frame.dtypes)

    assert fill("Look:\n{{df}}\nDone.", {"df": frame}, rows=2) == (
        f"Look:\nDataFrame of 3 rows and 2 columns (n: {integer}, te|xt: {text}); below, the first "
        "2 rows\n\n| n | te\\|xt |\n| --- | --- |\n| 1 | a\\|b |\n| 2 | c d |\nDone."
    )
    assert "e\\\\f" in fill("{{df}}", {"df": frame})


@pytest.mark.parametrize("package", [pd, pl], ids=["pandas", "polars"])
def test_a_series_is_a_table_of_one_column(package):
    """A series is a table of one column with its name."""
    written = fill("{{s}}", {"s": package.Series([1.5, 2.5], name="x") if package is pd
                             else package.Series("x", [1.5, 2.5])})  # fmt: skip

    assert written.startswith("Series of 2 rows and 1 columns (x: ")
    assert written.endswith("| x |\n| --- |\n| 1.5 |\n| 2.5 |")


def test_informative_row_labels_are_included():
    """Row labels are included if they are names, but not the default numbers."""
    frame = pd.DataFrame({"a": [1, 2]}, index=pd.Index(["x", "y"], name="who"))

    assert fill("{{df}}", {"df": frame}).endswith(
        "| who | a |\n| --- | --- |\n| x | 1 |\n| y | 2 |"
    )
    assert fill("{{df}}", {"df": frame.reset_index(drop=True)}).endswith("| 1 |\n| 2 |")


@pytest.mark.parametrize("package", [pd, pl], ids=["pandas", "polars"])
def test_a_table_is_bounded_in_every_direction(package):
    """A table is bounded: for a million rows, a thousand columns or a megabyte in a cell."""
    wide = package.DataFrame({f"c{number}": ["x" * 100_000] * 50 for number in range(100)})

    written = fill("{{df}}", {"df": wide})

    assert len(written) < 200_000
    assert "below, the first 20 rows and the first 30 columns" in written
    assert written.count("\n") == 23


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame(),
        pd.DataFrame({"a": []}),
        pd.DataFrame({("a", 1): [1], ("a", 2): [2]}),
        pl.DataFrame(),
        pd.DataFrame({"a": [pd.NA, None]}),
        pd.DataFrame([[1, 2]], columns=["same", "same"]),
    ],
)
def test_unusual_frames_are_written(frame):
    """Empty frames, multi-level indexes, missing values and duplicate names work."""
    assert "DataFrame of " in fill("{{df}}", {"df": frame})


def test_a_key_in_a_cell_is_refused():
    """A key in a cell raises an error, because the table would contain it."""
    frame = pd.DataFrame({"key": pd.Series([Key("sk-canary")], dtype=object)})

    with pytest.raises(UsageError, match="a Key and is never sent") as caught:
        fill("{{df}}", {"df": frame}, (Key,))
    assert "canary" not in str(caught.value)


def test_a_value_in_a_table_is_never_expanded():
    """A field in a table cell or in source code is not filled in."""
    frame = pd.DataFrame({"a": ["{{x}}"]})

    assert "| {{x}} |" in fill("{{df}}", {"df": frame, "x": "expanded"})


def helper(x):
    """Return the double."""
    return 2 * x  # {{x}}


class Outer:
    """A class."""

    class Inner:
        """A nested class."""

        size = 1


def test_a_function_or_class_becomes_its_source():
    """A function or class is replaced by its source, even if decorated, nested or a method."""
    names = {"f": helper, "C": Outer, "I": Outer.Inner, "w": functools.wraps(helper)(lambda: 0)}
    source = '"""Return the double."""\n    return 2 * x  # {{x}}'

    assert fill("{{f}}", names) == fill("{{w}}", names) == f"def helper(x):\n    {source}"
    assert fill("{{C}}", names).startswith("class Outer:")
    assert fill("{{I}}", names) == textwrap.dedent(inspect.getsource(Outer.Inner)).strip()


def cell(code):
    """Run code as a notebook cell: in `__main__`, with its source in linecache."""
    name = f"<cell {len(linecache.cache)}>"
    linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
    names = {"__name__": "__main__"}
    exec(compile(code, name, "exec"), names)
    return names


def test_a_redefined_class_has_the_source_of_the_last_cell():
    """The source is that of the last cell, also for a class without methods, with decorators."""
    cell("class City:\n    old = 1\n")
    code = "x = 1\n@dec\nclass City:\n    name: str\n\n    class Part:\n        n = 1\n\ny = 2\n"
    names = cell("def dec(c): return c\n" + code)

    assert fill("{{City}}", names) == "\n".join(code.splitlines()[1:7])
    assert fill("{{City.Part}}", names) == "class Part:\n    n = 1"
    assert fill("{{dec}}", names) == "def dec(c): return c"


@pytest.mark.parametrize(
    ("value", "kind"), [(len, "function"), (int, "class"), (type("Made", (), {}), "class")]
)
def test_an_unavailable_source_raises_an_error(value, kind):
    """A value without source, such as a built-in, raises an error."""
    with pytest.raises(UsageError, match=f"'it', a {kind} whose source is unavailable"):
        fill("{{it}}", {"it": value})


def test_a_figure_becomes_an_image_of_the_call():
    """A figure, axes or a PIL image becomes an image of the call, marked in the text."""
    drawn = figure()
    from PIL import Image

    picture = Image.new("RGB", (2, 2))
    filled = compose("See {{a}}, {{b}} and {{c}}.", {"a": drawn, "b": drawn.axes[0], "c": picture})

    assert filled.text == "See [image 1], [image 2] and [image 3]."
    assert [image.mime for image in filled.images] == ["image/png"] * 3
    assert filled.images[0].data.startswith(b"\x89PNG")


def test_a_figure_is_refused_where_only_text_is_possible():
    """A figure in a text-only place, such as the system prompt, raises an error."""
    with pytest.raises(UsageError, match="'f' is an image, and only text is possible here"):
        fill("{{f}}", {"f": figure()})


def test_a_figure_that_cannot_be_drawn_is_named():
    """A figure whose drawing code raises any exception is named in the error."""

    class Broken:
        def savefig(self, file, **_):
            raise ZeroDivisionError("no")

    with pytest.raises(UsageError, match="'f' cannot be drawn: ZeroDivisionError"):
        compose("{{f}}", {"f": Broken()})


def test_numbers_and_arrays_stay_text():
    """Numbers and arrays are inserted as printed; a large array is abbreviated."""
    array = np.zeros(1_000_000)

    assert fill("{{a}}", {"a": array}) == str(array)
    assert fill("{{n}} {{n:.1f}}", {"n": np.float64(1.25)}) == "1.25 1.2"


@pytest.mark.parametrize("expression", ["1 + 1", "f(x)", "x:.2f", "", "__import__('os')", "x; y"])
def test_other_expressions_are_not_evaluated(expression):
    """An expression other than a name is never evaluated."""
    with pytest.raises(UsageError, match="is not a variable, an attribute or an item"):
        prompts.resolve(expression, {"x": 1, "f": print})
    assert not prompts.is_variable(expression, {"x": 1, "f": print})


def test_an_expression_follows_the_same_grammar():
    """A name may have attributes and items, but providers' keys are excluded."""
    assert prompts.resolve('d["k"][0]', {"d": {"k": [5]}}) == 5
    assert prompts.is_variable("d.x", {"d": 1})
    with pytest.raises(UsageError, match="never sent"):
        prompts.resolve("key", {"key": Key("sk-1")}, (Key,))
