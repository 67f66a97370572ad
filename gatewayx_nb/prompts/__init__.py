"""Fills the ``{{name}}`` placeholders of a prompt in one pass; all other text is literal.

A DataFrame becomes a Markdown table of its head, a function or class becomes its source, a figure
becomes an image, and any other value becomes text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayx_nb._lazy import attach_modules

if TYPE_CHECKING:
    from gatewayx_nb.prompts.literals import unfilled
    from gatewayx_nb.prompts.markdown_table import table_kind
    from gatewayx_nb.prompts.placeholders import (
        is_variable,
        mask,
        only_expression,
        own_names,
        refuse,
        resolve,
    )
    from gatewayx_nb.prompts.row_template import (
        ROW,
        RowTemplate,
        is_missing,
        no_column,
        placeholder_roots,
    )
    from gatewayx_nb.prompts.template import ROWS, FilledPrompt, compose, fill, to_text

__all__ = [
    "ROW",
    "ROWS",
    "FilledPrompt",
    "RowTemplate",
    "compose",
    "fill",
    "is_missing",
    "is_variable",
    "mask",
    "no_column",
    "only_expression",
    "own_names",
    "placeholder_roots",
    "refuse",
    "resolve",
    "table_kind",
    "to_text",
    "unfilled",
]

# The modules are imported on first use, because most calls fill in no values.
__getattr__ = attach_modules(
    __name__,
    {
        "literals": ["unfilled"],
        "markdown_table": ["table_kind"],
        "placeholders": [
            "is_variable",
            "mask",
            "only_expression",
            "own_names",
            "refuse",
            "resolve",
        ],
        "row_template": ["ROW", "RowTemplate", "is_missing", "no_column", "placeholder_roots"],
        "template": ["ROWS", "FilledPrompt", "compose", "fill", "to_text"],
    },
)
