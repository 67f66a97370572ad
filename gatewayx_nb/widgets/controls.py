"""Small controls shared by the parts of a view."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets

from gatewayx_nb.html import inline_code

if TYPE_CHECKING:
    from collections.abc import Callable


_MARIMO_NOTE = (
    "This widget works in Jupyter only. Here, replies and comparisons show:"
    " `gx.compare(prompt, models=[…])`; `gx.status()` lists the engines."
)
LABELS = {"description_width": "7em"}
"""The style of fields below each other, whose labels have the same width."""

ROW = {"flex_flow": "row wrap", "align_items": "center"}
"""The layout of controls on one line, as far as it is wide enough."""


def button(
    text: str, on_click: Callable[[], object], tip: str, style: str = ""
) -> ipywidgets.Button:
    """Return a button as wide as its text.

    Args:
        text: Its text.
        on_click: Called when it is pressed.
        tip: Its description, for the tooltip and screen readers.
        style: ``"primary"`` for the main action.
    """
    widget = ipywidgets.Button(
        description=text, tooltip=tip, button_style=style, layout={"width": "auto"}
    )
    widget.on_click(lambda _: on_click())
    return widget


def fold(
    label: str, body: ipywidgets.Widget, *, is_open: bool, on_open: Callable[[], object] = bool
) -> list[ipywidgets.Widget]:
    """Return a button that shows and hides content; unlike an Accordion, keys can reach it.

    Args:
        label: The text of the button.
        body: The content to show and hide.
        is_open: Whether it is shown initially.
        on_open: Called whenever it is shown.
    """
    toggle = ipywidgets.ToggleButton(
        value=is_open,
        description=label,
        tooltip=f"Show or hide: {label.lower()}",
        layout={"width": "auto", "align_self": "flex-start"},
    )

    toggle.add_class("gatewayx-fold")

    def update(change: Any) -> None:  # noqa: ANN401 - a traitlets bunch
        show_if(body, shown=change["new"])
        toggle.icon = "caret-down" if change["new"] else "caret-right"
        if change["new"]:
            on_open()

    toggle.observe(update, "value")
    # An observer is called only on changes.
    update({"new": is_open})
    return [toggle, body]


def marimo_note() -> tuple[str, str]:
    """Return the line that marimo shows in place of a widget, with its MIME type."""
    return "text/html", inline_code(_MARIMO_NOTE)


def show_if(widget: ipywidgets.Widget, *, shown: bool) -> None:
    """Show or hide a widget."""
    widget.layout.display = "" if shown else "none"


def set_html(widget: ipywidgets.HTML, page: str) -> None:
    """Set HTML unless it is already shown: each assignment sends a message to the page."""
    if widget.value != page:
        widget.value = page


def set_children(box: ipywidgets.Box, children: tuple[ipywidgets.Widget, ...]) -> None:
    """Set the widgets in a box unless they are already there, as in `set_html`."""
    if box.children != children:
        box.children = children


def handle_in_current_thread(*widgets: ipywidgets.Widget) -> None:
    """Have the kernel handle changes of widgets and their children where it handles this request.

    ipykernel 7.4 handles a widget's messages in the thread of the request for which the widget last
    sent one: at first that of its cell, the main thread. A field that never sent another would be
    updated after a later click on a button that has, or only when a running cell has ended.
    """
    for widget in widgets:
        handle_in_current_thread(*getattr(widget, "children", ()))
        if widget.has_trait("description"):
            widget.send_state("description")


def close_all(*widgets: ipywidgets.Widget) -> None:
    """Close widgets and their children: ipywidgets keeps each one until it is closed."""
    for widget in widgets:
        close_all(*getattr(widget, "children", ()))
        for name in ("layout", "style"):
            part = getattr(widget, name, None)
            if isinstance(part, ipywidgets.Widget):
                part.close()
        widget.close()
