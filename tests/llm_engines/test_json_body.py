import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gatewayx_nb.errors import ProviderError
from gatewayx_nb.llm_engines import json_body

LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10
)


def test_nested_objects_are_merged():
    """Nested objects are merged; the second overrides the first, and neither is changed."""
    first, second = {"a": {"b": {"c": 1}, "d": 2}, "e": {"f": 1}}, {"a": {"b": {"g": 3}}, "e": [1]}

    assert json_body.merge_params(first, second) == {"a": {"b": {"c": 1, "g": 3}, "d": 2}, "e": [1]}
    assert first == {"a": {"b": {"c": 1}, "d": 2}, "e": {"f": 1}}
    assert second == {"a": {"b": {"g": 3}}, "e": [1]}


@pytest.mark.parametrize(
    ("text", "is_complete"),
    [
        ('{"a": 1}', True),
        ("[1]", True),
        ("[DONE]", True),
        ('{"a": {}', False),
        ("", False),
        ("[" * 100_000, False),
    ],
)
def test_truncated_json_is_detected(text, is_complete):
    """Truncated JSON is incomplete; `[DONE]`, the end marker of a stream, counts as complete."""
    assert json_body.is_complete(text) is is_complete


@given(value=VALUES, ensure_ascii=st.booleans())
@example(value=2**70, ensure_ascii=False)
@example(value=float("nan"), ensure_ascii=True)
@example(value="\ud83d", ensure_ascii=True)
def test_json_is_read_as_the_standard_library_reads_it(value, ensure_ascii):
    """Large integers, NaN and lone surrogates are read as by the standard library."""
    text = json.dumps({"a": value}, ensure_ascii=ensure_ascii)
    assert repr(json_body.parse(text)) == repr(json.loads(text))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "1", '{"a": 1,}', "{} {}", "\ufeff{}", '{"a":' * 100_000]
)
def test_what_is_not_a_json_object_raises_an_error(text):
    """The error shows the beginning of the text."""
    with pytest.raises(ProviderError, match="the response is not"):
        json_body.parse(text)
