"""Tab completion, as requested by a terminal and by a notebook front end."""

import dataclasses
from pathlib import Path
from typing import TypedDict

import matplotlib.figure
import matplotlib.pyplot as plt
import pandas as pd
import PIL.Image
import pydantic
import pytest
from IPython.core import completer
from IPython.core.completer import provisionalcompleter

import gatewayx_nb

pytestmark = pytest.mark.skipif(
    not hasattr(completer, "context_matcher"), reason="IPython before 8.6 has no other completers"
)


def _complete(shell, text):
    """Return the completions that Tab offers at the end of a text."""
    with provisionalcompleter():
        completions = shell.Completer.completions(text, len(text))
        return [text[: completion.start] + completion.text for completion in completions]


def _define(shell):
    """Define notebook values that can be schemas or images, and some that cannot."""
    figure = matplotlib.figure.Figure()
    shell.user_ns.update(
        City=dataclasses.make_dataclass("City", ["name"]),
        Place=TypedDict("Place", {"name": str}),
        User=pydantic.create_model("User", name=str),
        River=type("River", (), {}),
        json_schema={"type": "object"},
        frame=pd.DataFrame({"subject": ["a"], "two words": ["b"]}),
        titles=["a", "b"],
        fig=figure,
        axes=figure.add_subplot(),
        photo=PIL.Image.new("L", (1, 1)),
        plt=plt,
        Figure=matplotlib.figure.Figure,
        number=1,
    )


@pytest.mark.parametrize(
    ("text", "completed"),
    [
        ("%gatewayx sec", "%gatewayx security"),
        ("%gx mo", "%gx mock"),
        ("reply = %gx mo", "reply = %gx models"),
        ("%gatewayx mock:", "%gatewayx mock:mock"),
        ("%gatewayx status mo", "%gatewayx status mock"),
        ("%gatewayx models --l", "%gatewayx models --live"),
        ("%gatewayx help hist", "%gatewayx help history"),
        ("%gatewayx key s", "%gatewayx key set"),
        ("%gatewayx chat ex", "%gatewayx chat export"),
        ("%gatewayx chat export st", "%gatewayx chat export story"),
        ("%gatewayx cassette --mode re", "%gatewayx cassette --mode replay"),
        ("%gatewayx key set gr", "%gatewayx key set grok"),
        ("%gatewayx key remove gr", "%gatewayx key remove grok"),
        ("%gatewayx key import dat", "%gatewayx key import data.env"),
        ("%gatewayx pull smo", "%gatewayx pull smollm2"),
        ("%gatewayx pull x --rem", "%gatewayx pull x --remove"),
        ("%gatewayx new x --pa", "%gatewayx new x --package"),
        ("%gatewayx help tr", "%gatewayx help trouble"),
        ("%gatewayx help opt", "%gatewayx help options"),
        ("%gatewayx cassette dat", "%gatewayx cassette data.env"),
        ("%gatewayx cassette sub/re", "%gatewayx cassette sub/recorded.jsonl"),
        ("%gatewayx pull x --from dat", "%gatewayx pull x --from data.env"),
        ("%%gatewayx mock --image dat", "%%gatewayx mock --image data.env"),
        ("%%gatewayx mock --image fi", "%%gatewayx mock --image fig"),
        ("%gatewayx mock --image ax", "%gatewayx mock --image axes"),
        ("%%gatewayx mock --image ph", "%%gatewayx mock --image photo"),
        ("%%gatewayx mock -p see", "%%gatewayx mock -p seed="),
        ("%%gatewayx mock --schema Ci", "%%gatewayx mock --schema City"),
        ("%%gatewayx mock --schema Pl", "%%gatewayx mock --schema Place"),
        ("%gatewayx mock --schema Us", "%gatewayx mock --schema User"),
        ("%%gatewayx mock --schema Ri", "%%gatewayx mock --schema River"),
        ("%%gatewayx mock --schema js", "%%gatewayx mock --schema json_schema"),
        ("%%gatewayx mock --map fr", "%%gatewayx mock --map frame"),
        ("%gatewayx mock --map ti", "%gatewayx mock --map titles"),
        ("%%gatewayx mock --map frame\nOf {{su", "%%gatewayx mock --map frame\nOf {{subject"),
        ("%%gatewayx mock --map=frame\nOf {{su", "%%gatewayx mock --map=frame\nOf {{subject"),
        ("%gatewayx mock --map titles {{in", "%gatewayx mock --map titles {{input"),
        ("%gatewayx cancel map-", "%gatewayx cancel map-numbers"),
        ("%gatewayx jobs export map-", "%gatewayx jobs export map-numbers"),
        ("%gatewayx jobs forget map-", "%gatewayx jobs forget map-numbers"),
        ("%gatewayx jobs map-", "%gatewayx jobs map-numbers"),
        ("%gatewayx jobs forg", "%gatewayx jobs forget"),
        ("%%gatewayx gro", "%%gatewayx grok"),
        ("%gatewayx gro", "%gatewayx grok"),
        ("%gatewayx ask gro", "%gatewayx ask grok"),
        ("%%gatewayx mock --as js", "%%gatewayx mock --as json"),
        ("%gatewayx mock --temp", "%gatewayx mock --temperature"),
        ("%gatewayx mock -t 0 --fallback mo", "%gatewayx mock -t 0 --fallback mock"),
        ("%gatewayx ask mo", "%gatewayx ask mock"),
        ("%gatewayx ask mock --temp", "%gatewayx ask mock --temperature"),
        ("%gatewayx mock --as js", "%gatewayx mock --as json"),
        ("%gatewayx mock Of {{coun", "%gatewayx mock Of {{country"),
        ("%gatewayx mock -n {{coun", "%gatewayx mock -n {{country"),
        ("%gatewayx nest o", "%gatewayx nest on"),
        ("%%gatewayx mo", "%%gatewayx mock"),
        ("%%gatewayx mock --temp", "%%gatewayx mock --temperature"),
        ("%%gatewayx mock --fallback mo", "%%gatewayx mock --fallback mock"),
        ("%%gatewayx mock -c st", "%%gatewayx mock -c story"),
        ("%%gatewayx mock\nOf {{coun", "%%gatewayx mock\nOf {{country"),
        ("%%gatewayx mock\nOf {{ coun", "%%gatewayx mock\nOf {{ country"),
        ("x = 1\n%gatewayx sec", "x = 1\n%gatewayx security"),
    ],
)
def test_tab_completes_lines_and_cells(shell, text, completed):
    """Tab completes commands, engines, models, options, conversations and notebook names."""
    _define(shell)
    shell.user_ns["country"] = "France"
    shell.ask("%%gatewayx mock -q --chat story\nhi")
    gatewayx_nb.map(["a"], "{{input}}", "mock", name="map-numbers", progress=False)
    Path("data.env").touch()
    Path("sub").mkdir()
    Path("sub/recorded.jsonl").touch()

    completions = _complete(shell, text)
    assert completed in completions
    assert all(completion.startswith(text) for completion in completions)


@pytest.mark.parametrize(
    "text", ["%gatewayx mock coun", "%%gatewayx mock -o coun", "%gx mock -t 0 a --temp"]
)
def test_a_prompt_is_not_completed(shell, text):
    """A prompt has no completions, not even Python names, because it is not code."""
    shell.user_ns["country"] = "France"

    assert _complete(shell, text) == []


@pytest.mark.parametrize("text", ["coun", "print(coun", "%%timeit\ncoun"])
def test_other_text_is_completed_by_python(shell, text):
    """Text outside this package's magics is completed by IPython as Python code."""
    shell.user_ns["country"] = "France"

    assert text + "try" in _complete(shell, text)


@pytest.mark.parametrize(
    ("text", "offered"),
    [
        ("%%gx mock --schema ", ["City", "Place", "User", "River", "json_schema", "Figure"]),
        ("%gx mock --schema ", ["City", "Place", "User", "River", "json_schema", "Figure"]),
        ("%%gx mock --map ", ["frame", "titles"]),
        ("%gx mock --map ", ["frame", "titles"]),
        ("%%gx mock --image ", ["fig", "axes", "photo", "config/", "engines/"]),
        ("%gx mock --image ", ["fig", "axes", "photo", "config/", "engines/"]),
        ("%%gx mock --chat ", []),
        ("%gx mock --chat ", []),
        ("%gx mock --out ", []),
        ("%gx mock hi i", []),
    ],
)
def test_only_matching_values_are_offered(shell, text, offered):
    """Only matching values are offered; if there are none, IPython offers no completions either."""
    _define(shell)

    assert _complete(shell, text) == [text.rpartition(" ")[0] + " " + word for word in offered]


@pytest.mark.parametrize("magic", ["%%gx ", "%gx ", "%gx ask "])
def test_engines_without_a_key_follow_the_ready_ones(shell, magic):
    """Engines that lack only a key are offered after those that are ready."""
    offered = _complete(shell, magic)

    assert offered.index(f"{magic}mock") < offered.index(f"{magic}anthropic")
    assert offered.index(f"{magic}mock:mock") < offered.index(f"{magic}grok")
    assert f"{magic}ollama" not in offered


def test_unloading_removes_the_completer(shell):
    """Unloading the extension removes its completer."""
    shell.run_line_magic("unload_ext", "gatewayx_nb")
    try:
        assert "%gatewayx security" not in _complete(shell, "%gatewayx sec")
    finally:
        shell.run_line_magic("load_ext", "gatewayx_nb")


def test_a_shell_completes_the_options(shell):
    """Tab after `gx.ask("x", temp` offers `temperature=`."""
    shell.ask("import gatewayx_nb as gx")

    line = 'gx.ask("x", temp'
    with provisionalcompleter():
        completions = [each.text for each in shell.Completer.completions(line, len(line))]

    assert "temperature=" in completions


@pytest.mark.parametrize("text", ["%%g", "%g", "%%gatewayx", "%gatewayx", "gatewayx"])
def test_tab_offers_no_internal_magic(shell, text):
    """Tab offers only the two names of the magics."""
    completions = {completion.lstrip("%") for completion in _complete(shell, text)}

    assert {name for name in completions if name.startswith(("gatewayx", "gx"))} <= {
        "gatewayx",
        "gx",
    }
