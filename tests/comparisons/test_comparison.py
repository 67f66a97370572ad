import builtins
import math
import pickle
from decimal import Decimal

import html5lib
import pytest

from gatewayx_nb.comparisons import Comparison, tokens_per_second
from gatewayx_nb.comparisons.comparison import unique_labels
from gatewayx_nb.errors import ConfigError, MissingKeyError, TruncatedError
from gatewayx_nb.replies import Reply, Usage


def _reply(text="x", latency=1.0, cost=None, written=None, **more):
    cost = None if cost is None else Decimal(cost)
    return Reply(text, "mock", "m", latency=latency, cost=cost, usage=Usage(3, written), **more)


def _compared(*outcomes, references=()):
    return Comparison("Why?", tuple(references) or ("mock",) * len(outcomes), outcomes)


def _cut():
    error = TruncatedError("it ended early.", engine="grok", model="grok-4")
    error.partial = "half"
    return error


def test_it_is_a_sequence_in_the_requested_order():
    """A comparison is a sequence of replies and errors in the order of the models."""
    first, missing = _reply("a"), MissingKeyError("no key.")
    both = _compared(first, missing)

    assert list(both) == [first, missing]
    assert (both[-1], both[:1], len(both)) == (missing, (first,), 2)
    assert both.replies == [first]
    assert repr(both) == "Comparison(mock: 'a', mock (2): MissingKeyError)"


def test_it_survives_a_pickle():
    """A comparison can be pickled, as replies can."""
    both = _compared(_reply("a"), MissingKeyError("no key.", hint="Set it."))
    again = pickle.loads(pickle.dumps(both))

    assert (again[0], str(again[1])) == (both[0], "no key. Set it.")


def test_a_repeated_reference_is_numbered():
    """A repeated reference is numbered, to distinguish its columns."""
    assert unique_labels(["mock", "grok", "mock", "mock"]) == (
        "mock",
        "grok",
        "mock (2)",
        "mock (3)",
    )


@pytest.mark.parametrize(
    ("outcomes", "marks"),
    [
        ([_reply(latency=1, cost="0.2"), _reply(latency=2, cost="0.1")], ["fastest", "cheapest"]),
        ([_reply(latency=1), _reply(latency=2)], ["fastest", ""]),
        ([_reply(latency=1, cost="0.2"), _reply(latency=2)], ["fastest", ""]),
        ([_reply(latency=1), _reply(latency=1.01)], ["", ""]),
        ([_reply()], [""]),
        ([_reply(cost="0"), _reply(cost="0"), _reply(cost="0.1")], ["cheapest", "cheapest", ""]),
        ([_reply(latency=0.1, interrupted=True), _reply(latency=2)], ["", ""]),
        ([_cut(), _reply()], ["", ""]),
    ],
)
def test_only_differing_metrics_are_marked(outcomes, marks):
    """A mark is set only if it distinguishes: never for only one column.

    Replies that are unpriced, stopped or failed are not marked.
    """
    assert [", ".join(best) for best in _compared(*outcomes).marks()] == marks


def test_the_fastest_and_the_cheapest():
    """Fastest and cheapest are chosen among finished replies; an unknown price is not cheap."""
    slow = _reply(latency=2, cost="0.1")
    fast = _reply(latency=1)
    stopped = _reply(latency=0.1, cost="0", interrupted=True)
    compared = _compared(slow, fast, stopped, _cut())

    assert compared.fastest is fast
    assert compared.cheapest is slow
    assert _compared(_cut()).fastest is None
    assert _compared(fast).cheapest is None


def test_a_frame_has_a_row_for_each():
    """A frame has a row per column: unknown values are missing, partial answers are kept."""
    whole = _reply("a", latency=2.0, cost="0.5", written=10, time_to_first=0.5)
    compared = _compared(whole, _cut(), _reply("b"), references=["mock", "grok:grok-4", "mock"])
    frame = compared.to_frame()

    assert frame["label"].tolist() == ["mock", "grok:grok-4", "mock (2)"]
    assert frame["engine"].tolist() == ["mock", "grok", "mock"]
    assert frame["text"].tolist() == ["a", "half", "b"]
    assert frame["error"][1] == "TruncatedError: it ended early."
    first = frame.iloc[0]
    assert (first["cost"], first["tokens_per_second"], first["output_tokens"]) == (0.5, 5.0, 10)
    assert (first["latency"], first["time_to_first"]) == (2.0, 0.5)
    assert frame["cost"].isna().tolist() == [False, True, True]
    assert frame["output_tokens"].isna().tolist() == [False, True, True]
    assert math.isnan(frame["latency"][1])


def test_a_frame_of_failures_has_the_same_types():
    """A frame of failures has the same dtypes, so that frames can be concatenated."""
    whole = _compared(_reply(cost="1", written=1)).to_frame()
    failed = _compared(MissingKeyError("no key."), references=["grok:grok-4"]).to_frame()

    assert list(whole.columns) == list(failed.columns)
    numbers = ["latency", "cost", "output_tokens", "tokens_per_second"]
    assert whole.dtypes[numbers].tolist() == failed.dtypes[numbers].tolist()
    assert (failed["engine"][0], failed["model"][0]) == ("grok", "grok-4")


def test_without_pandas_the_error_says_what_to_install(monkeypatch):
    """Without pandas the error contains the command that installs it."""
    load = builtins.__import__

    def refuse(name, *rest):
        if name == "pandas":
            raise ImportError(name)
        return load(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ConfigError, match=r'pip install "gatewayx-nb\[data\]"'):
        _compared(_reply()).to_frame()


def test_tokens_per_second_is_unknown_without_tokens_or_time():
    """Tokens per second are unknown without tokens or time, instead of a division by zero."""
    assert tokens_per_second(_reply(written=10, latency=4)) == 2.5
    assert tokens_per_second(_reply(latency=4)) is None
    assert tokens_per_second(_reply(written=10, latency=0)) is None


def test_it_is_displayed_as_text_and_as_safe_columns():
    """The text and HTML forms omit seconds, which differ by run; markup in replies is inert."""
    hostile = "<script>alert(1)</script> **b** \x1b[2J"
    error = MissingKeyError("<img src=x> needs a key.", hint="Set it.")
    bundle = _compared(_reply(hostile), error)._repr_mimebundle_()

    assert set(bundle) == {"text/plain", "text/html"}
    assert bundle["text/plain"].splitlines() == [
        *("mock", "----", "<script>alert(1)</script> **b** ", ""),
        *("mock (2)", "--------", "MissingKeyError: <img src=x> needs a key. Set it."),
    ]
    tree = html5lib.parseFragment(bundle["text/html"], namespaceHTMLElements=False)
    assert [*tree.iter("script"), *tree.iter("img")] == []
    labels = [part.get("aria-label") for part in tree.iter("div") if part.get("role") == "group"]
    assert labels == ["mock", "mock (2)"]
    assert [bold.text for bold in tree.iter("strong")] == ["mock", "b", "mock (2)"]
