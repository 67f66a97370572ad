"""Extraction of code and JSON from an answer that also has other text."""

import doctest
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayx_nb import extraction
from gatewayx_nb.extraction import CodeBlock

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
)


@pytest.mark.parametrize(
    ("text", "block"),
    [
        ("```python\nx = 1\n```", CodeBlock("x = 1", "python")),
        ("Here:\n\n```py\nx\n\n  y\n```\nBye.", CodeBlock("x\n\n  y", "py")),
        ("```sh\nls\n```\n```py\nimport x\nx()\n```", CodeBlock("import x\nx()", "py")),
        ("~~~\na\n~~~", CodeBlock("a")),
        ("````md\n```\ninner\n```\n````", CodeBlock("```\ninner\n```", "md")),
        ("```python\ntruncated = 1", CodeBlock("truncated = 1", "python")),
        ("x = 1\n", CodeBlock("x = 1")),
        ("1. Do:\n\n    ```py\n    if x:\n        y\n    ```\n", CodeBlock("if x:\n    y", "py")),
        ("- a\n\n        ```py\n        x\n        ```", CodeBlock("x", "py")),
        ("        ```py\n        x\n        ```", CodeBlock("x", "py")),
        ("> ```py\n> x\n> ```", CodeBlock("x", "py")),
        ("Hi\r\n```py\r\nx\r\n  y\r\n```\r\n", CodeBlock("x\n  y", "py")),
        ("<details>\n```py\nx\n```\n</details>", CodeBlock("x", "py")),
        ("```{python}\nx\n```", CodeBlock("x", "python")),
        ("````markdown\nSo:\n```py\nx\n```\n````", CodeBlock("x", "py")),
        ('```py\na = """\n```sh\n```\n"""\n```\nHi', CodeBlock('a = """\n```sh\n```\n"""', "py")),
        ("```py\nx = (\n```\n```sh\nls\n```", CodeBlock("x = (", "py")),
        ("```js title=a.js\n1\n```", CodeBlock("1", "js")),
        ("", CodeBlock("")),
    ],
)  # fmt: skip
def test_code_is_the_longest_block_or_the_whole_text(text, block):
    """Code is the longest fenced block, even if truncated; without a fence, the whole text."""
    assert extraction.extract_code(text) == block


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        ('```json\n{"a": 1}\n```', {"a": 1}),
        ("Sure!\n```\n[1, 2]\n```\nAnything else?", [1, 2]),
        ('It is {"a": [1, {"b": "}"}]}, see [1] and {x}.', {"a": [1, {"b": "}"}]}),
        ('As [1] says: [{"a": 1}, {"a": 2}]', [{"a": 1}, {"a": 2}]),
        ('```json {"a": 1}```', {"a": 1}),
        ("5", 5),
    ],
)  # fmt: skip
def test_embedded_json_is_found(text, value):
    """JSON is found with and without a fence, and within prose."""
    assert extraction.extract_json(text) == value


@pytest.mark.parametrize("text", ["", "no data", "{not json}", "[" * 100_000, '{"a": ' * 50_000])
def test_a_text_without_json_raises_a_value_error(text):
    """Text without JSON raises ValueError in bounded time, even if it has many brackets."""
    started_at = time.process_time()
    with pytest.raises(ValueError, match="no JSON"):
        extraction.extract_json(text)
    assert time.process_time() - started_at < 2


@given(JSON, st.sampled_from(["", "Here it is: ", "# A\n"]), st.sampled_from(["", "\nDone."]))
def test_any_fenced_document_is_parsed(value, prefix, suffix):
    """A JSON document in a fence is parsed, regardless of the text around it."""
    text = f"{prefix}\n```json\n{json.dumps(value, indent=1)}\n```{suffix}"
    assert extraction.extract_json(text) == value


def test_the_examples_in_docstrings_are_correct():
    assert doctest.testmod(extraction).failed == 0


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1}\n\n{"a": 2}\n',
        'Here:\n```json\n{"a": 1}\n{"a": 2}\n```\nThat is all.',
    ],
)
def test_json_lines_are_a_list(text):
    """One object on each line is a row of a table, with and without a fence."""
    assert extraction.extract_json(text) == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(
    "text",
    [
        '```\n{"a": 1}\n```\nor\n```\n{"a": 1, "b": 2}\n```',
        'It is {"a": 1}, or rather {"a": 2}.',
    ],
)
def test_different_values_raise_an_error(text):
    """If it is unclear which value is the answer, the model is asked again."""
    with pytest.raises(ValueError, match="2 different JSON values"):
        extraction.extract_json(text)


def test_a_repeated_value_and_a_citation_are_ignored():
    """A draft that equals the answer and a citation such as [1] do not make it ambiguous."""
    text = 'As in [1]: {"a": 1}. So: {"a": 1}'

    assert extraction.extract_json(text) == {"a": 1}


def test_much_python_is_not_parsed(monkeypatch):
    """Parsing a long program takes 600 times its size in memory."""
    parsed = []
    monkeypatch.setattr(extraction.ast, "parse", lambda source: parsed.append(len(source)))

    extraction.extract_code("```python\n" + "a=1\n" * 100_000 + "```\n")
    extraction.extract_code("```python\n(\n```\n" * 1_000)

    assert sum(parsed) <= 2 * extraction._MAX_CODE_CHARS


def test_little_json_is_parsed_in_vain():
    text = "[" * 200 + "0," * 500_000
    found = list(extraction._values_and_errors(text))

    assert len(found) <= 3
