"""Nothing that reaches a terminal or ``text/plain`` contains an escape sequence."""

import contextlib
from decimal import Decimal

import pytest

from gatewayx_nb import display
from gatewayx_nb.calls import Excerpt, Note, Table, text_columns
from gatewayx_nb.comparisons import Comparison
from gatewayx_nb.engine_pool import EnginePool
from gatewayx_nb.errors import GatewayError, ProviderError, whole_tracebacks
from gatewayx_nb.hints import as_hint
from gatewayx_nb.llm_engines import Chunk
from gatewayx_nb.messages import Message, ModelInfo, ToolCall
from gatewayx_nb.replies import Reply, Usage
from gatewayx_nb.storage import LedgerEntry
from gatewayx_nb.testing import ScriptedEngine

ESCAPES = "a\x1b]52;c;ZXZpbA==\x07\x1b]0;title\x07\x1b[2J\x9b31m\x1b[31m\x08\x7f\u202eb"
CONTROLS = ("\x1b", "\x07", "\x9b", "\x08", "\x7f", "\u202e")

REPLY = Reply(ESCAPES, "e", f"m{ESCAPES}", tool_calls=(ToolCall("i", ESCAPES, "{}"),))
ERROR = ProviderError(f"x {ESCAPES}", hint=as_hint(f"Do {ESCAPES}."), code=ESCAPES)
ENTRY = LedgerEntry(1.0, ESCAPES, ESCAPES, ESCAPES, cost=Decimal(1), fallback_from=ESCAPES)


def _shown(*values):
    return "\n".join(map(str, values))


def _engine(*script):
    return ScriptedEngine(script or [ESCAPES, *ESCAPES, Chunk(finish_reason="stop")])


def _streamed_to(view):
    with EnginePool(env={}, engines=[_engine()]) as pool:
        display.show_stream(pool.stream("x", model="scripted"), view)


def _compared():
    with EnginePool(env={}, engines=[_engine()]) as pool:
        return _shown(pool.compare("x", ["scripted", "scripted"])._repr_mimebundle_()["text/plain"])


def _asked(pool_call):
    with EnginePool(env={}, engines=[_engine()]) as pool:
        return _shown(pool_call(pool))


def _health():
    class Ill(ScriptedEngine):
        async def health_check(self):
            raise ValueError(ESCAPES)

        async def models(self):
            return [ModelInfo("ill", ESCAPES)]

    with EnginePool(env={}, engines=[Ill(["x"])]) as pool:
        return _shown(pool.health("ill"), pool.models("ill", live=True))


def _failed_call():
    with EnginePool(env={}, engines=[_engine(ValueError(ESCAPES))]) as pool:
        with contextlib.suppress(GatewayError):
            pool.ask("x", "scripted")
        return _shown(pool.status(), pool.usage(), pool.history(), *pool.problems)


def _whole_traceback():
    with EnginePool(env={}, engines=[_engine(ValueError(ESCAPES))]) as pool:
        try:
            pool.ask("x", "scripted")
        except GatewayError as error:
            with whole_tracebacks():
                return _shown(*error._render_traceback_(), error.__cause__)


OUTPUTS = {
    "reply in Out": lambda: _shown(REPLY._repr_mimebundle_()["text/plain"]),
    "repr of a reply": lambda: _shown(repr(REPLY)),
    "error": lambda: _shown(ERROR, ERROR.describe(), repr(ERROR)),
    "traceback": lambda: _shown("\n".join(ERROR._render_traceback_())),
    "whole traceback": _whole_traceback,
    "table": lambda: _shown(Table([(ESCAPES, ESCAPES)], text_columns(ESCAPES, "x"), [ESCAPES])),
    "empty table": lambda: _shown(Table([], (), [ESCAPES])),
    "lead": lambda: _shown(Table([(ESCAPES,)], text_columns("x"), lead=[ESCAPES])),
    "note": lambda: _shown(Note(ESCAPES)),
    "excerpt": lambda: _shown(Excerpt(ESCAPES, ESCAPES)),
    "comparison": lambda: _shown(
        Comparison("x", (ESCAPES, "b"), (REPLY, ERROR))._repr_mimebundle_()["text/plain"]
    ),
    "repr of a comparison": lambda: _shown(repr(Comparison("x", (ESCAPES, "b"), (REPLY, ERROR)))),
    "compared answers": _compared,
    "preview": lambda: _asked(lambda pool: pool.preview(ESCAPES, "scripted", system=ESCAPES)),
    "history": lambda: _asked(lambda pool: pool._usage.ledger.add(ENTRY) or pool.history()),
    "entry": lambda: _shown(ENTRY, Usage()),
    "health and models": _health,
    "status after a failed call": _failed_call,
    "terminal": lambda: _streamed_to(display.TerminalView()),
    "notebook": lambda: _streamed_to(display.NotebookView()),
    "message": lambda: _shown(Message("user", ESCAPES)),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_no_output_contains_an_escape_sequence(name, capsys, caplog):
    """Text from a model, a provider or an engine is shown without terminal control characters."""
    returned = OUTPUTS[name]()

    output = capsys.readouterr()
    shown = (returned or "") + output.out + output.err + caplog.text
    assert shown.strip()
    assert not [control for control in CONTROLS if control in shown]
