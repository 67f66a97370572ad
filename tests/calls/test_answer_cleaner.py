import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gatewayx_nb.calls import AnswerCleaner, PartialReply
from gatewayx_nb.replies import Chunk

END = Chunk(finish_reason="stop")
CHANNEL = "<|end|><|start|>assistant<|channel|>final<|message|>"


def clean(*pieces):
    """Return the reasoning and the text of an answer that arrives in pieces."""
    partial, cleaner = PartialReply("e", "m"), AnswerCleaner()
    for chunk in (*(Chunk(text=piece) for piece in pieces), END, None):
        for cleaned in cleaner.close() if chunk is None else cleaner.feed(chunk):
            if cleaner.opening_tag_is_missing:
                cleaner.opening_tag_is_missing = False
                partial.treat_text_as_reasoning()
            partial.add(cleaned)
    assert partial.finish_reason == "stop"
    return "".join(partial.reasoning), "".join(partial.text)


@pytest.mark.parametrize(
    ("answer", "reasoning", "text"),
    [
        ("Paris.", "", "Paris."),
        ("<think>Hm.</think>\n\nParis.", "Hm.", "Paris."),
        (" \n<think>\nHm.\n</think>Paris.", "\nHm.\n", "Paris."),
        ("[THINK]Hm.[/THINK]Paris.", "Hm.", "Paris."),
        ("<think></think>\n\nParis.", "", "Paris."),
        ("<think>a</think>\n<think>b</think>\nParis.", "ab", "Paris."),
        ("<think>Never closed", "Never closed", ""),
        ("<think>a < b and </thin", "a < b and </thin", ""),
        ("Hm, let me see.\n</think>\n\nParis.", "Hm, let me see.\n", "Paris."),
        ("</think>\n\nParis.", "", "Paris."),
        ("  ", "", "  "),
        ("<thin", "", "<thin"),
        ("<thinking>Hm.</thinking>\nParis.", "Hm.", "Paris."),
        ("<thought>\nHm.</thought>Paris.", "\nHm.", "Paris."),
        ("\n<reasoning>Hm.</reasoning>\n\nParis.", "Hm.", "Paris."),
        ("<thinking>a</thinking><think>b</think>Paris.", "ab", "Paris."),
        ("◁think▷Hm.◁/think▷\nParis.", "Hm.", "Paris."),
        ("<seed:think>Hm.</seed:think>Paris.", "Hm.", "Paris."),
        ("<|START_THINKING|>Hm.<|END_THINKING|>Paris.", "Hm.", "Paris."),
        ("<|begin_of_thought|>Hm.<|end_of_thought|>Paris.", "Hm.", "Paris."),
        (
            f"<|channel|>analysis<|message|>Hm.{CHANNEL}Paris.",
            "Hm.",
            "Paris.",
        ),
        ("<thinking> is a tag.", "", "<thinking> is a tag."),
        ("<reasoning>\n<step/>", "", "<reasoning>\n<step/>"),
        ("<thoughts>Hm.</thoughts>", "", "<thoughts>Hm.</thoughts>"),
        ("<reasonings", "", "<reasonings"),
        ("The tag <thinking>x</thinking>.", "", "The tag <thinking>x</thinking>."),
        ("`<thought>x</thought>`", "", "`<thought>x</thought>`"),
        ('"[THINK]x[/THINK]"', "", '"[THINK]x[/THINK]"'),
        ("```\n<reasoning>x</reasoning>\n```", "", "```\n<reasoning>x</reasoning>\n```"),
        ("[THIN]", "", "[THIN]"),
        ("◁thin", "", "◁thin"),
        ("<|channel|>final<|message|>x", "", "<|channel|>final<|message|>x"),
        ("Write `<think>` and `</think>`.", "", "Write `<think>` and `</think>`."),
        ("The tag </think> ends it.", "", "The tag </think> ends it."),
        ("Paris. <think>Hm.</think>", "", "Paris. <think>Hm.</think>"),
        ("a < b", "", "a < b"),
        ("\ud83d\ude00 and \ud83d", "", "😀 and \ufffd"),
        ("<think>\ud83d\ude00</think>\ud83d\ude00", "😀", "😀"),
    ],
)
def test_reasoning_in_tags_is_separated_however_the_answer_is_split(answer, reasoning, text):
    """Reasoning in tags is separated if it arrives whole, in two pieces or letter by letter."""
    assert clean(answer) == (reasoning, text)
    assert clean(*answer) == (reasoning, text)
    for position in range(len(answer)):
        assert clean(answer[:position], answer[position:]) == (reasoning, text)


@pytest.mark.parametrize("tag", ["thinking", "thought", "reasoning", "think"])
def test_reasoning_that_is_cut_at_a_limit_is_not_the_text(tag):
    """The closing tag is missing because the answer was cut at `max_tokens`."""
    partial, cleaner = PartialReply("e", "m"), AnswerCleaner()
    for chunk in (Chunk(text=f"<{tag}>Hm, "), Chunk(text="so"), Chunk(finish_reason="length")):
        for cleaned in cleaner.feed(chunk):
            partial.add(cleaned)

    assert ("".join(partial.reasoning), "".join(partial.text)) == ("Hm, so", "")


def test_a_long_text_in_tags_does_not_wait_for_their_end():
    """A tag that is never closed delays an answer by a bounded number of characters."""
    cleaner = AnswerCleaner()
    pieces = ["<reasoning>", *["x" * 1000] * 200]
    chunks = [each for piece in pieces for each in cleaner.feed(Chunk(text=piece))]

    assert len("".join(chunk.reasoning for chunk in chunks)) == 200_000


PIECES = st.lists(
    st.sampled_from(
        [
            "<think>",
            "</think>",
            "<thought>",
            "</thought>",
            "<",
            "think>",
            "\n",
            " ",
            "a",
            "\ud83d",
            "\ude00",
            "é",
        ]
    )
)


@given(PIECES)
@example(["a", "\n", "<", "/think>", "b"])
def test_a_split_answer_equals_the_whole_answer(pieces):
    """Nothing is lost: only tags, spaces beside them and broken surrogates differ."""
    assert clean(*pieces) == clean("".join(pieces))
    "".join(clean(*pieces)).encode()


def test_the_text_is_not_searched_if_reasoning_arrives_separately():
    """An engine that separates reasoning itself may write about tags."""
    cleaner = AnswerCleaner()
    chunks = [Chunk(reasoning="Hm."), Chunk(text="<think> is a tag."), END]

    cleaned = [each for chunk in chunks for each in cleaner.feed(chunk)]

    assert cleaned == chunks


def test_an_ordinary_chunk_is_passed_on_unchanged():
    """A chunk that needs no repair is passed on without creating a new object."""
    cleaner, chunk = AnswerCleaner(), Chunk(text="Paris is ")

    assert next(iter(cleaner.feed(chunk))) is chunk
