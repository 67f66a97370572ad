"""Differences: the parts of each text that the others lack."""

from hypothesis import given
from hypothesis import strategies as st

from gatewayx_nb.comparisons import differences

TEXT = st.text(alphabet="ab \n.", max_size=40)


def own(texts):
    """Return the parts of each text that are its own."""
    return [[span.text for span in spans if not span.shared] for spans in differences(texts)]


def test_differing_words_are_marked_in_both():
    """A differing word is marked in each text."""
    assert own(["The sky is blue.", "The sky was blue!"]) == [["is", "."], ["was", "!"]]


def test_a_word_of_the_first_text_is_shared_if_all_contain_it():
    """A word is shared only if all texts have it."""
    assert own(["a b c", "a b c", "a c"]) == [["b "], [], []]


def test_equal_texts_have_no_differences():
    """Equal texts, a single text and no texts have no differences."""
    assert own(["same", "same"]) == [[], []]
    assert own(["alone"]) == [[]]
    assert differences([]) == []


def test_long_texts_are_compared_by_lines():
    """Long texts are compared by lines, because comparing words takes quadratic time."""
    text = "".join(f"line {n} of many words in a row\n" for n in range(500))
    assert own([text, text.replace("line 7 ", "line seven ")]) == [
        ["line 7 of many words in a row\n"],
        ["line seven of many words in a row\n"],
    ]


def test_repeated_lines_take_bounded_time():
    """A text of 100,000 characters that repeats one line is compared quickly."""
    one, other = "a\n" * 2_000, "a\n" * 1_999 + "b\n"
    assert own([one, other]) == [[one], [other]]
    assert own([one, one]) == [[], []]


@given(st.lists(TEXT, min_size=1, max_size=4))
def test_the_spans_add_up_to_the_text(texts):
    """The spans of a text join to the text."""
    assert ["".join(span.text for span in spans) for spans in differences(texts)] == texts


@given(TEXT, TEXT)
def test_shared_words_are_the_same_in_both(one, other):
    """The spans that two texts share are equal and in the same order."""
    first, second = (
        "".join(span.text for span in spans if span.shared) for spans in differences([one, other])
    )
    assert first == second
