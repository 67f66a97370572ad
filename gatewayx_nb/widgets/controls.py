"""Creates and updates the controls that all views use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets

from gatewayx_nb.html import inline_code

if TYPE_CHECKING:
    from collections.abc import Callable


_MARIMO_NOTE = (
    "This widget works in Jupyter only. In marimo, use"
    " `gx.compare(prompt, models=[…])` to compare replies, and `gx.status()` to list the engines."
)
LABEL_STYLE = {"description_width": "7em"}
"""The style of fields that are stacked vertically: all labels have the same width."""

ROW_LAYOUT = {"flex_flow": "row wrap", "align_items": "center"}
"""The layout of controls in a row that wraps if it is too narrow."""


def button(
    text: str, on_click: Callable[[], object], tooltip: str, style: str = ""
) -> ipywidgets.Button:
    """Return a button as wide as its text.

    Args:
        text: The button's text.
        on_click: Called when the button is pressed.
        tooltip: The description, for the tooltip and screen readers.
        style: ``"primary"`` for the main action; empty for others.
    """
    widget = ipywidgets.Button(
        description=text, tooltip=tooltip, button_style=style, layout={"width": "auto"}
    )
    widget.on_click(lambda _: on_click())
    return widget


def collapsible(
    label: str, body: ipywidgets.Widget, *, is_open: bool, on_open: Callable[[], object] = bool
) -> list[ipywidgets.Widget]:
    """Return a button that shows and hides a widget, and the widget itself.

    Unlike an Accordion, the button can be operated with the keyboard.

    Args:
        label: The text of the button.
        body: The widget to show and hide.
        is_open: Whether the widget is shown initially.
        on_open: Called whenever the widget is shown.
    """
    toggle = ipywidgets.ToggleButton(
        value=is_open,
        description=label,
        tooltip=f"Show or hide: {label.lower()}",
        layout={"width": "auto", "align_self": "flex-start"},
    )

    toggle.add_class("gatewayx-fold")

    def update(change: Any) -> None:  # noqa: ANN401 - a traitlets bunch
        set_visible(body, visible=change["new"])
        toggle.icon = "caret-down" if change["new"] else "caret-right"
        if change["new"]:
            on_open()

    toggle.observe(update, "value")
    # An observer is not called for the initial value.
    update({"new": is_open})
    return [toggle, body]


def marimo_note() -> tuple[str, str]:
    """Return the MIME type and the text of what marimo shows in place of a widget."""
    return "text/html", inline_code(_MARIMO_NOTE)


def set_visible(widget: ipywidgets.Widget, *, visible: bool) -> None:
    """Show or hide a widget."""
    widget.layout.display = "" if visible else "none"


def set_html(widget: ipywidgets.HTML, html: str) -> None:
    """Set HTML unless it is unchanged, because each assignment sends a message to the page."""
    if widget.value != html:
        widget.value = html


def set_children(box: ipywidgets.Box, children: tuple[ipywidgets.Widget, ...]) -> None:
    """Set the widgets in a box unless they are unchanged; see `set_html`."""
    if box.children != children:
        box.children = children


def handle_in_current_thread(*widgets: ipywidgets.Widget) -> None:
    """Route messages from widgets and their children to the thread that handles this request.

    ipykernel 7.4 handles a widget's messages in the thread that was handling a request when the
    widget last sent a message. Initially, this is the main thread, which runs the cell. Without
    this function, a field that last sent a message before this request would deliver its value
    after a button's click, or only after a running cell has ended. Sending a trait again moves the
    field to the current thread.
    """
    for widget in widgets:
        handle_in_current_thread(*getattr(widget, "children", ()))
        if widget.has_trait("description"):
            widget.send_state("description")


def close_all(*widgets: ipywidgets.Widget) -> None:
    """Close widgets and their children; ipywidgets keeps them alive until then."""
    for widget in widgets:
        close_all(*getattr(widget, "children", ()))
        for name in ("layout", "style"):
            attribute = getattr(widget, name, None)
            if isinstance(attribute, ipywidgets.Widget):
                attribute.close()
        widget.close()
