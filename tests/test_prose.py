"""The check of the project's prose: what it finds, and what it leaves alone."""

import json
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def _prose():
    spec = spec_from_file_location("prose", ROOT / "docs" / "prose.py")
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


PROSE = _prose()


def findings(path):
    """Return the retired phrases of a file, without the places."""
    return [message for prose in PROSE.prose_of(path) for message in PROSE.findings(prose)]


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("Mend the file.", "Mend"),
        ("It begins\nanew.", "anew"),
        ("a file of the user's.", "of the user's"),
        ("a table that tells\nof it", "tells of"),
        ("`None` where it is left out", "where it is left out"),
        ("This is no text.", "is no text"),
        ("the the", "the the"),
        ("* [a file](x.md) of yours", "of yours"),
    ],
)
def test_a_retired_phrase_is_found(tmp_path, text, phrase):
    """A phrase may begin a sentence, and continue on the next line."""
    path = tmp_path / "page.md"
    path.write_text(f"# Title\n\n{text}\n", encoding="utf-8")

    (message,) = findings(path)
    assert message.startswith(f"{path}:")
    assert f": {phrase!r}: write " in message


@pytest.mark.parametrize(
    "text",
    [
        "There is no file.",
        "It is no longer used.",
        "Amend it; recommend it; mending_machine.",
        "`mend` and ``anew``",
        "```python\nmend = anew\n```",
        "[a link](https://mend.example/anew)",
        "## Python\n\nPython 3.11",
        "the lower of the project's and the user's settings",
        "[--url URL] that that_one",
    ],
)
def test_other_text_is_left_alone(tmp_path, text):
    """Code, addresses, other words and the ends of paragraphs are not findings."""
    path = tmp_path / "page.md"
    path.write_text(text, encoding="utf-8")

    assert findings(path) == []


def test_docstrings_and_comments_are_checked(tmp_path):
    """A docstring does not begin with "Give" or "Tell whether"; other strings are not checked."""
    path = tmp_path / "module.py"
    path.write_text(
        '"""Give a value.\n\nIt is mended.\n"""\n\nx = "mend"  # anew\n"""Tell whether it is."""\n',
        encoding="utf-8",
    )

    places = [message.removeprefix(str(path)).split(": ")[:2] for message in findings(path)]
    assert sorted(places) == [
        [":1", "'Give' begins a docstring"],
        [":3", "'mended'"],
        [":6", "'anew'"],
        [":7", "'Tell whether' begins a docstring"],
    ]


def test_the_markdown_of_a_notebook_is_checked(tmp_path):
    """A finding names the cell."""
    cells = [
        {"cell_type": "code", "source": ["# anew"]},
        {"cell_type": "markdown", "source": ["One.\n", "Two, anew."]},
    ]
    path = tmp_path / "a.ipynb"
    path.write_text(json.dumps({"cells": cells}), encoding="utf-8")

    assert findings(path) == [f"{path}: cell 1:2: 'anew': write again"]


def test_each_kind_of_file_is_checked():
    """All pages, notebooks and sources are read, but no copies that `make docs` writes."""
    names = {path.relative_to(ROOT).as_posix() for path in PROSE.all_files()}

    assert names >= {"README.md", "docs/guides/cells.md", "notebooks/01_quickstart.ipynb"}
    assert names >= {"gatewayx_nb/errors.py", "tests/test_prose.py", "tests/corpora/README.md"}
    assert not names & {"docs/changelog.md", "docs/security.md", "docs/contributing.md"}
