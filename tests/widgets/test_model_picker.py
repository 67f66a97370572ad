"""The model picker, tested without a browser."""

import pytest
import traitlets

import gatewayx_nb as gx
from gatewayx_nb import widgets
from gatewayx_nb.errors import UsageError


@pytest.fixture
def picker(project):
    """Yield a picker in a project with two engine files."""
    for name in ("one", "two"):
        project.engine(name, "x")
    with project.pool() as pool:
        picker = widgets.picker(["mock"], pool=pool)
        yield picker
        picker.close()


def state_by_label(picker):
    """Return the checked and disabled state of each line, by its label."""
    boxes = [row.children[0] for row in picker._list.children]
    return {box.description: (box.value, box.disabled) for box in boxes}


def set_checked(picker, reference, *, value=True):
    """Check or uncheck a line, as a click does."""
    for row in picker._list.children:
        if row.children[0].description == reference:
            row.children[0].value = value


def test_checking_a_box_and_setting_the_value_are_equivalent(picker):
    """Checking lines and setting `value` have the same effect; the order is kept."""
    set_checked(picker, "two")
    set_checked(picker, "one")
    set_checked(picker, "mock", value=False)
    assert picker.value == ("two", "one")
    picker.value = ("one", "one", "mock:large")
    assert picker.value == ("one", "mock:large")
    assert {name for name, (is_checked, _) in state_by_label(picker).items() if is_checked} == {
        "one",
        "mock:large",
    }
    assert repr(picker) == "ModelPicker(one, mock:large)"


def test_a_file_name_is_not_interpreted_as_markup(picker, project):
    """A file name with markup is escaped: ipywidgets 7 would render it as HTML."""
    (project.engines / "<img src=x onerror=1>_engine.py").write_text("")
    picker.follow()
    label = next(label for label in state_by_label(picker) if "img src=x onerror=1" in label)
    assert not set(label) & set("<>&")


def test_a_single_reference_needs_no_list(picker):
    """A str as the initial value is a single reference."""
    single_picker = widgets.picker("mock:large", pool=picker._get_pool())
    assert single_picker.value == ("mock:large",)
    single_picker.close()


def test_other_code_can_observe_the_value(picker):
    """`value` is a trait, which can be observed and linked."""
    values = []
    picker.observe(lambda change: values.append(change["new"]), "value")
    set_checked(picker, "one")
    assert values == [("mock", "one")]
    observer = type("Other", (traitlets.HasTraits,), {"selection": traitlets.Tuple()})()
    traitlets.dlink((picker, "value"), (observer, "selection"))
    assert observer.selection == ("mock", "one")


def test_an_invalid_reference_is_refused(picker):
    """An invalid reference raises an error, and the value is unchanged."""
    with pytest.raises(UsageError, match="must contain only references, got 3"):
        picker.value = ("one", 3)
    assert picker.value == ("mock",)


@pytest.mark.parametrize("create", [widgets.picker, widgets.compare_view])
def test_anything_but_a_pool_is_refused(create):
    """A wrong ``pool`` raises an error when the widget is created, not when it is used."""
    with pytest.raises(UsageError, match="pool must be an EnginePool or None, got 'grok'"):
        create(pool="grok")


def test_a_search_filters_the_list(picker):
    """A search shows the matching and the checked lines, and reuses their widgets."""
    rows = list(picker._list.children)
    picker._search.value = "two"
    assert list(state_by_label(picker)) == ["mock", "two"]
    assert picker._list.children == tuple(rows[:2])
    picker._search.value = "nothing of that kind"
    assert list(state_by_label(picker)) == ["mock"]


def test_an_engine_without_a_key_is_disabled_with_a_hint(picker):
    """The line of an engine without a key can only be unchecked, and shows how to set the key."""
    picker._search.value = "grok"
    assert state_by_label(picker)["grok"] == (False, True)
    assert "GATEWAYX_GROK_API_KEY" in picker._list.children[1].children[1].value
    picker.value = ("grok",)
    assert state_by_label(picker)["grok"] == (True, False)


def test_the_picker_notices_changed_keys_and_engine_files(picker, project):
    """A poll updates the lines after changes to keys and engine files."""
    picker._search.value = "grok"
    project.set_keys("GATEWAYX_GROK_API_KEY=xai-0123456789abcdef\n")
    picker.follow()
    assert state_by_label(picker)["grok"] == (False, False)
    (project.engines / "two_engine.py").unlink()
    picker.follow()
    picker._search.value = "two"
    assert "two" not in state_by_label(picker)


def test_a_checked_model_can_become_the_default(picker):
    """The button that sets the default model is enabled if one model is checked."""
    picker.value = ("one",)
    picker._use_button.click()
    assert picker._get_pool().default_model() == "one"
    assert "one is the default model" in picker._note.value
    picker.value = ("one", "two")
    assert picker._use_button.disabled


def test_without_a_key_the_picker_explains_how_to_set_one(picker):
    """If no engine has a key, the picker shows how to set one and which engines need none."""
    assert picker._note.value == ""
    for name in ("one", "two"):
        (picker._get_pool().config.project.root / "engines" / f"{name}_engine.py").unlink()
    picker.follow()
    assert "No key is set. Set GATEWAYX_NAME_API_KEY" in picker._note.value
    assert "smollm2" in picker._note.value
    assert "<code>mock</code>" in picker._note.value


def test_search_finds_items_beyond_the_first_forty(picker, project):
    """At most forty lines are shown, with the total number; a search finds all lines."""
    for number in range(60):
        project.engine(f"many{number}", "x")
    picker.follow()
    picker._search.value = "many"
    assert len(picker._list.children) == 40
    assert "40 of 61 are shown" in picker._note.value


def test_a_collapsed_picker_creates_no_widgets(project):
    """A collapsed picker creates its lines when it is first opened."""
    project.engine("one", "x")
    with project.pool() as pool:
        view = widgets.compare_view("x", ["mock"], pool=pool)
        assert view.picker._list.children == ()
        view.picker.value = ("mock", "one")
        next(
            widget for widget in view.children if getattr(widget, "description", "") == "Models"
        ).value = True
        assert {
            name for name, (is_checked, _) in state_by_label(view.picker).items() if is_checked
        } == {
            "mock",
            "one",
        }
        view.close()


def test_marimo_shows_what_works_there(picker):
    """In marimo, which does not support ipywidgets, a line says what works."""
    for widget in (picker, gx.compare_view("Hi", ["mock"])):
        kind, page = widget._mime_()
        assert kind == "text/html"
        assert "to compare replies" in page
        widget.close()
