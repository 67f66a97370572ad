import pytest

from gatewayx_nb.llm_engines import json_body


def test_objects_within_objects_are_merged():
    """Nested objects are merged; the later value wins, and neither argument is changed."""
    ours, theirs = {"a": {"b": {"c": 1}, "d": 2}, "e": {"f": 1}}, {"a": {"b": {"g": 3}}, "e": [1]}

    assert json_body.merge_params(ours, theirs) == {"a": {"b": {"c": 1, "g": 3}, "d": 2}, "e": [1]}
    assert ours == {"a": {"b": {"c": 1}, "d": 2}, "e": {"f": 1}}
    assert theirs == {"a": {"b": {"g": 3}}, "e": [1]}


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ('{"a": 1}', True),
        ("[1]", True),
        ("[DONE]", True),
        ('{"a": {}', False),
        ("", False),
        ("[" * 100_000, False),
    ],
)
def test_a_text_is_whole_json_or_cut_off(text, whole):
    """A text is complete JSON or truncated; the end marker of a stream counts as complete."""
    assert json_body.is_complete(text) is whole
