"""Differences between texts, as spans that are shared or not."""

from hypothesis import given
from hypothesis import strategies as st

from gatewayx_nb.comparisons import differences

TEXT = st.text(alphabet="ab \n.", max_size=40)


def unshared_spans(texts):
    """Return the spans of each text that are not shared by all texts."""
    return [[span.text for span in spans if not span.is_shared] for spans in differences(texts)]


def test_differing_words_are_marked_in_both():
    """A differing word is marked in each text."""
    assert unshared_spans(["The sky is blue.", "The sky was blue!"]) == [["is", "."], ["was", "!"]]


def test_a_word_is_shared_only_if_all_texts_contain_it():
    """A word of the first text is unshared if any other text lacks it."""
    assert unshared_spans(["a b c", "a b c", "a c"]) == [["b "], [], []]


def test_equal_texts_have_no_differences():
    """Equal texts, a single text and no texts have no differences."""
    assert unshared_spans(["same", "same"]) == [[], []]
    assert unshared_spans(["alone"]) == [[]]
    assert differences([]) == []


def test_long_texts_are_compared_by_lines():
    """Long texts are compared by lines, because comparing words takes quadratic time."""
    text = "".join(f"line {n} of many words in a row\n" for n in range(500))
    assert unshared_spans([text, text.replace("line 7 ", "line seven ")]) == [
        ["line 7 of many words in a row\n"],
        ["line seven of many words in a row\n"],
    ]


def test_repeated_lines_take_bounded_time():
    """Texts of 2,000 equal lines are not compared line by line, which would take too long."""
    text, other_text = "a\n" * 2_000, "a\n" * 1_999 + "b\n"
    assert unshared_spans([text, other_text]) == [[text], [other_text]]
    assert unshared_spans([text, text]) == [[], []]


@given(st.lists(TEXT, min_size=1, max_size=4))
def test_the_spans_join_to_the_text(texts):
    """Joining the spans of a text yields the text."""
    assert ["".join(span.text for span in spans) for spans in differences(texts)] == texts


@given(TEXT, TEXT)
def test_two_texts_have_the_same_shared_words(text, other_text):
    """The spans that two texts share are equal and in the same order."""
    shared_text, other_shared_text = (
        "".join(span.text for span in spans if span.is_shared)
        for spans in differences([text, other_text])
    )
    assert shared_text == other_shared_text
