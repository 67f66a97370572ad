"""Values in a prompt: tables, source code, images."""

import concurrent.futures
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
    """A str type whose value must never be sent."""

    __slots__ = ()


def draw_figure():
    """Return a matplotlib figure with axes."""
    figure = matplotlib.figure.Figure()
    figure.subplots().plot([1, 2])
    return figure


@pytest.mark.parametrize("package", [pd, pl], ids=["pandas", "polars"])
def test_a_frame_is_replaced_by_a_table_of_its_first_rows(package):
    """A frame is replaced by a table of its first rows, with its shape and dtypes.

    Vertical bars and newlines in cells are escaped or replaced.
    """
    frame = package.DataFrame({"n": [1, 2, 3], "te|xt": ["a|b", "c\n d", "e\\f"]})
    integer, string = map(str, frame.dtypes)

    assert fill("Look:\n{{df}}\nDone.", {"df": frame}, rows=2) == (
        f"Look:\nDataFrame of 3 rows and 2 columns (n: {integer}, te|xt: {string}); below, the "
        "first 2 rows\n\n| n | te\\|xt |\n| --- | --- |\n| 1 | a\\|b |\n| 2 | c d |\nDone."
    )
    assert "e\\\\f" in fill("{{df}}", {"df": frame})


@pytest.mark.parametrize("package", [pd, pl], ids=["pandas", "polars"])
def test_a_series_is_replaced_by_a_table_of_one_column(package):
    """A series is replaced by a table with one column, whose header is its name."""
    text = fill("{{s}}", {"s": package.Series([1.5, 2.5], name="x") if package is pd
                             else package.Series("x", [1.5, 2.5])})  # fmt: skip

    assert text.startswith("Series of 2 rows and 1 columns (x: ")
    assert text.endswith("| x |\n| --- |\n| 1.5 |\n| 2.5 |")


def test_row_labels_are_included_unless_they_are_numbers():
    """Row labels are included in a table, except for the default numbers."""
    frame = pd.DataFrame({"a": [1, 2]}, index=pd.Index(["x", "y"], name="who"))

    assert fill("{{df}}", {"df": frame}).endswith(
        "| who | a |\n| --- | --- |\n| x | 1 |\n| y | 2 |"
    )
    assert fill("{{df}}", {"df": frame.reset_index(drop=True)}).endswith("| 1 |\n| 2 |")


@pytest.mark.parametrize("package", [pd, pl], ids=["pandas", "polars"])
def test_the_size_of_a_table_is_limited(package):
    """A table's numbers of rows and columns and the length of its cells are limited."""
    frame = package.DataFrame({f"c{number}": ["x" * 100_000] * 50 for number in range(100)})

    text = fill("{{df}}", {"df": frame})

    assert len(text) < 200_000
    assert "below, the first 20 rows and the first 30 columns" in text
    assert text.count("\n") == 23


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
def test_unusual_frames_are_replaced_by_tables(frame):
    """Frames with no rows, multi-level indexes, missing values or duplicate names are accepted."""
    assert "DataFrame of " in fill("{{df}}", {"df": frame})


def test_a_key_in_a_cell_is_refused():
    """A key in a cell raises an error, because the table would contain it."""
    frame = pd.DataFrame({"key": pd.Series([Key("sk-canary")], dtype=object)})

    with pytest.raises(UsageError, match="a Key and is never sent") as caught:
        fill("{{df}}", {"df": frame}, (Key,))
    assert "canary" not in str(caught.value)


def test_placeholders_in_a_table_are_not_replaced():
    """A placeholder in a table cell is not replaced."""
    frame = pd.DataFrame({"a": ["{{x}}"]})

    assert "| {{x}} |" in fill("{{df}}", {"df": frame, "x": "expanded"})


def double(x):
    """Return the double."""
    return 2 * x  # {{x}}


class Outer:
    """A class."""

    class Inner:
        """A nested class."""

        size = 1


def test_a_function_or_class_is_replaced_by_its_source():
    """A function or class is replaced by its source, even if it is wrapped or nested."""
    names = {"f": double, "C": Outer, "I": Outer.Inner, "w": functools.wraps(double)(lambda: 0)}
    source = '"""Return the double."""\n    return 2 * x  # {{x}}'

    assert fill("{{f}}", names) == fill("{{w}}", names) == f"def double(x):\n    {source}"
    assert fill("{{C}}", names).startswith("class Outer:")
    assert fill("{{I}}", names) == textwrap.dedent(inspect.getsource(Outer.Inner)).strip()


def run_cell(code):
    """Run code as a notebook cell: in `__main__`, with its source in linecache."""
    name = f"<cell {len(linecache.cache)}>"
    linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
    names = {"__name__": "__main__"}
    exec(compile(code, name, "exec"), names)
    return names


def test_a_redefined_class_is_replaced_by_its_latest_source():
    """A class that is defined in two cells is replaced by its source in the last cell."""
    run_cell("class City:\n    old = 1\n")
    code = "x = 1\n@dec\nclass City:\n    name: str\n\n    class Part:\n        n = 1\n\ny = 2\n"
    names = run_cell("def dec(c): return c\n" + code)

    assert fill("{{City}}", names) == "\n".join(code.splitlines()[1:7])
    assert fill("{{City.Part}}", names) == "class Part:\n    n = 1"
    assert fill("{{dec}}", names) == "def dec(c): return c"


@pytest.mark.parametrize(
    ("value", "kind"), [(len, "function"), (int, "class"), (type("NoSource", (), {}), "class")]
)
def test_an_unavailable_source_raises_an_error(value, kind):
    """A value without source, such as a built-in, raises an error."""
    with pytest.raises(UsageError, match=f"'it', a {kind} whose source is unavailable"):
        fill("{{it}}", {"it": value})


def test_a_figure_is_replaced_by_a_mark_and_sent_as_an_image():
    """A figure, axes or a PIL image becomes an image in the prompt, with a mark in the text."""
    figure = draw_figure()
    from PIL import Image

    image = Image.new("RGB", (2, 2))
    prompt = compose("See {{a}}, {{b}} and {{c}}.", {"a": figure, "b": figure.axes[0], "c": image})

    assert prompt.text == "See [image 1], [image 2] and [image 3]."
    assert [part.mime for part in prompt.images] == ["image/png"] * 3
    assert prompt.images[0].data.startswith(b"\x89PNG")


def test_a_figure_in_a_text_only_prompt_raises_an_error():
    """A figure in a prompt that may contain only text, such as the system prompt, is refused."""
    with pytest.raises(UsageError, match="'f' is an image, but only text is allowed here"):
        fill("{{f}}", {"f": draw_figure()})


def test_a_figure_that_cannot_be_drawn_raises_an_error():
    """If drawing a figure raises an exception, the error names the variable and the exception."""

    class Broken:
        def savefig(self, file, **_):
            raise ZeroDivisionError("no")

    with pytest.raises(UsageError, match="'f' in the prompt cannot be drawn: ZeroDivisionError"):
        compose("{{f}}", {"f": Broken()})


def test_a_module_in_a_prompt_raises_an_error():
    """A module cannot be converted to text, but its attributes may be."""
    with pytest.raises(UsageError, match="'textwrap', which is a module and cannot"):
        fill("{{textwrap}}", {"textwrap": textwrap})
    assert fill("{{np.pi:.2f}}", {"np": np}) == "3.14"


def test_a_future_in_a_prompt_raises_an_error():
    """A future is not replaced by its `repr`; an object with its own text is."""

    class Named(concurrent.futures.Future):
        def __str__(self):
            return "a name"

    with pytest.raises(UsageError, match=r"is a Future, not its result.*answer = f\.result\(\)"):
        fill("{{f}}", {"f": concurrent.futures.Future()})
    assert fill("{{f}}", {"f": Named()}) == "a name"


def test_numbers_and_arrays_are_replaced_by_their_str():
    """Numbers and arrays are replaced by their `str`, which abbreviates large arrays."""
    array = np.zeros(1_000_000)

    assert fill("{{a}}", {"a": array}) == str(array)
    assert fill("{{n}} {{n:.1f}}", {"n": np.float64(1.25)}) == "1.25 1.2"


@pytest.mark.parametrize("expression", ["1 + 1", "f(x)", "x:.2f", "", "__import__('os')", "x; y"])
def test_other_expressions_are_not_evaluated(expression):
    """An expression that is not a variable, attribute or item raises an error."""
    with pytest.raises(UsageError, match="is not a variable, an attribute or an item"):
        prompts.resolve(expression, {"x": 1, "f": print})
    assert not prompts.is_variable(expression, {"x": 1, "f": print})


def test_variables_attributes_and_items_are_resolved():
    """A variable with attributes and items is resolved; a value of a forbidden type is refused."""
    assert prompts.resolve('d["k"][0]', {"d": {"k": [5]}}) == 5
    assert prompts.is_variable("d.x", {"d": 1})
    with pytest.raises(UsageError, match="never sent"):
        prompts.resolve("key", {"key": Key("sk-1")}, (Key,))
