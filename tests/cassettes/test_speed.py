"""Loading time of a large cassette."""

import json

import pytest

from gatewayx_nb.cassettes import Cassette, CassetteEntry, Redaction, RequestBody
from gatewayx_nb.cassettes.codec import encode
from gatewayx_nb.cassettes.entry import Piece, RecordedMetadata
from gatewayx_nb.cassettes.request_body import (
    RecordedMessage,
    RecordedPart,
    RequestedToolResult,
)
from tests.processor import seconds

pytestmark = pytest.mark.no_cover  # under coverage, these would take several times as long

HEAD = b'{"format":"gatewayx-cassette","version":2}\n'


def test_loading_takes_at_most_twice_as_long_as_json(tmp_path):
    """Loading 10,000 entries of 20 chunks each (10 MB) takes at most twice as long as `json`.

    The times are processor times measured at the same moment, because a busy machine is slower.
    """
    path = tmp_path / "a.jsonl"
    pieces = tuple(Piece(number / 10, 16) for number in range(20))
    entries = [
        CassetteEntry(
            recorded="2026-01-01T00:00:00Z",
            engine="e",
            request=RequestBody(
                messages=(RecordedMessage("user", f"Question {number} " * 10),),
                params={"a": number},
            ),
            reference="e",
            text="words and words " * 20,
            pieces=pieces,
            figures=RecordedMetadata("e", "m", usage={"input_tokens": 3}, latency=2.0),
        )
        for number in range(10_000)
    ]
    path.write_bytes(HEAD + b"\n".join(map(encode, entries)) + b"\n")

    def load():
        assert len(Cassette(path, "replay", Redaction(str, dict))) == 10_000

    def load_json():
        assert len([json.loads(line) for line in path.read_bytes().splitlines()]) == 10_001

    assert min(seconds(load) / seconds(load_json) for _ in range(5)) < 2


def test_equal_calls_load_in_linear_time(tmp_path):
    """A cassette of equal calls takes about 8 times the time for 8 times as many, not 64 times.

    The limit lies between the two, far from both, because processor time varies under load.
    """
    message = RecordedMessage("user", "Hi")
    path = tmp_path / "a.jsonl"

    def cassette_of(count):
        entries = [
            CassetteEntry(
                engine="e", request=RequestBody(messages=(message,)), repeat=count - number
            )
            for number in range(count)
        ]
        path.write_bytes(HEAD + b"\n".join(map(encode, entries)) + b"\n")
        return min(seconds(lambda: Cassette(path, "replay", Redaction(str, dict))) for _ in "abc")

    assert cassette_of(32_000) < 24 * cassette_of(4_000)


def _with_results(count):
    """Return requests that differ only in the results of a tool."""
    for number in range(count):
        result = RequestedToolResult("1", "weather", (RecordedPart(f"sunny {number}"),))
        yield RecordedMessage("tool", "", parts=(RecordedPart(tool_result=result),))


@pytest.mark.parametrize("has_results", [False, True])
def test_calls_that_are_recorded_twice_are_settled_in_linear_time(tmp_path, has_results):
    """Merged branches, or a hostile file, may contain two answers to each of many calls."""
    path = tmp_path / "a.jsonl"

    def settle():
        index = Cassette(path, "auto", Redaction(str, dict)).index
        assert len(index.forget_duplicates()) == len(index)

    def seconds_of(count):
        messages = _with_results(count) if has_results else [RecordedMessage("user", "Hi")] * count
        entries = [
            CassetteEntry(
                engine="e",
                request=RequestBody(messages=(message,)),
                repeat=0 if has_results else number,
                text=answer,
            )
            for number, message in enumerate(messages)
            for answer in ("a", "b")
        ]
        path.write_bytes(HEAD + b"\n".join(map(encode, entries)) + b"\n")
        return min(seconds(settle) for _ in "abc")

    assert seconds_of(6_400) < 24 * seconds_of(800)
