"""What makes two maps the same job, and what is stored of an outcome."""

from __future__ import annotations

import dataclasses
import functools
from decimal import Decimal

import pytest

from gatewayx_nb import errors
from gatewayx_nb.batch.identity import function_text, job_definition, job_digest, row_key
from gatewayx_nb.batch.row_prompt import RowRequest
from gatewayx_nb.batch.stored_outcomes import decode_outcome, encode_outcome, stored_prompt
from gatewayx_nb.images import Image
from gatewayx_nb.messages import Message, ToolCall
from gatewayx_nb.replies import Citation, Logprob, Reply, Usage
from gatewayx_nb.schema import ResponseSchema

PNG = Image("image/png", b"\x89PNG")


def adder(word):
    def add(row):
        return row + word

    return add


def adder_with_comments(word):
    def add(row):
        # The comment and the layout do not count.
        return (
            row
            + word
        )  # fmt: skip

    return add


class Prefix:
    """A callable with state."""

    def __init__(self, word):
        self.word = word

    def __call__(self, row):
        return self.word + row

    def method(self, row):
        return self.word + row


def with_helper(word):
    return adder(word)


SAME = [
    (adder("x"), adder("x")),
    (adder("x"), adder_with_comments("x")),
    (functools.partial(adder, "x"), functools.partial(adder, "x")),
    (Prefix("a"), Prefix("a")),
    (with_helper("x"), with_helper("x")),
]
DIFFERENT = [
    (adder("x"), adder("y")),
    (adder(1), adder("1")),
    (functools.partial(adder, "x"), functools.partial(adder, word="x")),
    (Prefix("a"), Prefix("b")),
    (Prefix("a").method, Prefix("b").method),
    (with_helper("x"), with_helper("y")),
    (lambda row: row + "a", lambda row: row + "b"),
    (lambda row, n=1: row * n, lambda row, n=2: row * n),
]


@pytest.mark.parametrize(("first", "second"), SAME, ids=range(len(SAME)))
def test_equal_functions_have_equal_texts(first, second):
    assert function_text(first).replace("_with_comments", "") == function_text(second).replace(
        "_with_comments", ""
    )


@pytest.mark.parametrize(("first", "second"), DIFFERENT, ids=range(len(DIFFERENT)))
def test_different_functions_have_different_texts(first, second):
    assert function_text(first) != function_text(second)


def test_a_text_holds_no_address():
    """The address of an object differs in each process."""
    assert " at 0x" not in function_text(adder(object()))


def test_two_lambdas_on_one_line_are_distinguished():
    first, second = (lambda row: row + "a"), (lambda row: row + "b")

    assert function_text(first) != function_text(second)


@pytest.mark.parametrize(
    "changed",
    [
        {"model": "grok:m2"},
        {"address": "https://b.example"},
        {"prompt_parts": ("other", None)},
        {"prompt_parts": ("prompt", "system")},
        {"options": {"temperature": 1.0}},
        {"options": {"schema": ResponseSchema(int)}},
        {"options": {"images": (PNG,)}},
        {"options": {"fallback": ("mock",)}},
    ],
)
def test_each_part_of_a_definition_counts(changed):
    arguments = {"model": "grok:m1", "address": "", "prompt_parts": ("prompt", None), "options": {}}

    first = job_digest(job_definition(**arguments))
    assert job_digest(job_definition(**{**arguments, **changed})) != first
    assert job_digest(job_definition(**arguments)) == first


def test_rows_differ_by_all_that_is_sent():
    requests = [
        RowRequest("a"),
        RowRequest("b"),
        RowRequest("a", {"system": "s"}),
        RowRequest("a", {"temperature": 0.5}),
        RowRequest("a", {"model": "mock"}),
        RowRequest("a", {"images": (PNG,)}),
        RowRequest([Message("user", "a")]),
        RowRequest([Message("user", ["a", PNG])]),
        RowRequest([Message("system", "a"), Message("user", "b")]),
    ]
    keys = [row_key(request) for request in requests]

    assert len(set(keys)) == len(keys)
    assert all(-(2**63) <= key < 2**63 for key in keys)


REPLY = Reply(
    text="Rome",
    engine="grok",
    model="grok-4",
    reasoning="because",
    finish_reason="length",
    usage=Usage(3, 5, 1, None, 2),
    cost=Decimal("0.00012"),
    latency=1.25,
    time_to_first=0.5,
    attempts=2,
    fallback_from="openai",
    tool_calls=(ToolCall("1", "f", '{"a": 1}'),),
    citations=(Citation("text", "title", "https://example.com", 3, 0, 4),),
    images=(PNG,),
    logprobs=(Logprob("Rome", -0.5),),
    dropped=("seed",),
)


def test_a_stored_reply_has_all_fields_but_those_of_the_connection():
    content = encode_outcome(REPLY, "prompt")

    assert decode_outcome(content, "ok", None) == dataclasses.replace(REPLY, replayed=True)
    assert stored_prompt(content, "ok") == "prompt"


def test_a_stored_reply_is_parsed_again():
    reply = dataclasses.replace(REPLY, text='{"answer": 7}', parsed=7)

    assert decode_outcome(encode_outcome(reply, ""), "ok", ResponseSchema(int)).parsed == 7


@pytest.mark.parametrize("kind", [errors.ContentFilterError, errors.TruncatedError])
def test_a_stored_error_reads_the_same(kind):
    error = kind("no", hint="Rephrase it.", engine="grok", model="m", status=400, code="filter")
    error.partial = "Ro"

    stored = decode_outcome(encode_outcome(error, "p"), kind.__name__, None)

    assert type(stored) is kind
    assert str(stored) == str(error)
    assert (stored.engine, stored.status, stored.code, stored.partial) == (
        "grok",
        400,
        "filter",
        "Ro",
    )


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"engine": 5}', b"\xff"])
@pytest.mark.parametrize("outcome", ["ok", "ContentFilterError", "NoSuchError", "pathlib"])
def test_a_damaged_row_is_a_separate_error(content, outcome):
    stored = decode_outcome(content, outcome, None)

    assert isinstance(stored, errors.ConfigError)
    assert "fresh" in str(stored)
    assert stored_prompt(content, outcome) == ""
