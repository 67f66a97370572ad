"""Small pieces that the parts of a view are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets

if TYPE_CHECKING:
    from collections.abc import Callable


def button(text: str, press: Callable[[], object], tip: str, style: str = "") -> ipywidgets.Button:
    """Give a button as wide as its text.

    Args:
        text: What stands on it.
        press: What it does.
        tip: What it does, for who points at it or has it read out.
        style: ``"primary"`` for the one that matters most.
    """
    made = ipywidgets.Button(
        description=text, tooltip=tip, button_style=style, layout={"width": "auto"}
    )
    made.on_click(lambda _: press())
    return made


def fold(
    label: str,
    body: ipywidgets.Widget,
    *,
    is_open: bool,
    opened: Callable[[], object] = bool,
) -> list[ipywidgets.Widget]:
    """Give a button that shows and hides something; unlike an Accordion it is reached by keys.

    Args:
        label: What stands on the button.
        body: What is shown and hidden.
        is_open: Whether it is shown at first.
        opened: Called whenever it is shown.
    """
    turner = ipywidgets.ToggleButton(
        value=is_open,
        description=label,
        tooltip=f"Show or hide: {label.lower()}",
        layout={"width": "auto", "align_self": "flex-start"},
    )

    def turn(change: Any) -> None:  # noqa: ANN401 - a traitlets bunch
        show_if(body, shown=change["new"])
        turner.icon = "caret-down" if change["new"] else "caret-right"
        if change["new"]:
            opened()

    turner.observe(turn, "value")
    turn({"new": is_open})
    return [turner, body]


def show_if(widget: ipywidgets.Widget, *, shown: bool) -> None:
    """Show or hide."""
    widget.layout.display = "" if shown else "none"


def put(widget: ipywidgets.HTML, page: str) -> None:
    """Show HTML, where it is not shown already: each setting is a message to the page."""
    if widget.value != page:
        widget.value = page


def close_all(*widgets: ipywidgets.Widget) -> None:
    """Close widgets and all that they hold: ipywidgets keeps each one until it is closed."""
    for widget in widgets:
        close_all(*getattr(widget, "children", ()))
        for name in ("layout", "style"):
            part = getattr(widget, name, None)
            if isinstance(part, ipywidgets.Widget):
                part.close()
        widget.close()
