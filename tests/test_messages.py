import pytest

from gatewayx_nb.messages import Message, ModelInfo, ModelRef, Request
from gatewayx_nb.replies import Reply


@pytest.mark.parametrize(
    ("text", "engine", "model"),
    [
        ("grok", "grok", None),
        ("openrouter:meta-llama/llama-4", "openrouter", "meta-llama/llama-4"),
        ("ollama:llama3:8b", "ollama", "llama3:8b"),
        (" grok: ", "grok", None),
    ],
)
def test_only_the_first_colon_counts(text, engine, model):
    """A reference is split at its first colon into engine and model."""
    assert ModelRef.parse(text) == ModelRef(engine, model)


def test_a_reference_can_be_parsed_from_its_text():
    """The text of a reference parses to an equal reference."""
    for ref in (ModelRef("grok"), ModelRef("a", "b:c")):
        assert ModelRef.parse(str(ref)) == ref
    assert str(ModelInfo("grok", "grok-4.6")) == "grok:grok-4.6"


def test_unset_options_are_not_passed_to_an_engine():
    """The keywords of a request are the options that are set, without the prompt."""
    request = Request((Message("user", "hi"),), "m", temperature=0.0, params={"top_p": 0.5})

    assert request.keywords() == {"temperature": 0.0, "top_p": 0.5}
    assert request.prompt == "hi"


def test_a_reply_is_displayed_as_text_and_safe_html():
    """A reply is displayed as text and as safe HTML, not as Markdown, which a page would trust."""
    reply = Reply("**hi** <script>", engine="mock", model="m")

    bundle = reply._repr_mimebundle_()

    assert str(reply) == bundle["text/plain"] == "**hi** <script>"
    assert "<strong>hi</strong>" in bundle["text/html"]
    assert "<script" not in bundle["text/html"]
    assert set(bundle) == {"text/plain", "text/html"}


def test_a_reply_has_a_short_repr():
    """The repr of a reply is one line of limited length."""
    assert len(repr(Reply("long " * 1000, engine="mock", model="m"))) < 120
