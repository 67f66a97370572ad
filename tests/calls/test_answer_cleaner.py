import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gatewayx_nb.calls import AnswerCleaner, PartialReply
from gatewayx_nb.replies import Chunk
from tests.processor import seconds

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


def clean_whole(answer, finish_reason="stop"):
    """Return the reasoning and the text of an answer that arrives in one chunk with its end."""
    (chunk,) = AnswerCleaner().feed(Chunk(text=answer, finish_reason=finish_reason))
    assert chunk.finish_reason == finish_reason
    return chunk.reasoning, chunk.text


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
        ("Hm.\n \t</think>Paris.", "Hm.\n", "Paris."),
        ("Hm.\n  So.\n</think>Paris.", "Hm.\n  So.\n", "Paris."),
        ("Hm.\n </thin", "", "Hm.\n </thin"),
        (" </thin\n</p>", "", " </thin\n</p>"),
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
    assert clean(answer) == clean_whole(answer) == (reasoning, text)
    assert clean(*answer) == (reasoning, text)
    for position in range(len(answer)):
        assert clean(answer[:position], answer[position:]) == (reasoning, text)


@pytest.mark.parametrize("tag", ["thinking", "thought", "reasoning", "think"])
def test_reasoning_that_is_truncated_at_a_limit_is_not_the_text(tag):
    """The closing tag is missing because the answer was truncated at `max_tokens`."""
    partial, cleaner = PartialReply("e", "m"), AnswerCleaner()
    for chunk in (Chunk(text=f"<{tag}>Hm, "), Chunk(text="so"), Chunk(finish_reason="length")):
        for cleaned in cleaner.feed(chunk):
            partial.add(cleaned)

    assert ("".join(partial.reasoning), "".join(partial.text)) == ("Hm, so", "")
    assert clean_whole(f"<{tag}>Hm, so", "length") == ("Hm, so", "")


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


@pytest.mark.parametrize("piece", ["\n\n", "[", "<thinking>", "Hello\n</thin", "Hello\n "])
def test_the_text_keeps_its_order_if_reasoning_arrives_within_it(piece):
    """Text that is held back is passed on before reasoning in its own field."""
    cleaner = AnswerCleaner()
    chunks = [Chunk(text=piece), Chunk(reasoning="Hm."), Chunk(text="1, 2]"), END]
    cleaned = [each for chunk in chunks for each in cleaner.feed(chunk)]

    assert "".join(each.text for each in cleaned) == f"{piece}1, 2]"
    before = [each.reasoning for each in cleaned].index("Hm.")
    assert "".join(each.text for each in cleaned[:before]) == piece


def test_a_reasoning_field_releases_the_start_of_a_closing_tag_as_reasoning():
    """Within reasoning in tags, the text that is held back is reasoning."""
    cleaner = AnswerCleaner()
    chunks = [Chunk(text="<think>Hm</thin"), Chunk(reasoning=" So."), Chunk(text="Paris."), END]
    cleaned = [each for chunk in chunks for each in cleaner.feed(chunk)]

    assert "".join(each.reasoning for each in cleaned) == "Hm</thin So."


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (("Hm.\n</thin", "k>Paris."), "Paris."),
        (("<thin", "k>Hm.\n</think>Paris."), "Paris."),
        (("\ud83d", "\ude00"), "😀"),
        (("<t", "hin"), "<thin"),
    ],
)
def test_the_text_of_the_last_chunk_completes_what_is_held_back(pieces, text):
    """A finish reason in the same chunk as text does not separate it from the text before."""
    partial, cleaner = PartialReply("e", "m"), AnswerCleaner()
    for chunk in (Chunk(text=pieces[0]), Chunk(text=pieces[1], finish_reason="stop")):
        for cleaned in cleaner.feed(chunk):
            if cleaner.opening_tag_is_missing:
                cleaner.opening_tag_is_missing = False
                partial.treat_text_as_reasoning()
            partial.add(cleaned)
    assert ("".join(partial.text), partial.finish_reason) == (text, "stop")


@pytest.mark.parametrize("position", range(1, len("</think>")))
def test_a_lone_closing_tag_that_is_split_is_not_shown(position):
    """While an answer streams, no piece of a closing tag is passed on as text."""
    cleaner, tag = AnswerCleaner(), "</think>"
    chunks = [Chunk(text="Hm.\n" + tag[:position]), Chunk(text=tag[position:] + "Paris."), END]
    cleaned = [each for chunk in chunks for each in cleaner.feed(chunk)]

    assert [each.text for each in cleaned] == ["Hm.\n", "Paris.", ""]
    assert cleaner.opening_tag_is_missing


def test_an_ordinary_chunk_is_passed_on_unchanged():
    """A chunk that needs no repair is passed on without creating a new object."""
    cleaner, chunk = AnswerCleaner(), Chunk(text="Paris is ")

    assert next(iter(cleaner.feed(chunk))) is chunk


@pytest.mark.parametrize("spaces", [0, 1, 99, 100, 101, 150])
@pytest.mark.parametrize("start", ["", "Hm.\n"])
def test_spaces_before_a_tag_count_the_same_in_every_piece(spaces, start):
    """At most 100 spaces may precede a tag, however the text is split."""
    for tag in ("<think>Hm.</think>", "</think>", "<reasoning>Hm.</reasoning>"):
        text = f"{start}{' ' * spaces}{tag}Paris."
        assert clean(text) == clean(*text) == clean(text[:50], text[50:])


@pytest.mark.parametrize(("start", "character"), [("a\n", " "), ("", " "), ("<reasoning>", "<")])
def test_text_that_is_held_back_takes_linear_time(start, character):
    """Eight times as many pieces take about 8 times as long, not 64 times."""

    def time_of(count):
        def feed():
            cleaner = AnswerCleaner()
            for piece in [start, *[character] * count]:
                list(cleaner.feed(Chunk(text=piece)))

        return min(seconds(feed) for _ in range(3))

    assert time_of(40_000) < 30 * time_of(5_000)
