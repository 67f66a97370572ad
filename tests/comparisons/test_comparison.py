import math
import pickle
import sys
from decimal import Decimal

import html5lib
import pytest

from gatewayx_nb.comparisons import Comparison, tokens_per_second
from gatewayx_nb.comparisons.comparison import unique_labels
from gatewayx_nb.errors import ConfigError, MissingKeyError, TruncatedError
from gatewayx_nb.replies import Reply, Usage


def _reply(text="x", latency=1.0, cost=None, output_tokens=None, **keywords):
    cost = None if cost is None else Decimal(cost)
    return Reply(
        text, "mock", "m", latency=latency, cost=cost, usage=Usage(3, output_tokens), **keywords
    )


def _compare(*outcomes, references=()):
    return Comparison("Why?", tuple(references) or ("mock",) * len(outcomes), outcomes)


def _truncated_error():
    error = TruncatedError("it ended early.", engine="grok", model="grok-4")
    error.partial = "half"
    return error


def test_a_comparison_is_a_sequence_in_the_requested_order():
    """A comparison is a sequence of replies and errors in the order of the models."""
    reply, error = _reply("a"), MissingKeyError("no key.")
    comparison = _compare(reply, error)

    assert list(comparison) == [reply, error]
    assert (comparison[-1], comparison[:1], len(comparison)) == (error, (reply,), 2)
    assert comparison.replies == [reply]
    assert repr(comparison) == "Comparison(mock: 'a', mock (2): MissingKeyError)"


def test_a_comparison_can_be_pickled():
    """Unpickling a comparison restores its replies and errors."""
    comparison = _compare(_reply("a"), MissingKeyError("no key.", hint="Set it."))
    unpickled = pickle.loads(pickle.dumps(comparison))

    assert (unpickled[0], str(unpickled[1])) == (comparison[0], "no key. Set it.")


def test_a_repeated_reference_is_numbered():
    """The labels of a repeated reference are numbered."""
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
        ([_truncated_error(), _reply()], ["", ""]),
    ],
)
def test_only_differing_metrics_are_marked(outcomes, marks):
    """A reply is marked as fastest or cheapest only if it differs from the other replies.

    Unpriced, stopped and failed replies are not marked.
    """
    assert [", ".join(reply_marks) for reply_marks in _compare(*outcomes).marks()] == marks


def test_the_fastest_and_cheapest_are_finished_replies():
    """`fastest` and `cheapest` ignore unfinished replies, and `cheapest` ignores unknown prices."""
    slow_reply = _reply(latency=2, cost="0.1")
    fast_reply = _reply(latency=1)
    stopped_reply = _reply(latency=0.1, cost="0", interrupted=True)
    comparison = _compare(slow_reply, fast_reply, stopped_reply, _truncated_error())

    assert comparison.fastest is fast_reply
    assert comparison.cheapest is slow_reply
    assert _compare(_truncated_error()).fastest is None
    assert _compare(fast_reply).cheapest is None


def test_a_dataframe_has_a_row_for_each_answer():
    """A DataFrame has a row for each answer, including partial ones; unknown values are missing."""
    reply = _reply("a", latency=2.0, cost="0.5", output_tokens=10, time_to_first=0.5)
    comparison = _compare(
        reply, _truncated_error(), _reply("b"), references=["mock", "grok:grok-4", "mock"]
    )
    frame = comparison.to_frame()

    assert frame["label"].tolist() == ["mock", "grok:grok-4", "mock (2)"]
    assert frame["engine"].tolist() == ["mock", "grok", "mock"]
    assert frame["text"].tolist() == ["a", "half", "b"]
    assert frame["error"][1] == "TruncatedError: it ended early."
    first_row = frame.iloc[0]
    assert (first_row["cost"], first_row["tokens_per_second"], first_row["output_tokens"]) == (
        0.5,
        5.0,
        10,
    )
    assert (first_row["latency"], first_row["time_to_first"]) == (2.0, 0.5)
    assert frame["cost"].isna().tolist() == [False, True, True]
    assert frame["output_tokens"].isna().tolist() == [False, True, True]
    assert math.isnan(frame["latency"][1])


def test_a_dataframe_of_errors_has_the_same_dtypes():
    """A DataFrame of errors has the same dtypes as one of replies, so they can be joined."""
    replies_frame = _compare(_reply(cost="1", output_tokens=1)).to_frame()
    errors_frame = _compare(MissingKeyError("no key."), references=["grok:grok-4"]).to_frame()

    assert list(replies_frame.columns) == list(errors_frame.columns)
    numbers = ["latency", "cost", "output_tokens", "tokens_per_second"]
    assert replies_frame.dtypes[numbers].tolist() == errors_frame.dtypes[numbers].tolist()
    assert (errors_frame["engine"][0], errors_frame["model"][0]) == ("grok", "grok-4")


def test_the_error_without_pandas_includes_the_install_command(monkeypatch):
    """Without pandas the error contains the command that installs it."""
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ConfigError, match=r'pip install "gatewayx-nb\[data\]"'):
        _compare(_reply()).to_frame()


def test_tokens_per_second_is_unknown_without_tokens_or_time():
    """Tokens per second is None without a token count, and if the latency is zero."""
    assert tokens_per_second(_reply(output_tokens=10, latency=4)) == 2.5
    assert tokens_per_second(_reply(latency=4)) is None
    assert tokens_per_second(_reply(output_tokens=10, latency=0)) is None


def test_a_comparison_is_displayed_as_text_and_escaped_html():
    """A comparison has a plain-text form and an HTML form, in which markup from models is inert."""
    hostile = "<script>alert(1)</script> **b** \x1b[2J"
    error = MissingKeyError("<img src=x> needs a key.", hint="Set it.")
    bundle = _compare(_reply(hostile), error)._repr_mimebundle_()

    assert set(bundle) == {"text/plain", "text/html"}
    assert bundle["text/plain"].splitlines() == [
        *("mock", "----", "<script>alert(1)</script> **b** ", ""),
        *("mock (2)", "--------", "MissingKeyError: <img src=x> needs a key. Set it."),
    ]
    tree = html5lib.parseFragment(bundle["text/html"], namespaceHTMLElements=False)
    assert [*tree.iter("script"), *tree.iter("img")] == []
    labels = [
        element.get("aria-label") for element in tree.iter("div") if element.get("role") == "group"
    ]
    assert labels == ["mock", "mock (2)"]
    assert [bold.text for bold in tree.iter("strong")] == ["mock", "b", "mock (2)"]
