"""Adds keyboard shortcuts and CSS to a view; ipywidgets supports neither."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_FOLDER = Path(__file__).parent


class Keyboard(anywidget.AnyWidget):  # type: ignore[misc]
    """An invisible widget that handles key presses inside the widget that contains it.

    Args:
        scope: The CSS class of the containing widget.
        actions: The functions for ``"run"`` and ``"stop"``; if empty, key presses are only kept
            from the notebook.

    Attributes:
        running: Whether a run can be stopped.
    """

    _esm = _FOLDER / "keyboard.js"
    _css = _FOLDER / "comparison_view.css"
    scope = traitlets.Unicode().tag(sync=True)
    runs = traitlets.Bool(default_value=False).tag(sync=True)
    running = traitlets.Bool(default_value=False).tag(sync=True)

    def __init__(
        self, scope: str, actions: Mapping[str, Callable[[], object]] = MappingProxyType({})
    ) -> None:
        super().__init__(scope=f".{scope}", runs="run" in actions)
        self._actions = actions
        self.on_msg(self._on_message)

    # The message comes from the page, so its content may have any type.
    def _on_message(self, _: object, content: Any, __: object) -> None:  # noqa: ANN401 - JSON
        action = self._actions.get(str(content.get("press"))) if isinstance(content, dict) else None
        if action:
            action()
