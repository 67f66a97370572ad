import json

import pytest

from gatewayx_nb import bounded_json
from gatewayx_nb.bounded_json import TooManyValuesError, check_values, loads
from gatewayx_nb.errors import ProviderError
from gatewayx_nb.extraction import extract_json
from gatewayx_nb.llm_engines import json_body
from gatewayx_nb.schema import ResponseSchema
from gatewayx_nb.testing import Send, Server, reply

KEY = "GATEWAYX_GROK_API_KEY=canary-0123456789-key"


@pytest.fixture(autouse=True)
def limit(monkeypatch):
    """Lower the maximum to 1,000 values."""
    monkeypatch.setattr(bounded_json, "MAX_VALUES", 1_000)


@pytest.mark.parametrize("item", [[], {}, 1, "x", None], ids=repr)
@pytest.mark.parametrize("encode", [str, str.encode], ids=["str", "bytes"])
def test_json_with_too_many_values_is_refused(item, encode):
    """Whatever the values are, the text is refused before they are built."""
    few, many = (encode(json.dumps([item] * count)) for count in (400, 2_000))

    assert loads(few) == [item] * 400
    with pytest.raises(TooManyValuesError, match="more than 1,000 JSON values"):
        loads(many)


def test_a_long_text_with_few_values_is_accepted():
    """The length alone does not matter."""
    check_values('"' + "x" * 100_000 + '"')


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "streamed"])
def test_a_response_with_too_many_values_is_a_typed_error(project, status, is_streamed):
    """It would take twenty times its size in memory, and hold up every other call."""
    message = {"role": "assistant", "content": "hi"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    body = json.dumps({"choices": [choice], "x": [[]] * 2_000}).encode()
    with Server(lambda _: [Send(reply(body, status))]) as server:
        project.set_keys(f"{KEY}\nGATEWAYX_GROK_BASE_URL={server.url}/v1\n")
        with project.pool() as pool, pytest.raises(ProviderError) as caught:
            list(pool.stream("x", model="grok")) if is_streamed else pool.ask("x", model="grok")

    if status == 200:
        assert caught.value.code == "too_large"
        assert "more than 1,000 JSON values" in caught.value.message
    else:
        assert "HTTP 400" in caught.value.message


def test_embeddings_with_too_many_values_are_refused(project):
    """Vectors are numbers; lists in their place would take gigabytes."""
    body = json.dumps({"data": [{"index": 0, "embedding": [[]] * 2_000}]}).encode()
    with Server(lambda _: [Send(reply(body))]) as server:
        project.set_keys(f"GATEWAYX_OPENAI_API_KEY=k\nGATEWAYX_OPENAI_BASE_URL={server.url}/v1\n")
        with project.pool() as pool, pytest.raises(ProviderError, match="JSON values"):
            pool.embed(["a"], "openai:m")


def test_an_answer_with_too_many_values_does_not_fit_a_schema():
    """The text is kept; only its values are not built."""
    text = json.dumps([[]] * 2_000)

    with pytest.raises(ValueError, match="JSON values"):
        extract_json(text)
    with pytest.raises(ValueError, match="JSON values"):
        ResponseSchema(list).parse(text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            '{"a":1}',
            '{"a":1} x',
            '{"a":1',
            "[1,2",
            '"abc',
            "[DONE]",
            '{"a":NaN}',
            "nul",
            '{"a" 1}',
        ),
        *('{"a":1,}', '{"a":"\n"}', "{'a':1}", "1e5", "-", '{"a":01}', "[" * 100_000),
        '{"a":"\\ud800"}',
    ],
    ids=lambda text: text[:9],
)
def test_json_is_complete_if_the_standard_library_reads_it(text, monkeypatch):
    """The check builds no values."""
    monkeypatch.setattr(bounded_json, "MAX_VALUES", 1_000_000)
    try:
        json.loads(text)
        is_complete = True
    except (ValueError, RecursionError):
        is_complete = text == "[DONE]"

    assert json_body.is_complete(text) is is_complete
