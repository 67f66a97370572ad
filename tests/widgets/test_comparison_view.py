"""The comparison view without a browser: fields, buttons, columns and saved output."""

import datetime as dt
import json
import re
import signal
import threading
import time

import ipywidgets
import pytest

from gatewayx_nb import EnginePool, widgets
from gatewayx_nb.errors import EngineNotFoundError, ProviderError, UsageError
from gatewayx_nb.images import Image
from gatewayx_nb.testing import ScriptedEngine
from gatewayx_nb.widgets.static_snapshot import StaticSnapshot
from tests.widgets.waiting import wait_until

PNG = b"\x89PNG\r\n\x1a\n"
NOW = dt.datetime.now(dt.UTC)


@pytest.fixture
def make_view():
    """Yield a function that creates views on a pool with `mock` and a scripted engine."""
    views = []

    def create_view(prompt="x", models=("mock", "mock:other"), *scripts, **options):
        pool = EnginePool(env={}, engines=[ScriptedEngine(*(scripts or (["a"],)))])
        views.append((widgets.compare_view(prompt, models, pool=pool, **options), pool))
        return views[-1][0]

    yield create_view
    for view, pool in views:
        view.close()
        pool.close()


def walk_widgets(widget):
    """Yield a widget and all its descendants."""
    yield widget
    for child in getattr(widget, "children", ()):
        yield from walk_widgets(child)


def find_by_label(view, label):
    """Return the field or button with a label, even if hidden."""
    return next(
        widget for widget in walk_widgets(view) if getattr(widget, "description", None) == label
    )


def upload(view, files):
    """Upload files to the view, as a browser does."""
    field, metadata = view._fields._upload, {"type": "", "size": 0, "last_modified": NOW}
    if isinstance(field.value, dict):  # ipywidgets 7
        field.set_trait("value", {name: {"content": data} for name, data in files.items()})
    else:
        field.value = [{"name": name, "content": data, **metadata} for name, data in files.items()]


def answers_html(view):
    """Return the displayed answers of all rows."""
    rows = view._answers.children
    return [column.children[1].value for row in rows for column in row.children[1].children]


def test_a_run_shows_every_answer_with_its_metrics(make_view):
    """Below each answer are its model, latency, tokens, cost, speed and finish reason."""
    view = make_view("Say **this**")
    view.run()
    assert [len(re.findall("<strong>this</strong>", html)) for html in answers_html(view)] == [1, 1]
    pattern = r"mock:other · \d\.\d s.* · 2 in, 3 out · \$0 · \d+ tokens/s · stop<"
    assert re.search(pattern, answers_html(view)[1])
    assert list(view.results["label"]) == ["mock", "mock:other"]
    assert view.code.startswith("import gatewayx_nb as gx\n")
    assert repr(view) == "ComparisonView(mock, mock:other)"


def test_the_run_button_is_disabled_during_a_run(make_view):
    """The Run button is disabled during a run, so ten clicks start only one run."""
    view = make_view("x", ("scripted", "mock"), [0.3, "a"])
    for _ in range(10):
        find_by_label(view, "Run").click()
    assert find_by_label(view, "Run").disabled
    assert not find_by_label(view, "Stop").disabled
    view._wait()
    assert list(view.results["run"]) == [1, 1]
    assert not find_by_label(view, "Run").disabled


def test_stop_keeps_partial_answers(make_view):
    """Stop keeps the partial answers of all columns and marks them as interrupted."""
    view = make_view("x", ("scripted", "scripted:other"), ["first ", 60.0])
    view.run(wait=False)
    wait_until(
        lambda: all(column.partial.has_begun for column in view._session.comparisons[0].columns)
    )
    find_by_label(view, "Stop").click()
    view._wait()
    assert list(view.results["text"]) == ["first ", "first "]
    wait_until(lambda: all("interrupted" in html for html in answers_html(view)))


def test_a_failed_column_shows_its_error_and_can_be_retried(make_view):
    """A failed column shows its error and can be retried without changing other columns."""
    failing_script = [ProviderError("it broke.", hint="`%gatewayx status`")]
    view = make_view("x", ("mock", "scripted"), failing_script, ["better"])
    view.run()
    assert "it broke." in answers_html(view)[1]
    assert "<code>%gatewayx status</code>" in answers_html(view)[1]
    find_by_label(view, "Retry")  # the first column's hidden button
    view.retry(0, 1)
    view._wait()
    assert list(view.results["text"]) == ["[mock] x", "better"]


def test_invalid_settings_are_reported_in_one_line(project, monkeypatch):
    """Retry and the picker report invalid settings in one line, and work once they are fixed."""
    monkeypatch.setattr("gatewayx_nb.engine_pool.catalog.REFRESH_INTERVAL", 0.0)  # skip the wait
    project.settings("")
    with EnginePool(home=project.root, env={}, engines=[ScriptedEngine(["a"])]) as pool:
        view = widgets.compare_view("x", ["scripted", "cohere"], pool=pool)
        view.run()
        view.picker.unfold()
        project.settings("[limits")
        view.picker.follow()
        assert "cannot be read" in view.picker._note.value
        view.retry(0, 1)
        assert "cannot be read" in view._status.value
        project.settings("")
        view.picker.follow()
        assert "cannot be read" not in view.picker._note.value
        view.close()


def test_a_note_is_kept_when_its_vote_changes(make_view):
    """A note is kept when the vote changes or an answer is retried; a new run has no note."""
    view = make_view("x", ("mock", "scripted"), [ProviderError("it broke.")], ["better"])
    view.run()
    note = find_by_label(view, "Note")
    assert note.disabled
    view.vote(0, "better", 0)
    note.value = "shorter"
    view.vote(0, "tie")
    view.retry(0, 1)
    view._wait()
    assert (note.value, list(view.results["note"])) == ("shorter", ["shorter"] * 2)
    view.run()
    assert note.value == ""
    assert view.results["note"].isna().tolist() == [False] * 2 + [True] * 2


def test_an_unavailable_engine_is_a_column_with_its_error(make_view):
    """An engine that has no key becomes a column with its error."""
    view = make_view("x", ("mock", "cohere"))
    view.run()
    assert "engine &#x27;cohere&#x27; needs a key" in answers_html(view)[1]


def test_a_misspelt_name_is_an_error_and_no_model_is_called(make_view):
    """A misspelt name is an error of `compare_view`; selected later, it is shown by Run."""
    with pytest.raises(EngineNotFoundError, match="no engine 'nowhere'"):
        make_view("x", ("mock", "nowhere"))

    view = make_view("x", ("mock",))
    view.picker.value = ("mock", "nowhere")
    find_by_label(view, "Run").click()
    assert "no engine &#x27;nowhere&#x27;" in view._status.value
    assert view._session.history.rows() == []


def test_an_empty_reply_is_reported(make_view):
    """An empty answer is labelled as empty, and is not an error."""
    view = make_view("x", ("scripted", "mock"), [""])
    view.run()
    assert "The reply is empty · " in answers_html(view)[0]


def test_typed_values_are_sent(make_view):
    """System prompt, parameters and samples are sent; unsupported parameters have no field."""
    view = make_view("x", ("scripted",), ["a"], system="Be brief.", max_tokens=9)
    find_by_label(view, "Temperature").value = "0.5"
    find_by_label(view, "Samples").value = 2
    view.run()
    engine = view._get_pool()._registry._instances["scripted"]
    assert len(engine.requests) == 2
    request = engine.requests[0]
    assert (request.system, request.temperature, request.max_tokens) == ("Be brief.", 0.5, 9)
    assert "2 (2 to 2)" not in view._results._tables.value
    assert "different" in view._results._tables.value  # the dispersion table


def test_a_value_that_does_not_fit_a_field_is_passed_unchanged(make_view):
    """Options that a field cannot show, such as several stop strings, are sent unchanged.

    Typed text replaces them.
    """
    view = make_view("x", ("scripted",), ["a"], stop=["END", "\n\n"])
    engine = view._get_pool()._registry._instances["scripted"]
    view.run()
    find_by_label(view, "Stop text").value = "END"
    view.run()
    assert [request.stop for request in engine.requests] == [("END", "\n\n"), ("END",)]
    newline_view = make_view("x", ("scripted",), ["a"], stop="\n")
    newline_view.run()
    assert newline_view._get_pool()._registry._instances["scripted"].requests[0].stop == ("\n",)


def test_options_that_are_iterators_apply_to_every_row_and_run(make_view, monkeypatch):
    """An option that is an iterator is read once; an option that is ``None`` is omitted."""
    image = Image("image/png", PNG)
    options = {"stop": iter(["END", "STOP"]), "images": iter([image]), "params": None}
    view = make_view("{{input}}", ("scripted",), ["a"], **options)
    engine = view._get_pool()._registry._instances["scripted"]
    monkeypatch.setattr(engine, "features", frozenset({"images"}))
    find_by_label(view, "Inputs").value = "one\ntwo"
    view.run()
    view.run()
    requests = engine.requests
    assert [request.stop for request in requests] == [("END", "STOP")] * 4
    assert [request.images for request in requests] == [(image,)] * 4


@pytest.mark.parametrize("images", [None, "plot.png"], ids=["none", "single path"])
def test_images_may_be_a_single_source_or_none(make_view, images, tmp_path, monkeypatch):
    """The option `images` may be a single source or ``None``, as in a call."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plot.png").write_bytes(PNG)
    view = make_view("x", ("scripted",), ["a"], images=images)
    engine = view._get_pool()._registry._instances["scripted"]
    monkeypatch.setattr(engine, "features", frozenset({"images"}))
    view.run()
    (request,) = engine.requests
    assert len(request.images) == (images is not None)
    assert ("images=['plot.png']" in view.code) == (images is not None)


def test_only_fields_supported_by_all_models_are_shown(make_view):
    """Only fields that all selected models support are shown."""
    view = make_view("x", ("scripted",))
    engine = type(view._get_pool()._registry._instances["scripted"])
    engine.unsupported_options = frozenset({"seed"})
    try:
        view.picker.value = ("mock",)
        assert (
            find_by_label(view, "Seed").layout.display is None
            or find_by_label(view, "Seed").layout.display == ""
        )
        view.picker.value = ("mock", "scripted")
        assert find_by_label(view, "Seed").layout.display == "none"
        assert find_by_label(view, "Stop text").layout.display != "none"
    finally:
        del engine.unsupported_options


def test_images_can_be_added_if_any_model_takes_them(make_view, monkeypatch):
    """With an image, the column of a model that takes none says so; the others answer."""
    view = make_view("x", ("scripted", "mock"), ["a"])
    assert find_by_label(view, "Images").layout.display == "none"
    (engine,) = view._get_pool()._registry._instances.values()
    monkeypatch.setattr(engine, "features", frozenset({"images"}))
    view.picker.value = ("mock", "scripted")
    assert find_by_label(view, "Images").layout.display != "none"

    upload(view, {"cat.png": PNG})
    view.run()

    refused, answered = answers_html(view)
    assert "engine &#x27;mock&#x27; does not support images" in refused
    assert "a" in answered
    assert len(engine.requests[0].messages[0].images) == 1


def test_an_uploaded_image_is_removed_from_the_widget_state(make_view):
    """An uploaded image is kept out of the widget state and can be removed.

    A file that is not an image is reported.
    """
    view = make_view()
    image_bytes = PNG + b"\0" * 2000
    upload(view, {"cat.png": image_bytes, "a.txt": b"hi"})
    assert not view._fields._upload.value
    assert "cat.png (2 kB)" in view._fields._image_list.value
    assert "a.txt: " in view._fields._image_list.value
    assert list(view._fields.request(("mock",)).images) == ["cat.png"]
    find_by_label(view, "Remove images").click()
    assert view._fields.request(("mock",)).images == {}


def test_all_images_are_sent_and_listed(make_view, monkeypatch):
    """Images are sent in order.

    Those in the prompt (replaced by `[image 1]`), those in the options, then uploads.
    """
    view = make_view("Is {{fig}} a cat?", ("scripted",), ["a"], images=[PNG + b"option"])
    engine = view._get_pool()._registry._instances["scripted"]
    monkeypatch.setattr(engine, "features", frozenset({"images"}), raising=False)
    view._session._get_namespace = lambda: {"fig": Image("image/png", PNG)}
    upload(view, {"cat.png": PNG + b"uploaded"})
    view.run()
    images = engine.requests[0].messages[0].images
    assert [image.data for image in images] == [PNG, PNG + b"option", PNG + b"uploaded"]
    assert list(view.results["images"]) == ["fig, bytes, cat.png"]
    assert "images=[fig, ..., 'cat.png']" in view.code


def test_an_earlier_prompt_can_be_selected(make_view):
    """An earlier prompt can be restored from a list, which has one line per prompt, latest first.

    The widget state has only these lines.
    """
    view = make_view("first " + "word " * 100)
    view.run()
    find_by_label(view, "Prompt").value = "second"
    view.run()
    earlier_prompts = find_by_label(view, "Earlier")
    assert earlier_prompts.options[1][0] == "second"
    assert len(earlier_prompts.options[2][0]) <= 70
    earlier_prompts.value = 1
    assert find_by_label(view, "Prompt").value.startswith("first word")


def test_keyboard_shortcuts_run_and_stop(make_view):
    """Ctrl-Enter runs and Esc stops; other messages from the page are ignored."""
    view = make_view("x", ("scripted",), ["first", 60.0])
    view._keyboard._on_message(None, {"press": "run"}, None)
    assert view._keyboard.running
    view._keyboard._on_message(None, {"press": "unknown"}, None)
    view._keyboard._on_message(None, "not a dict", None)
    view._keyboard._on_message(None, {"press": "stop"}, None)
    view._wait()
    assert not view._keyboard.running


def test_an_impossible_action_is_reported_in_one_line(make_view):
    """Pressing Run without a prompt, or Save without results, shows a one-line error."""
    view = make_view("  ")
    find_by_label(view, "Run").click()
    assert "The prompt is empty" in view._status.value
    find_by_label(view, "Save").click()
    assert "no results yet" in view._status.value
    with pytest.raises(UsageError, match="The prompt is empty"):
        view.run()


def test_results_are_saved_and_the_code_is_shown(make_view, tmp_path, monkeypatch):
    """Results are saved under an unused name beside the notebook, and the cell's code is shown."""
    monkeypatch.chdir(tmp_path)
    view = make_view("<b>")
    view.run()
    find_by_label(view, "Results").value = ".jsonl"
    find_by_label(view, "Save").click()
    find_by_label(view, "Save").click()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "comparison-2.jsonl",
        "comparison.jsonl",
    ]
    assert (
        json.loads((tmp_path / "comparison.jsonl").read_text().splitlines()[0])["prompt"] == "<b>"
    )
    find_by_label(view, "As code").click()
    assert "&#x27;&lt;b&gt;&#x27;" in view._results._code.value


def test_the_saved_output_shows_the_last_answers(make_view):
    """The saved output has the prompt, answers, metrics, vote, and how to restore the controls."""
    view = make_view("Say this")
    view.run()
    view.vote(0, "better", 1)
    bundle = view._snapshot._bundle
    assert "Say this" in bundle["text/html"]
    assert bundle["text/html"].count("gatewayx-column") == 3
    assert ">better</span>" in bundle["text/html"]
    assert "mock:other\n----------\n[mock] Say this" in bundle["text/plain"]
    assert bundle["text/plain"].endswith("Run this cell again for the controls.")


def test_voting_or_changing_mode_does_not_rerender_saved_answers(make_view):
    """Voting or changing the mode does not render the saved answers again."""
    view = make_view("Say this")
    view.run()
    bundle, pages = view._snapshot._bundle, [page for _, page in view._snapshot._rendered_outcomes]
    view._mode.value = "raw"
    assert view._snapshot._bundle is bundle
    view.vote(0, "tie")
    assert view._snapshot._bundle is not bundle
    assert all(
        new_page is page
        for (_, new_page), page in zip(view._snapshot._rendered_outcomes, pages, strict=True)
    )


def test_hidden_names_are_not_saved_before_the_vote(make_view):
    """Before the vote, the saved output, which the notebook shows, has no hidden names."""
    view = make_view()
    view._fields.blind.value = True
    view.run()
    assert "mock" not in view._snapshot._bundle["text/plain"]
    view.vote(0, "tie")
    assert "mock:other" in view._snapshot._bundle["text/plain"]


def test_an_error_does_not_reveal_a_hidden_name(make_view):
    """An error that would name a hidden engine is shown only after the vote, in every mode."""
    view = make_view("x", ("cohere", "mock"))
    view._fields.blind.value = True
    view.run()
    for mode in ("rendered", "raw", "differences"):
        view._mode.value = mode
        assert "cohere" not in "".join(answers_html(view))
    view.vote(0, "tie")
    assert "engine &#x27;cohere&#x27; needs a key" in "".join(answers_html(view))


def test_a_hundred_runs_use_no_more_widgets_than_one(make_view):
    """A new run replaces the widgets of the previous run."""
    view = make_view()
    view.run()
    count = len(list(walk_widgets(view)))
    for _ in range(99):
        view.run()
    assert len(list(walk_widgets(view))) == count
    assert len(view.results) == 200


def registered_widgets():
    """Return the widgets registered by ipywidgets."""
    instances = getattr(ipywidgets.widgets.widget, "_instances", None)
    return set(ipywidgets.Widget.widgets if instances is None else instances)  # ipywidgets 7 and 8


def test_closing_a_view_closes_its_widgets(make_view):
    """Closing a view, even during a run, closes its widgets and keeps the answers."""
    widgets_before = registered_widgets()
    view = make_view("{{input}}", ("scripted", "mock"), ["first", 60.0])
    find_by_label(view, "Inputs").value = "a\nb"
    find_by_label(view, "Samples").value = 2
    view.run(wait=False)
    wait_until(lambda: view._answers.children)
    view.stop()
    view._wait()
    find_by_label(view, "Inputs").value = ""
    find_by_label(view, "Samples").value = 1
    find_by_label(view, "Prompt").value = "x"
    view.run(wait=False)
    view.close()
    view._wait()
    assert registered_widgets() - widgets_before == set()
    assert list(view.results["run"]) == [1] * 8 + [2] * 2


def test_buttons_have_tooltips(make_view):
    """Buttons have tooltips, which screen readers read; a missing one is displayed as `null`."""
    button_classes = (ipywidgets.Button, ipywidgets.ToggleButton, ipywidgets.FileUpload)
    buttons = [button for button in walk_widgets(make_view()) if isinstance(button, button_classes)]
    assert [
        button.description for button in buttons if getattr(button, "tooltip", "none") in (None, "")
    ] == []


def test_the_saved_html_truncates_a_huge_prompt(make_view):
    """With a huge prompt and answer, the saved HTML has only the beginning of the prompt."""
    view = make_view("word " * 200_000, ("scripted", "mock"), ["text " * 20_000])
    view.run()
    assert len(view._snapshot._bundle["text/html"]) > 1_000_000  # mock repeats all of it
    assert view._snapshot._bundle["text/html"].index("…") < 3_000


def test_two_views_on_one_pool_are_independent(make_view):
    """Two views on one pool have separate results."""
    view = make_view("first")
    other_view = widgets.compare_view("other", ["mock"], pool=view._get_pool())
    view.run()
    other_view.run()
    assert list(view.results["prompt"]) == ["first", "first"]
    assert list(other_view.results["prompt"]) == ["other"]
    other_view.close()


def test_an_empty_snapshot_has_plain_text():
    """The snapshot of a new view has a plain-text form, for front ends without HTML."""
    assert StaticSnapshot()._bundle["text/plain"] == "Run this cell again for the controls."


def test_an_answer_that_cannot_be_rendered_is_reported(make_view, monkeypatch):
    """An exception while rendering is reported in the view, which keeps its answers.

    The view can run again.
    """
    view = make_view()
    monkeypatch.setattr(view, "_mode", None)  # simulates an answer that cannot be rendered
    view.run()
    assert "AttributeError: " in view._status.value
    assert not find_by_label(view, "Run").disabled
    assert list(view.results["text"]) == ["[mock] x"] * 2


def test_ctrl_c_stops_a_run_while_waiting(make_view):
    """Ctrl-C stops a blocking run with a one-line KeyboardInterrupt and keeps partial answers."""
    view = make_view("x", ("scripted",), ["first ", 60.0])
    timer = threading.Timer(0.3, signal.raise_signal, [signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        view.run()
    wait_until(lambda: not find_by_label(view, "Run").disabled)
    assert list(view.results["interrupted"]) == [True]


def test_the_saved_widget_state_contains_no_key(project):
    """The saved widget state has no key, and only the last run's prompts and answers."""
    key = "gsk-0123456789abcdef0123456789"
    project.set_keys(f"GATEWAYX_GROQ_API_KEY={key}\n")
    with project.pool() as pool:
        view = widgets.compare_view("the first prompt", ["mock"], pool=pool)
        view.picker.unfold()
        view.run()
        find_by_label(view, "Prompt").value = "the second"
        view.run()
        state = json.dumps(ipywidgets.Widget.get_manager_state(drop_defaults=False))
        view.close()
    assert "[mock] the second" in state
    assert key not in state
    assert "[mock] the first" not in state


def test_a_column_is_updated_at_most_ten_times_a_second(make_view):
    """A column sends at most ten updates a second, however fast its chunks arrive."""
    view = make_view("x", ("scripted",), [*[step for _ in range(150) for step in ("w ", 0.004)]])
    started_at = time.monotonic()
    view.run(wait=False)
    column = view._answers.children[0].children[1].children[0]
    pages = []
    column.children[1].observe(lambda change: pages.append(change["new"]), "value")
    view._wait()
    assert 2 <= len(pages) <= 10 * (time.monotonic() - started_at) + 1  # plus the final update


def test_a_blocking_run_returns_after_its_results_are_shown(make_view):
    """`run` waits for the thread that shows the results, even if all calls have ended already."""
    view = make_view("hi", ["mock"])
    are_shown = threading.Event()
    show_results, remember = view._results.show, view._fields.remember

    def show_slowly(*args, **options):
        time.sleep(0.2)
        show_results(*args, **options)
        are_shown.set()

    def remember_after_the_calls(prompt):
        remember(prompt)
        wait_until(lambda: view._thread is None)

    # Wrapped, because the order of two threads cannot be chosen from outside.
    view._results.show, view._fields.remember = show_slowly, remember_after_the_calls

    view.run()

    assert are_shown.is_set()
