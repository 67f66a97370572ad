"""Measures opening and renewing large cassettes, beside handwritten code for the same lines.

    python benchmarks/cassettes.py [--quick]

Each row is the median of several rounds. The ratio compares it with what a handwritten script
would do: `json.loads` for each line, or a line appended to a file and flushed to the disk.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from gatewayx_nb.cassettes import Cassette, CassetteEntry, CassetteRequest, Redaction, RequestBody
from gatewayx_nb.cassettes.codec import encode
from gatewayx_nb.cassettes.entry import Piece, RecordedMetadata
from gatewayx_nb.cassettes.request_body import RecordedMessage

if TYPE_CHECKING:
    from collections.abc import Callable

IS_QUICK = "--quick" in sys.argv
COUNT = 200 if IS_QUICK else 10_000
ROUNDS = 1 if IS_QUICK else 5
HEAD = b'{"format":"gatewayx-cassette","version":2}\n'


def entries(count: int, *, equal: bool) -> list[CassetteEntry]:
    """Return entries of 20 pieces and about 400 characters each, of equal or different calls."""
    made = []
    for number in range(count):
        prompt = "Hi" if equal else f"Question {number} " * 10
        made.append(
            CassetteEntry(
                request=RequestBody(messages=(RecordedMessage("user", prompt),)),
                reference="e",
                engine="e",
                repeat=number if equal else 0,
                text=f"words and words {number} " * 20,
                pieces=tuple(Piece(place / 10, 16) for place in range(20)),
                figures=RecordedMetadata("e", "m", usage={"input_tokens": 3}, latency=2.0),
                recorded="2026-01-01T00:00:00Z",
            )
        )
    return made


def write(path: Path, rows: list[CassetteEntry]) -> None:
    """Write a cassette."""
    path.write_bytes(HEAD + b"".join(encode(row) + b"\n" for row in rows))


def load(path: Path) -> Cassette:
    """Open a cassette."""
    return Cassette(path, "replay", Redaction(str, dict))


def renew(path: Path, rows: list[CassetteEntry], prefix: str) -> None:
    """Record every call again with a different answer, and check the first two."""
    with Cassette(path, "record", Redaction(str, dict)) as cassette:
        for number, row in enumerate(rows):
            cassette.find(CassetteRequest(row.reference, row.engine, row.model, row.request))
            renewed = msgspec.structs.replace(row, text=f"{prefix} {number}")
            cassette.record(lambda entry=renewed: entry)
    assert [entry.text for entry in load(path).entries[:2]] == [f"{prefix} 0", f"{prefix} 1"]


def append_by_hand(path: Path, rows: list[CassetteEntry]) -> None:
    """Append a line for each call, and sync it to the disk."""
    for row in rows:
        with path.open("ab") as file:
            file.write(encode(row) + b"\n")
            file.flush()
            os.fsync(file.fileno())


def seconds(function: Callable[..., object], *arguments: object) -> float:
    """Return the seconds that a call of the function takes."""
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def main() -> None:
    """Print a row for each operation."""
    with tempfile.TemporaryDirectory() as folder:
        path, other = Path(folder) / "a.jsonl", Path(folder) / "by_hand.jsonl"
        measured: dict[str, list[tuple[float, float]]] = {}
        different, equal = entries(COUNT, equal=False), entries(2 * COUNT, equal=True)
        for turn in range(ROUNDS):
            for name, rows in (
                (f"open {COUNT:,} entries", different),
                (f"open {2 * COUNT:,} equal entries", equal),
            ):
                write(path, rows)
                lines = path.read_bytes().splitlines()
                pair = seconds(load, path), seconds(lambda of=lines: list(map(json.loads, of)))
                measured.setdefault(name, []).append(pair)
            other.unlink(missing_ok=True)
            pair = (
                seconds(renew, path, equal, f"turn {turn}"),
                seconds(append_by_hand, other, equal),
            )
            measured.setdefault(f"renew {2 * COUNT:,} entries", []).append(pair)
        print(f"{'':32}{'cassette':>12}{'by hand':>12}{'ratio':>8}")
        for name, pairs in measured.items():
            own, by_hand = (statistics.median(column) for column in zip(*pairs, strict=True))
            print(f"{name:32}{own:10.2f} s{by_hand:10.2f} s{own / by_hand:8.2f}")


if __name__ == "__main__":
    main()
