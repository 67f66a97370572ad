"""Token counts of every type, in every dialect, whole and streamed."""

import json

import pytest

from gatewayx_nb.llm_engines.json_body import as_int
from gatewayx_nb.testing import DIALECTS, Send, Server, reply
from tests.llm_engines.wire import ENGINES

KEY = "canary-0123456789-key"
USAGES = ("usage", "usageMetadata")
CHANGES = {
    "text": (lambda count: str(int(count)), (10, 5)),
    "text of a float": (lambda count: str(float(count)), (10, 5)),
    "float": (float, (10, 5)),
    "null": (lambda _: None, (None, None)),
    "bool": (lambda _: True, (None, None)),
    "negative": (lambda count: -count, (None, None)),
    "negative text": (lambda count: str(-count), (None, None)),
    "not a number": (lambda _: float("nan"), (None, None)),
    "infinity": (lambda _: float("inf"), (None, None)),
    "huge": (lambda _: 10**30, (None, None)),
    "huge text": (lambda _: "9" * 5000, (None, None)),
    "words": (lambda _: "many", (None, None)),
    "empty text": (lambda _: "", (None, None)),
    "list": (lambda count: [count], (None, None)),
    "object": (lambda count: {"count": count}, (None, None)),
}

each_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)


def changed(value, change, *, is_usage=False):
    """Return JSON data with all counts of its usage changed."""
    if isinstance(value, dict):
        return {
            name: changed(item, change, is_usage=is_usage or name in USAGES)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [changed(item, change, is_usage=is_usage) for item in value]
    return change(value) if is_usage and type(value) in (int, float) else value


def changed_event(event, change):
    """Return an event of a stream with all counts of its usage changed."""
    name, mark, data = event.partition(b"data: ")
    if not data.startswith(b"{"):
        return event
    return name + mark + json.dumps(changed(json.loads(data), change)).encode() + b"\n\n"


@each_dialect
def test_a_usage_of_any_type_is_no_error(project, dialect):
    """Numerals are read, and anything else is a count that was not reported."""
    name = ENGINES[dialect.name]
    scripts = []
    with Server(lambda _: scripts[-1]) as server:
        path = "/v1" if dialect.name in ("chat", "responses") else ""
        variable = f"GATEWAYX_{name.upper()}"
        project.set_keys(f"{variable}_API_KEY={KEY}\n{variable}_BASE_URL={server.url}{path}\n")
        project.settings('limits.retries = 0\nengines.openai.api = "responses"')
        with project.pool() as pool:
            for label, (change, expected) in CHANGES.items():
                body = json.dumps(changed(json.loads(dialect.whole), change)).encode()
                scripts.append([Send(reply(body))])
                whole = pool.ask("x", name)
                events = [changed_event(event, change) for event in dialect.events]
                scripts.append(dialect.stream(*events))
                stream = pool.stream("x", name)
                list(stream)

                for answer in (whole, stream.reply):
                    usage = answer.usage
                    assert answer.text == "Hello.", label
                    assert (usage.input_tokens, usage.output_tokens) == expected, label


@each_dialect
@pytest.mark.parametrize("usage", [None, [], "10", 3, True, {}])
def test_a_usage_that_is_not_an_object_is_no_error(project, dialect, usage):
    """The whole usage may also have another type."""
    name = ENGINES[dialect.name]
    body = json.loads(dialect.whole)
    body |= {field: usage for field in USAGES if field in body}
    with Server([Send(reply(json.dumps(body).encode()))]) as server:
        path = "/v1" if dialect.name in ("chat", "responses") else ""
        variable = f"GATEWAYX_{name.upper()}"
        project.set_keys(f"{variable}_API_KEY={KEY}\n{variable}_BASE_URL={server.url}{path}\n")
        project.settings('limits.retries = 0\nengines.openai.api = "responses"')
        with project.pool() as pool:
            answer = pool.ask("x", name)

    assert (answer.text, answer.usage.output_tokens) == ("Hello.", None)


def test_a_numeral_is_a_count():
    """A text is read only if it is a numeral."""
    texts = ["7", " 7 ", "7.0", "007", "7e2", "\u0667", "0x7", "+7", "7_0", "7.0.0"]

    assert [as_int(text) for text in texts] == [7, 7, 7, 7, None, None, None, None, None, None]
