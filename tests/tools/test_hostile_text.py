"""Text that a model or a function wrote is shown, and never active."""

import json
import unicodedata
from pathlib import Path

import html5lib
import pytest

from gatewayx_nb.messages import ToolCall
from gatewayx_nb.tool_steps import Step, calls_html, calls_text

CORPORA = Path(__file__).parents[1] / "corpora"

TERMINAL = ["\x1b[2J", "\x1b]0;title\x07", "\x9b31m", "\u202ereversed", "over\rwritten", "\x08\x08"]

TAGS = {"html", "head", "body", "div", "details", "summary", "pre"}


def _strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)


def _steps(text):
    """Return steps with the text in each of their fields."""
    call = ToolCall(text, text, json.dumps({text: text}))
    arguments = {text: [text]}
    return [
        Step(call, arguments, sent=text, seconds=0.0, text=text),
        Step(call, arguments, sent=text, error=text, seconds=0.0),
        Step(call, arguments),
    ]


@pytest.mark.parametrize("corpus", ["xss.json", "xss-bleach.json"])
def test_markup_in_a_call_is_not_active(corpus):
    """The page has only the elements and attributes of this package."""
    texts = set(_strings(json.loads((CORPORA / corpus).read_text("utf-8"))))
    for text in texts:
        page = html5lib.parse(calls_html(_steps(text)), namespaceHTMLElements=False)
        elements = list(page.iter())
        assert {element.tag for element in elements} <= TAGS, text
        names = {name for element in elements for name in element.attrib}
        assert names <= {"class", "style", "dir"}, text


@pytest.mark.parametrize("text", TERMINAL, ids=ascii)
def test_a_call_cannot_control_a_terminal(text):
    """Control characters and changes of direction are removed."""
    shown = calls_text(_steps(text)).replace("\n", "")

    assert not [each for each in shown if unicodedata.category(each) in ("Cc", "Cf")]
