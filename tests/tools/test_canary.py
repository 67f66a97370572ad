"""A key of the pool that a tool returns, raises or receives goes nowhere."""

import json
from pathlib import Path

import gatewayx_nb as gx
from gatewayx_nb.replies import calls_html, calls_text
from tests.llm_engines.wire import KEY
from tests.tools.providers import Anthropic, Gemini
from tests.tools.samples import DONE, EACH, STREAMED, weather
from tests.tools.strict_server import Turn

PIECES = (KEY, KEY[:12], KEY[-12:], KEY[::-1])


@gx.tool(name="read_key")
async def read_key() -> dict:
    """Return the key."""
    return {"keys": [f"the key is {KEY}"]}


def fail_with_key() -> None:
    """Fail."""
    raise ValueError(f"cannot read {KEY!r}") from OSError(f"no file /secrets/{KEY}")


def draw_key() -> bytes:
    """Return an image with the key in its metadata."""
    return b"\x89PNG\r\n\x1a\n" + KEY.encode()


TOOLS = [read_key, fail_with_key, draw_key, weather]
CALLS = (("read_key", {}), ("fail_with_key", {}), ("draw_key", {}))


def _masking(kind):
    """Return a server that takes its turns back with a masked key."""

    class Masking(kind):
        def _check_history(self, entries):
            for entry, before in zip(entries[1:], entries, strict=False):
                assert (before.kind, entry.kind) != ("assistant", "user") or not before.ids

    return Masking


@EACH
@STREAMED
def test_a_key_is_in_no_request_file_or_output(connect, tmp_path, kind, is_streamed):
    """A key stays hidden even if the model writes it as an argument, a name or a parameter."""
    escaped = "".join(
        f"\\u{ord(letter):04x}" if at % 5 == 0 else letter for at, letter in enumerate(KEY)
    )
    written = (("weather", {"city": KEY}), (f"x_{KEY}", {}), ("weather", {KEY: 1}))
    if kind not in (Anthropic, Gemini):  # whose arguments are no text
        written += (("weather", f'{{"city": "{escaped}"}}'),)
    turns = [Turn("", "Hm.", CALLS), Turn("", "", written)]
    connection = connect(_masking(kind), *turns, DONE)
    cassette = tmp_path / "c.jsonl"
    with connection.wire.pool.cassette(cassette):
        reply = connection.ask(tools=TOOLS, is_streamed=is_streamed)
    connection.wire.pool.close()

    assert len(connection.server.bodies) == 3
    withheld = "the result contains a key and was withheld"
    assert [step.error for step in reply.steps[:3]] == [
        withheld,
        "ValueError: cannot read '<key>'",
        withheld,
    ]
    outputs = [
        *(json.dumps(body, ensure_ascii=False) for body in connection.server.bodies),
        *map(str, reply._repr_mimebundle_().values()),
        *(repr(reply), str(reply), json.dumps(reply.to_dict())),
        *(calls_html(reply.steps), calls_text(reply.steps), repr(reply.steps)),
    ]
    for output in outputs:
        assert not [piece for piece in (*PIECES, escaped) if piece in output]
    files = [path for path in _files(tmp_path) if path.name != ".env.local"]
    assert {".jsonl", ".sqlite"} <= {path.suffix for path in files}  # a cassette and the ledger
    for path in files:
        content = path.read_bytes()
        assert not [piece for piece in PIECES if piece.encode() in content], path


def _files(tmp_path):
    return [path for root in (tmp_path, Path.home()) for path in root.rglob("*") if path.is_file()]
