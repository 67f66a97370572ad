import pytest

from gatewayx_nb.llm_engines import json_body


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
