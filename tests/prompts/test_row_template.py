"""Templates that are filled for each row, with constants that are filled once."""

from __future__ import annotations

import matplotlib.figure
import pandas as pd
import pytest

from gatewayx_nb.errors import UsageError
from gatewayx_nb.prompts import RowTemplate, placeholder_roots
from gatewayx_nb.secrets import Secret


def test_a_constant_is_filled_once_and_never_scanned():
    template = RowTemplate("{{topic}}: {{text}}", constants={"topic": "{{text}}"})

    assert template.fill({"text": "a"}).text == "{{text}}: a"
    assert template.fill({"text": "{{topic}}"}).text == "{{text}}: {{topic}}"
    assert template.columns == ["text"]
    assert template.has_placeholder


def test_constants_are_written_as_in_a_cell():
    table = pd.DataFrame({"n": range(30)})
    constants = {"x": 1.23456, "city": {"name": "Rome"}, "table": table, "none": None}
    template = RowTemplate(
        '{{x:.2f}} {{city["name"]}} {{none}} {{text}} {{table}}', constants=constants, table_rows=3
    )

    text = template.fill({"text": "a"}).text

    assert text.startswith("1.23 Rome None a ")
    assert "| 2 |" in text
    assert "| 3 |" not in text


def test_a_template_with_only_constants_is_the_same_for_all_rows():
    template = RowTemplate("{{topic}}", constants={"topic": "tone"})

    assert not template.has_placeholder
    assert template.columns == []
    assert template.fill({}).text == "tone"


def test_images_in_constants_and_rows_are_numbered_in_order():
    figure = matplotlib.figure.Figure()
    template = RowTemplate("{{plot}} {{n}} {{fig}}", constants={"fig": figure})

    filled = template.fill({"plot": figure, "n": 1})

    assert filled.text == "[image 1] 1 [image 2]"
    assert filled.image_names == ("plot", "fig")
    assert len(filled.images) == 2


def test_a_key_is_never_a_constant():
    with pytest.raises(UsageError, match="never sent"):
        RowTemplate("{{key}}", constants={"key": Secret("xai-0123456789")})


@pytest.mark.parametrize(
    ("template", "constants"),
    [
        ("{{a}}{{text}}", {"a": 2}),
        ("{{a}}{{text}}", {"a": "1 "}),
        ("{{a:.1f}}{{text}}", {"a": 1}),
        ("{{a}}{{text}}", {"a": matplotlib.figure.Figure(figsize=(1, 1))}),
    ],
)
def test_the_digest_of_constants_follows_what_is_sent(template, constants):
    digest = RowTemplate("{{a}}{{text}}", constants={"a": 1}).constants_digest

    other = RowTemplate(template, constants=constants).constants_digest

    assert digest != other != ""
    assert RowTemplate(template, constants=constants).constants_digest == other


def test_the_digest_without_constants_is_empty():
    assert RowTemplate("{{text}}", constants={"other": 1}).constants_digest == ""


def test_a_blank_template_keeps_its_constants():
    template = RowTemplate("{{a}}{{text}}", constants={"a": None}).as_blank()

    assert template.fill({"text": None}).text == "None"


def test_the_roots_of_placeholders():
    assert placeholder_roots('{{a.b}} {{row["x y"]}} {{a}} {"json": {{1}}}') == ["a", "row"]
