"""Converts text to safe HTML: Markdown, math, code, replies and parts of a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayx_nb._lazy import attach_modules

if TYPE_CHECKING:
    from gatewayx_nb.html.components import (
        MUTED,
        column_html,
        columns_html,
        details,
        escape,
        heading_html,
        inline_code,
        interval_bar,
        preformatted_html,
        scroll_horizontally,
        table_html,
        wrap_reply,
    )
    from gatewayx_nb.html.highlighting import code_block, highlight
    from gatewayx_nb.html.incremental import IncrementalRenderer
    from gatewayx_nb.html.markdown import shown_part, to_html
    from gatewayx_nb.html.markdown_safety import safe_markdown
    from gatewayx_nb.html.notes import (
        Picture,
        SourceNote,
        notes_html,
        notes_text,
        pictures_html,
        pictures_text,
    )
    from gatewayx_nb.html.progress_box import progress_html, summary_html
    from gatewayx_nb.html.reply import reply_html
    from gatewayx_nb.html.sandbox import sandbox_html
    from gatewayx_nb.html.step_lines import StepLine, StepState, steps_html, steps_text

__all__ = [
    "MUTED",
    "IncrementalRenderer",
    "Picture",
    "SourceNote",
    "StepLine",
    "StepState",
    "code_block",
    "column_html",
    "columns_html",
    "details",
    "escape",
    "heading_html",
    "highlight",
    "inline_code",
    "interval_bar",
    "notes_html",
    "notes_text",
    "pictures_html",
    "pictures_text",
    "preformatted_html",
    "progress_html",
    "reply_html",
    "safe_markdown",
    "sandbox_html",
    "scroll_horizontally",
    "shown_part",
    "steps_html",
    "steps_text",
    "summary_html",
    "table_html",
    "to_html",
    "wrap_reply",
]

# The modules are imported on first use, because only notebooks show HTML.
__getattr__ = attach_modules(
    __name__,
    {
        "components": [
            "MUTED",
            "column_html",
            "columns_html",
            "details",
            "escape",
            "heading_html",
            "inline_code",
            "interval_bar",
            "preformatted_html",
            "scroll_horizontally",
            "table_html",
            "wrap_reply",
        ],
        "highlighting": ["code_block", "highlight"],
        "incremental": ["IncrementalRenderer"],
        "markdown": ["shown_part", "to_html"],
        "notes": [
            "Picture",
            "SourceNote",
            "notes_html",
            "notes_text",
            "pictures_html",
            "pictures_text",
        ],
        "progress_box": ["progress_html", "summary_html"],
        "reply": ["reply_html"],
        "markdown_safety": ["safe_markdown"],
        "sandbox": ["sandbox_html"],
        "step_lines": ["StepLine", "StepState", "steps_html", "steps_text"],
    },
)
