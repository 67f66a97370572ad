"""Every function of the package that reads hostile text takes linear time.

The texts are repeated fragments of the language that a function reads: openers without an end,
nested and alternating ones, and what an escape or a quotation begins with.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from gatewayx_nb import (
    bounded_json,
    errors,
    extraction,
    html,
    images,
    json_schema,
    masking,
    secrets,
    tabulation,
    text,
)
from gatewayx_nb.calls import AnswerCleaner
from gatewayx_nb.cassettes import cassette_lines, codec, guard
from gatewayx_nb.comparisons.differences import differences
from gatewayx_nb.errors import GatewayError
from gatewayx_nb.files import reading
from gatewayx_nb.html.notes import SourceNote
from gatewayx_nb.json_schema_validator import JSONSchemaValidator
from gatewayx_nb.llm_engines import (
    ProviderErrors,
    json_body,
    provider_errors,
    rate_limit_headers,
    response_body,
    unsupported_params,
)
from gatewayx_nb.llm_engines.anthropic_batches import AnthropicBatches
from gatewayx_nb.llm_engines.anthropic_messages import MessagesParser
from gatewayx_nb.llm_engines.batches import parse_line
from gatewayx_nb.llm_engines.cohere_chat import CohereParser
from gatewayx_nb.llm_engines.gemini import GeminiParser
from gatewayx_nb.llm_engines.openai_batches import OpenAIBatches
from gatewayx_nb.llm_engines.openai_chat import ChatParser
from gatewayx_nb.llm_engines.openai_responses import ResponsesParser
from gatewayx_nb.magics import cell, transforms, type_expression
from gatewayx_nb.model_registry import static_metadata
from gatewayx_nb.prompts import literals, placeholders
from gatewayx_nb.replies import Chunk
from gatewayx_nb.secure_config import dotenv, headers, settings, trusted
from gatewayx_nb.server import hidden_paths
from gatewayx_nb.storage import journal
from gatewayx_nb.testing import ScriptedEngine
from gatewayx_nb.transport import Decoder, retry_headers, route
from gatewayx_nb.weights import hub_files
from tests.security import growth

pytestmark = pytest.mark.no_cover  # under coverage, these would take several times as long

ATTACKS = 40 if growth.IS_SOAK else 8

KEY = "sk-0123456789abcdefghijABCDEFG"
NAMESPACE = {"city": "Paris", "d": {"a": 1}}
PLAIN = ["a", " ", "\n", "0", "\\", '"', "'", "\ud800", "é", ",", " a", "a\n", "\r\n", "a b "]
MARKDOWN = [
    "```",
    "```python\n",
    "~~~\n",
    "*",
    "**",
    "_",
    "[",
    "](",
    "![",
    "](<",
    "<",
    "`",
    "`|",
    "|a",
    "|-",
    ">",
    "",
    "-",
    "",
    "1.",
    "",
    "#",
    "$$",
    "\\(",
    "\\[",
    "&",
    "&#",
    "~~",
    "\n\n",
    "",
    "",
    "",
    "",
    "[a]:b\n",
    "<a@b",
    "http://a",
    "***a",
    "\t",
    "==\n",
    "```markdown\n",
]
JSON = ["{", "[", '{"a":', "[1],", "}", "]", '"a"', "1", "-", "1e", "null", "NaN", "```json\n"]
KEYS = [
    "sk-",
    "sk-a0",
    "eyJ",
    "eyJ-",
    "%73",
    "\\x73",
    "\\u0073",
    "&#x73;",
    "&#115;",
    "%",
    "&#",
    "0123456789abcdefghij",
    "c2st",
    "73",
    "==",
    "@",
    "a@b.",
    "sk-01234",
    "-----BEGIN",
]
FIELDS = [
    "{{",
    "}}",
    "{{a",
    "{{a.b",
    "{{a['",
    "{{a[0]",
    ".b",
    "['a']",
    ":",
    "{{a:",
    "{",
    "}",
    "{{a}}",
    "\x00",
    "\x001\x00",
    "{{a(",
    "{{-",
    "{{[",
]
ENV = ["A=", "export ", "=", "#", " #", "${A}", "\\'", "\ufeff", "\r", "A='x\n", "A=b #"]
TOML = [
    "[",
    "[[",
    "]",
    "a.",
    "a=",
    "a=1\n",
    '"""',
    "'''",
    "[a]\n",
    "[a.b]\n",
    "{",
    "a={",
    "#",
    ".",
    "a.a=1\n",
    "=[",
    "\\u",
    "default_model=",
]
LINE = ["-", "--", "-p a=", "--x=", "--model ", "-t 1 ", "{{", "@", "#", "?", "%gatewayx ", " = "]
LINE += ["=", "-o ", "mock ", "mock:", "a:b,", "%%gatewayx ", "value: '"]
SOURCE = [
    "class ",
    "class A(",
    "class A(LLMEngine):\n",
    "    model_name = '",
    "    features = ",
    "a.",
]
SOURCE += [
    "    features = a\n    'x'",
    "    requires_key",
    "(",
    ")",
    "\t",
    "type(",
    "# ",
    "f'{",
    '"""',
]
HEADER = [
    "1",
    "0.0",
    ".",
    "s",
    "ms",
    "h",
    ", ",
    "Mon, ",
    "1,",
    "GMT",
    "-",
    ":",
    "T",
    "+",
    "${",
    "$A",
]
URL = ["http://", "://", "/", "//", "@", ":", "[", "]", "?", "#", "%", "a.", "..", "a://b ", "C:/"]
TERMINAL = ["\x1b[", "\x1b]", "\x1b", "\x9b", "\x07", "[0", "m", "\u202e", "\ud83d", "\udc00", "?"]
HTML = ["<script", "<style>", "</", "<", "<a", "&a", "&amp;", ">", "<!--"]
EVENTS = [
    "data: ",
    "data:",
    "\r",
    "\r\n",
    "\n\n",
    "event: ",
    "\ufeff",
    "error:",
    "data: {}\n\n",
    ":",
]
TAGS = ["<think>", "</think>", "<", "<|", "[THINK]", "<reasoning>", "<thinking>", "◁", "</"]
LINES = ['{"request":{}}\n', '{"recorded":', '{"replaces":"a",}\n', "<<<<<<<\n", "=======\n"]
IMAGE = ["data:", "image/png", ";base64,", "%41", "QUJD", "https://", "~", "../"]
ROWS = ['{"NNN":1},', '{"a":1},', '{"NNN":1,"a":[1]},', "[1],", "null,", '{"a":{"NNN":1}},']
RESULTS = [
    '{"custom_id":"NNN","response":{"status_code":200,"body":{"a":1}}}\n',
    '{"custom_id":"NNN","response":{"status_code":400,"body":{"error":{"message":"a"}}}}\n',
    '{"custom_id":"NNN","error":{"code":"batch_expired","message":"a"}}\n',
    '{"custom_id":"NNN","result":{"type":"succeeded","message":{"a":1}}}\n',
    '{"custom_id":"NNN","result":{"type":"errored","error":{"error":{"type":"a"}}}}\n',
    '{"custom_id":"NNN","result":{"type":"expired"}}\n',
]
PATTERN = ["a*", "(a|b)", "[a-z]", "(", ")", "+", "?", "{1,9}", "^", "$", "\\d", "|", "."]
HUB = ["hf:", "a/", "/", ":", ".gguf", "-", "Q4_", "-00001-of-"]


@dataclass(frozen=True, slots=True)
class Reader:
    """A function that reads hostile text.

    Attributes:
        read: The function.
        fragments: Fragments of the language that it reads, besides `PLAIN`.
        lengths: The lengths of the texts; see `growth.growth`.
        plain: Whether texts also contain the fragments of `PLAIN`.
    """

    read: Callable[[str], object]
    fragments: list[str] = field(default_factory=list)
    lengths: tuple[int, ...] = (1_024, 16_384)
    plain: bool = True


def in_pieces(feed, data, size):
    for start in range(0, len(data), size):
        feed(data[start : start + size])


def clean(answer):
    cleaner = AnswerCleaner()
    in_pieces(lambda piece: list(cleaner.feed(Chunk(text=piece))), answer, 3)
    list(cleaner.close())


def render_incrementally(answer):
    renderer = html.IncrementalRenderer()
    for end in range(0, len(answer), len(answer) // 40 + 1):
        renderer(answer[:end])


def decode_events(stream):
    decoder = Decoder()
    in_pieces(decoder.feed, stream.encode(errors="replace"), 7)
    decoder.close()


def log_events(stream):
    log = response_body.EventLog()
    for line in stream.split("\n"):
        log.add([line])


def read_file(read, name, start=""):
    """Return the function that writes a text into a file and reads the file."""

    def read_text(content):
        path = FOLDER[0] / name
        path.write_text(start + content, errors="replace")
        read(path)

    return read_text


FOLDER = []
"""The folder of the files; a list, because it is known only while a test runs."""


@pytest.fixture(autouse=True)
def folder(tmp_path):
    FOLDER[:] = [tmp_path]


def of_bytes(read):
    return lambda body: read(body.encode(errors="replace"))


def retry_after(name):
    return lambda value: retry_headers.retry_after({name: value}, 0.0)


def rate_limits(value):
    names = ("x-ratelimit-reset-tokens", "x-ratelimit-limit-tokens")
    return rate_limit_headers.rate_limits(dict.fromkeys(names, value), 0.0)


def provider_message(value):
    error = {"message": value, "code": value, "details": [{"retryDelay": value}]}
    body = json.dumps({"error": error}).encode()
    return json_body.provider_error(body), json_body.retry_delay(body)


def field_values(template):
    fields = placeholders.split_template(template)
    return [each.value(NAMESPACE) for each in fields if not isinstance(each, str)]


def unmask(template):
    masked, put_back = placeholders.mask(template)
    return put_back(masked)


def numbered(text):
    """Return a text with the number of each ``NNN`` in its place."""
    first, *parts = text.split("NNN")
    return first + "".join(f"{number}{part}" for number, part in enumerate(parts))


def read_frame(rows):
    tabulation.text_to_frame(f"[{numbered(rows)}{{}}]")


def read_results(stream):
    engine = ScriptedEngine([])
    found = ProviderErrors("e", "m", "")
    for kind in (OpenAIBatches(engine, None, None), AnthropicBatches(engine, None, {})):
        for line in numbered(stream).encode(errors="replace").split(b"\n"):
            kind.read(parse_line(line), found)


KINDS = [{"$ref": f"#/$defs/{name}"} for name in "ab"]
TREE = {
    "$defs": {
        name: {
            "type": "object",
            "properties": {"kind": {"enum": [name]}, "child": {"anyOf": [*KINDS]}},
            "required": ["kind"],
        }
        for name in "ab"
    },
    "anyOf": KINDS,
}
"""A type that contains itself in two variants, which only their labels distinguish."""


def fit_tree(kinds):
    """Fit an answer whose nodes have these kinds, from the innermost to the outermost."""
    value = {}
    for kind in kinds[:100]:
        value = {"kind": kind, "child": value}
    json_schema.fit(value, TREE, TREE)


def read_schema(text):
    """Read schemas that contain a text, and compare short values with them."""
    for part in ({"pattern": text}, {"enum": [text]}, {"required": [text]}, {"$ref": f"#/{text}"}):
        with suppress(GatewayError, ValueError):
            validator = JSONSchemaValidator(json.dumps(part))
            validator.check({"a": "aaaa"})
            validator.check("aaaa")


CHECKS = [{"pattern": pattern} for pattern in (r"^(\w+,)*\d$", "[ab]*[bc]*d", "(a|a)+b")]
CHECKS += [{"patternProperties": {r"\s+$": {}}, "additionalProperties": False}, {"enum": ["a"]}]


def check_answer(text):
    """Compare a text with schemas."""
    for part in CHECKS:
        for value in (text, {text: text}):
            with suppress(ValueError):
                JSONSchemaValidator(json.dumps(part)).check(value)


def read_address(url):
    for address in (url, f"http://{url}", f"https://{url}/v1"):
        route.is_local_url(address)
        with suppress(GatewayError):
            route.check_host(
                route.parse_base_url(address, "e"), "e", has_key=True, plain_http_hosts=()
            )


def load_image(source):
    for start in ("", "data:", "data:image/png;base64,", "https://"):
        with suppress(GatewayError):
            images.load(start + source)


DEEP = (262_144,)
"""A length of which a quarter is beyond the depth at which the JSON parser gives up.

Python 3.13 gives up at 10,000 levels, after 0.1 s, whatever the length of the text.
"""

READERS = {
    "plain text": Reader(text.plain, TERMINAL),
    "shortened text": Reader(lambda value: text.shorten(value, 80), TERMINAL),
    "wrapped text": Reader(lambda value: text.wrap(value, 40), TERMINAL),
    "a text table": Reader(lambda value: text.table_text(["a"], [[value]], width=80), TERMINAL),
    "a repr": Reader(text.short_repr),
    "code blocks": Reader(extraction.code_blocks, MARKDOWN),
    "code": Reader(extraction.extract_code, MARKDOWN),
    "embedded JSON": Reader(extraction.extract_json, JSON, DEEP),
    "truncated JSON": Reader(extraction.ends_within_json, JSON, DEEP),
    "counted JSON": Reader(bounded_json.check_values, JSON),
    "Markdown": Reader(html.to_html, MARKDOWN, (1_024, 4_096)),
    "safe Markdown": Reader(html.safe_markdown, MARKDOWN, (1_024, 4_096)),
    "growing Markdown": Reader(render_incrementally, MARKDOWN, (512, 2_048)),
    "a message": Reader(html.inline_code, MARKDOWN),
    "an HTML table": Reader(lambda value: html.table_html(["a"], [[value]]), MARKDOWN + URL),
    "HTML": Reader(html.sandbox_html, HTML),
    "notes": Reader(lambda value: html.notes_html([SourceNote(value, value, value)]), URL),
    "a masked text": Reader(lambda value: masking.redact(value, [KEY]), KEYS),
    "a text with parts": Reader(lambda value: masking.may_contain_part(value, KEY), KEYS),
    "a masked stream": Reader(
        lambda value: in_pieces(masking.StreamRedactor(KEY).feed, value, 3), KEYS
    ),
    "a cassette's text": Reader(guard.mask, KEYS),
    "a recorded key": Reader(lambda value: guard.find_key(value, {"A": KEY}), KEYS),
    "a key": Reader(secrets.looks_like_key, KEYS),
    "an answer with tags": Reader(clean, TAGS),
    "events": Reader(decode_events, EVENTS),
    "a log": Reader(log_events, ['{"a":1}\n'], (1 << 21,), plain=False),
    "a body": Reader(json_body.parse, JSON),
    "a complete body": Reader(json_body.is_complete, JSON),
    "an error": Reader(of_bytes(json_body.provider_error), JSON + HTML),
    "an error's message": Reader(provider_message, HTML + HEADER),
    "JSON in a row": Reader(response_body._json_parts, JSON),
    "stray lines": Reader(response_body._stray_error, JSON + EVENTS),
    "an error event": Reader(response_body._error_body, JSON),
    "a delay": Reader(retry_after("retry-after"), HEADER),
    "milliseconds": Reader(retry_after("retry-after-ms"), HEADER),
    "rate limits": Reader(rate_limits, HEADER),
    "numbers": Reader(unsupported_params._numbers, HEADER),
    "an error's class": Reader(lambda value: errors.classify(400, None, value), ["input token "]),
    "an error's text": Reader(lambda value: str(errors.ProviderError(value)), TERMINAL),
    "a suggestion": Reader(lambda value: errors.did_you_mean(value, ["gpt-4o", "claude"])),
    "a frame": Reader(read_frame, ROWS, (4_096, 65_536), plain=False),
    "batch results": Reader(read_results, RESULTS + JSON, (1_024, 4_096)),
    "the variants of an answer": Reader(fit_tree, ["a", "b", "A"], (128, 512), plain=False),
    "a checked answer": Reader(check_answer, PATTERN + JSON),
    "a part of a JSON Schema": Reader(read_schema, PATTERN),
    "a JSON Schema": Reader(JSONSchemaValidator, [*JSON, '{"anyOf":[', '{"type":']),
    "a base URL": Reader(read_address, URL),
    "an image": Reader(load_image, URL + IMAGE),
    "placeholders": Reader(field_values, FIELDS),
    "masked placeholders": Reader(unmask, FIELDS),
    "an expression": Reader(lambda value: placeholders.resolve(value, NAMESPACE), FIELDS),
    "a lone placeholder": Reader(placeholders.only_expression, FIELDS),
    "unfilled braces": Reader(literals.unfilled, FIELDS),
    # Up to a limit, words are compared in quadratic time; these texts exceed it.
    "differences": Reader(
        lambda value: differences([value, value[::-1]]), ["the ", "a\n\n"], (65_536,)
    ),
    "an engine file": Reader(read_file(static_metadata._read_metadata, "a_engine.py"), SOURCE),
    "a TOML file": Reader(reading.parse_toml, TOML),
    "a key file": Reader(lambda value: list(dotenv.line_problems(dotenv.parse_lines(value))), ENV),
    "a new key": Reader(lambda value: dotenv.with_values(value, {"A": "b"}), ENV),
    "a header": Reader(lambda value: headers.header_problem("x-a", value), HEADER),
    "a header's variables": Reader(
        lambda value: headers.expand({"x": value}, {"A": "b"}, "e"), HEADER
    ),
    "a header's key": Reader(lambda value: headers.check_no_key({"x": value}, [KEY], "e"), KEYS),
    "a default model": Reader(lambda value: settings._with_default(value, "mock"), TOML),
    "an origin": Reader(trusted.origin, URL),
    "an option's target": Reader(lambda value: trusted.option_target("x", value), URL),
    "a cell's words": Reader(cell._split, LINE + FIELDS),
    "a cell's line": Reader(lambda value: cell.read(value, "Hi", NAMESPACE), LINE, (1_024, 8_192)),
    "a cell's body": Reader(lambda value: cell.read("mock", value, NAMESPACE), FIELDS),
    "a line": Reader(lambda value: cell.read_line(value, NAMESPACE), LINE, (1_024, 8_192)),
    "a question": Reader(
        lambda value: transforms.keep_question(value.splitlines(keepends=True)), LINE
    ),
    "a magic": Reader(transforms.uses_magic, LINE),
    "a schema": Reader(
        lambda value: type_expression.evaluate(value, {"A": int}),
        ["A|", "A[", "A.", "A,", "]", "-"],
    ),
    "a cassette's line": Reader(of_bytes(codec.decode), JSON + LINES),
    "a cassette": Reader(
        read_file(
            lambda path: cassette_lines.read(path, allow_markers=True),
            "a.jsonl",
            '{"format":"gatewayx-cassette","version":2}\n',
        ),
        JSON + LINES,
    ),
    "a mount point": Reader(lambda value: journal._ESCAPE.sub("", value), ["\\0", "\\040"]),
    "a path": Reader(lambda value: hidden_paths.without_paths(value, ["/home/me"]), URL),
    "a model of the hub": Reader(hub_files.parse_reference, HUB),
}


def check(reader, texts):
    lengths = reader.lengths
    if growth.IS_SOAK:
        lengths = (*lengths, 4 * lengths[-1])
    assert not growth.worst(reader.read, texts, lengths)


@pytest.mark.parametrize("name", READERS)
def test_hostile_text_is_read_in_linear_time(name):
    reader = READERS[name]
    fragments = [*reader.fragments, *(PLAIN if reader.plain else ())]
    check(reader, growth.attacks(fragments, ["\0", "", "\n"], ATTACKS))


def feed(kind):
    """Return the function that feeds each line to a parser; ``NNN`` becomes the line's number."""

    def feed_lines(stream):
        parser = kind(ProviderErrors("e", "m", ""))
        for number, line in enumerate(filter(None, stream.split("\n"))):
            list(parser.feed(line.replace("NNN", str(number))))
            if parser.ended:
                break

    return feed_lines


def chat(delta, **fields):
    return {"choices": [{"index": 0, "delta": delta, **fields}]}


def block(kind, index, **fields):
    return {"type": f"content_block_{kind}", "index": index, **fields}


def candidate(part, **fields):
    return {"candidates": [{"content": {"parts": [part]}, **fields}]}


CALL = {"index": 0, "id": "NNN", "function": {"name": "f", "arguments": "{"}}
DETAIL = {"type": "reasoning.text", "index": 0, "text": "a" * 100}
CITED = {"url": "NNN", "cited_text": "a"}
CHAT = [
    chat({"content": "a"}),
    chat({"tool_calls": [CALL]}),
    chat({"tool_calls": [CALL | {"index": None}]}),
    chat({"annotations": [{"type": "url_citation", "url_citation": CITED}]}),
    chat({"reasoning_details": [DETAIL]}),
    chat({"reasoning_details": [DETAIL | {"index": "NNN"}]}),
    chat({"content": "a"}, logprobs={"content": [{"token": "a", "logprob": -1}]}),
    {"choices": [{"index": 0, "message": {"content": "b" * 100}}]},
    {"citations": ["NNN"], "choices": []},
    chat({}, finish_reason="stop"),
]
MESSAGES = [
    block("start", 0, content_block={"type": "text", "text": "a"}),
    block("delta", 0, delta={"text": "a"}),
    block("delta", 0, delta={"citation": CITED}),
    block("start", "NNN", content_block={"type": "tool_use", "id": "NNN", "name": "f"}),
    block("delta", 1, delta={"partial_json": "{"}),
    block("start", 2, content_block={"type": "thinking", "thinking": ""}),
    block("delta", 2, delta={"thinking": "a" * 100}),
    block("stop", 1),
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}},
]
OUTPUT = {"type": "message", "content": [{"text": "a", "annotations": [CITED]}]}
RESPONSES = [
    {"type": "response.output_text.delta", "delta": "a"},
    {"type": "response.reasoning_summary_text.delta", "delta": "a"},
    {"type": "response.output_item.added", "output_index": 0, "item": {"type": "function_call"}},
    {"type": "response.function_call_arguments.delta", "output_index": 0, "delta": "{"},
    {"type": "response.output_item.done", "output_index": 0, "item": OUTPUT},
    {"type": "response.incomplete", "response": {"status": "in_progress"}},
]
GEMINI = [
    candidate({"text": "a"}),
    candidate({"text": "a", "thoughtSignature": "NNN"}),
    candidate({"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "a"}),
    candidate({"inlineData": {"mimeType": "image/png", "data": "aNNN"}}),
    candidate({}, groundingMetadata={"groundingChunks": [{"web": {"uri": "NNN"}}]}),
    candidate({}, logprobsResult={"chosenCandidates": [{"token": "a"}]}),
    candidate({}, finishReason="STOP"),
]
COHERE = [
    {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "a"}}}},
    {"type": "content-delta", "index": 1, "delta": {"message": {"content": {"thinking": "a"}}}},
    {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "a"}}},
    {"type": "tool-call-start", "index": 0, "delta": {"message": {"tool_calls": CALL}}},
    {"type": "tool-call-end", "index": 0},
    {"type": "citation-start", "delta": {"message": {"citations": {"sources": [{}]}}}},
]
BOTH = (True, False)
STREAMS = {
    "chat": (ChatParser, CHAT),
    "messages": (MessagesParser, MESSAGES),
    "responses": (ResponsesParser, RESPONSES),
    "gemini": (GeminiParser, GEMINI),
    "cohere": (CohereParser, COHERE),
}


@pytest.mark.parametrize("dialect", STREAMS)
def test_the_events_of_an_answer_are_read_in_linear_time(dialect, monkeypatch):
    """An answer with many ends is refused, because each end collects its contents so far."""
    # The limit is lower than in real calls, so that it also bounds the quarter of a text.
    monkeypatch.setattr(provider_errors, "_MAX_COLLECTED_CONTENTS", 4_000)
    kind, events = STREAMS[dialect]
    lines = [json.dumps(event) + "\n" for event in events]
    texts = growth.attacks(lines, [""], ATTACKS)
    # What follows the end, and what comes between several ends, is part of the answer.
    texts += [growth.Attack((line, lines[-1]), "", "", mixed) for line in lines for mixed in BOTH]
    texts += [growth.Attack((lines[-1], line), "", "", is_mixed=False) for line in lines]
    check(Reader(feed(kind), lengths=(131_072,)), texts)


def count_after(value):
    return [value.count("a", start) for start in range(len(value))]


def strip_each_beginning(value):
    return [value[:end].strip("a") for end in range(0, len(value), 4)]


def split_each_rest(value):
    return [value[start:].split() for start in range(0, len(value), 32)]


@pytest.mark.parametrize("function", [count_after, strip_each_beginning, split_each_rest])
def test_a_slow_function_is_found(function):
    """Each takes quadratic time for some of the texts."""
    texts = growth.attacks(["a", " ", "bc"], ["", "\n"], ATTACKS)
    assert growth.worst(function, texts, (1_024, 16_384))
