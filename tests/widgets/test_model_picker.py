"""The model picker, tested without a page."""

import pytest
import traitlets

from gatewayx_nb import widgets
from gatewayx_nb.errors import UsageError


@pytest.fixture
def picker(project):
    """Yield a picker in a project with two engine files."""
    for name in ("one", "two"):
        project.engine(name, "x")
    with project.pool() as pool:
        made = widgets.picker(["mock"], pool=pool)
        yield made
        made.close()


def shown(picker):
    """Return the picker's lines with their checked and disabled states."""
    boxes = [row.children[0] for row in picker._list.children]
    return {box.description: (box.value, box.disabled) for box in boxes}


def tick(picker, reference, *, value=True):
    """Check or uncheck a line as the page does."""
    for row in picker._list.children:
        if row.children[0].description == reference:
            row.children[0].value = value


def test_checking_a_box_and_setting_the_value_are_equivalent(picker):
    """Checking a line is equivalent to setting the value, which keeps the order of checking."""
    tick(picker, "two")
    tick(picker, "one")
    tick(picker, "mock", value=False)
    assert picker.value == ("two", "one")
    picker.value = ("one", "one", "mock:large")
    assert picker.value == ("one", "mock:large")
    assert {name for name, (ticked, _) in shown(picker).items() if ticked} == {"one", "mock:large"}
    assert repr(picker) == "ModelPicker(one, mock:large)"


def test_a_file_name_is_not_interpreted_as_markup(picker, project):
    """A file name with markup is escaped: ipywidgets 7 would render it as HTML."""
    (project.engines / "<img src=x onerror=1>_engine.py").write_text("")
    picker.follow()
    label = next(one for one in shown(picker) if "img src=x onerror=1" in one)
    assert not set(label) & set("<>&")


def test_one_reference_needs_no_list(picker):
    """A str is a single reference, not a sequence of letters."""
    one = widgets.picker("mock:large", pool=picker._get_pool())
    assert one.value == ("mock:large",)
    one.close()


def test_other_code_can_observe_the_value(picker):
    """The value is a trait that can be observed."""
    values = []
    picker.observe(lambda change: values.append(change["new"]), "value")
    tick(picker, "one")
    assert values == [("mock", "one")]
    other = type("Other", (traitlets.HasTraits,), {"chosen": traitlets.Tuple()})()
    traitlets.dlink((picker, "value"), (other, "chosen"))
    assert other.chosen == ("mock", "one")


def test_an_invalid_reference_is_refused(picker):
    """An invalid reference raises an error, and the value is unchanged."""
    with pytest.raises(UsageError, match="must be references, got 3"):
        picker.value = ("one", 3)
    assert picker.value == ("mock",)


def test_a_search_filters_the_list(picker):
    """A search filters the lines but keeps checked ones, and reuses their widgets."""
    rows = list(picker._list.children)
    picker._search.value = "two"
    assert list(shown(picker)) == ["mock", "two"]
    assert picker._list.children == tuple(rows[:2])
    picker._search.value = "nothing of that kind"
    assert list(shown(picker)) == ["mock"]


def test_an_engine_without_a_key_is_disabled_with_a_hint(picker):
    """An engine without a key cannot be checked, only unchecked, and shows the command to run."""
    picker._search.value = "grok"
    assert shown(picker)["grok"] == (False, True)
    assert "GATEWAYX_GROK_API_KEY" in picker._list.children[1].children[1].value
    picker.value = ("grok",)
    assert shown(picker)["grok"] == (True, False)


def test_it_follows_keys_and_engine_files(picker, project):
    """The picker shows changes to keys and engine files when the polling thread calls it."""
    picker._search.value = "grok"
    project.set_keys("GATEWAYX_GROK_API_KEY=xai-0123456789abcdef\n")
    picker.follow()
    assert shown(picker)["grok"] == (False, False)
    (project.engines / "two_engine.py").unlink()
    picker.follow()
    picker._search.value = "two"
    assert "two" not in shown(picker)


def test_a_selected_model_can_become_the_default(picker):
    """A single checked model can become the default; two cannot."""
    picker.value = ("one",)
    picker._use.click()
    assert picker._get_pool().default_model() == "one"
    assert "one is the default model" in picker._note.value
    picker.value = ("one", "two")
    assert picker._use.disabled


def test_without_a_key_the_picker_says_how_to_set_one(picker):
    """Without a key, the picker says how to set one and which engines need none."""
    assert picker._note.value == ""
    for name in ("one", "two"):
        (picker._get_pool().config.project.root / "engines" / f"{name}_engine.py").unlink()
    picker.follow()
    assert "No key is set. Set GATEWAYX_NAME_API_KEY" in picker._note.value
    assert "smollm2" in picker._note.value
    assert "<code>mock</code>" in picker._note.value


def test_search_finds_items_beyond_the_first_forty(picker, project):
    """Only forty lines are shown, with the total number; a search finds the others."""
    for number in range(60):
        project.engine(f"many{number}", "x")
    picker.follow()
    picker._search.value = "many"
    assert len(picker._list.children) == 40
    assert "40 of 61 are shown" in picker._note.value


def test_a_folded_picker_creates_no_widgets(project):
    """A collapsed picker creates no lines until it is opened, which halves the view's widgets."""
    project.engine("one", "x")
    with project.pool() as pool:
        view = widgets.compare_view("x", ["mock"], pool=pool)
        assert view.picker._list.children == ()
        view.picker.value = ("mock", "one")
        next(
            part for part in view.children if getattr(part, "description", "") == "Models"
        ).value = True
        assert {name for name, (ticked, _) in shown(view.picker).items() if ticked} == {
            "mock",
            "one",
        }
        view.close()
