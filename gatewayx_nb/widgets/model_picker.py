"""A widget for searching and selecting models, with the mouse or the keyboard."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import ipywidgets
import traitlets
from typing_extensions import override

from gatewayx_nb.comparisons import CatalogItem, ModelCatalog
from gatewayx_nb.errors import GatewayError, UsageError
from gatewayx_nb.hints import Hint, render
from gatewayx_nb.html import MUTED, escape, inline_code
from gatewayx_nb.text import short_repr
from gatewayx_nb.widgets.controls import (
    LABEL_STYLE,
    button,
    close_all,
    marimo_note,
    set_children,
    set_visible,
)
from gatewayx_nb.widgets.keyboard import Keyboard
from gatewayx_nb.widgets.polling import poller

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewayx_nb.engine_pool import EnginePool

_MAX_SHOWN_ITEMS = 40
"""Maximum number of items to show; a search finds further items."""

_MARKUP_REPLACEMENTS = str.maketrans(dict.fromkeys("<>&", "\N{REPLACEMENT CHARACTER}"))
"""Replaces markup, because ipywidgets 7 renders labels, which may contain file names, as HTML."""

_KEYLESS_ENGINES = {"mock", "local"}
"""The engines shipped with the package that need no key."""


def _is_collection(value: object) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str)


class ModelPicker(ipywidgets.VBox):  # type: ignore[misc]
    """A widget for selecting engines and models; it shows changes to keys and engine files.

    >>> import gatewayx_nb as gx
    >>> gx.picker(["mock"]).value
    ('mock',)

    Args:
        get_pool: Returns the pool.
        value: The initially selected reference or references.
        is_open: Whether the list is filled immediately; otherwise, `unfold` fills it.

    Attributes:
        value: The selected references in order of selection; an ordinary trait that can be
            observed and linked.
    """

    value = traitlets.Tuple(help="The selected references.")

    def __init__(
        self,
        get_pool: Callable[[], EnginePool],
        value: str | Iterable[str] = (),
        *,
        is_open: bool = True,
    ) -> None:
        self._get_pool, self._catalog = get_pool, ModelCatalog(get_pool)
        self._is_open = False
        self._lock = (
            threading.RLock()
        )  # the polling thread updates the list while the user types and selects
        self._rows: list[_ItemRow] = []
        self._has_check_failed = False
        self._search = ipywidgets.Text(
            description="Search",
            placeholder="engine or model",
            layout={"width": "auto"},
            style=dict(LABEL_STYLE),
        )
        self._list = ipywidgets.VBox(layout={"max_height": "20em", "overflow": "auto"})
        self._note = ipywidgets.HTML()
        tooltip = "Make the selected model the default model of this kernel"
        self._use_button = button("Use as default", self._make_default, tooltip)
        self._use_button.disabled = True
        super().__init__(
            [Keyboard("gatewayx-picker"), self._search, self._list, self._note, self._use_button]
        )
        self.add_class("gatewayx-picker")
        self._search.observe(lambda _: self._show(), "value")
        self.value = tuple(value) if _is_collection(value) else (value,)
        self.observe(lambda _: self._show(), "value")
        if is_open:
            self.unfold()

    def unfold(self) -> None:
        """Show the available models, and update them after changes from now on."""
        if not self._is_open:
            self._is_open = True
            # Local servers are probed only once; later checks only read files.
            self._catalog.refresh(probe=True)
            self._show()
            poller.add(self)

    @traitlets.validate("value")  # type: ignore[untyped-decorator]
    def _validate_value(self, proposal: Any) -> tuple[str, ...]:  # noqa: ANN401 - a traitlets bunch
        invalid_values = [ref for ref in proposal["value"] if not isinstance(ref, str) or not ref]
        if invalid_values:
            raise UsageError(
                f"value must contain only references, got {short_repr(invalid_values[0])}.",
                hint='For example, `picker.value = ("grok",)`.',
            )
        # Duplicates are removed, because each reference has a single checkbox.
        return tuple(dict.fromkeys(proposal["value"]))

    def follow(self) -> None:
        """Check keys and engine files, and show the changes or why the check failed."""
        try:
            has_changed = self._catalog.refresh()
        except GatewayError as error:
            self._has_check_failed = True
            self._set_note(error.describe())
            return
        # After a failed check, the models are shown again to replace the error message.
        if has_changed or self._has_check_failed:
            self._has_check_failed = False
            self._show()

    @override
    def close(self) -> None:
        poller.discard(self)
        close_all(*self.children, *(row.box for row in self._rows), self.layout)
        super().close()

    @override
    def __repr__(self) -> str:
        return f"ModelPicker({', '.join(self.value)})"

    def _mime_(self) -> tuple[str, str]:
        """Return the output for marimo, which does not support ipywidgets."""
        return marimo_note()

    def list_models(self, engine: str) -> None:
        """List the models of an engine's provider in a background thread, and show the outcome."""
        # A provider may take seconds to answer, and a click handler would block the kernel.
        threading.Thread(target=self._list_models, args=(engine,), daemon=True).start()

    def _list_models(self, engine: str) -> None:
        self._set_note(f"Listing {engine}'s models …")
        try:
            count = self._catalog.load_models(engine)
        except GatewayError as error:
            self._set_note(f"{engine}: {error.describe()}")
            return
        self._show()
        self._set_note(f"{engine} lists {count} models." if count else f"{engine} lists no models.")

    def _make_default(self) -> None:
        reference = self.value[0]
        try:
            self._get_pool().use(reference)
        except GatewayError as error:
            self._set_note(error.describe())
        else:
            self._set_note(f"{reference} is the default model until the kernel ends.")

    def _select(self, reference: str, is_selected: bool) -> None:  # noqa: FBT001 - required by its Callable
        # If both are equal, the checkbox was only updated to the current selection.
        if is_selected != (reference in self.value):
            remaining = tuple(ref for ref in self.value if ref != reference)
            self.value = (*remaining, reference) if is_selected else remaining

    def _show(self) -> None:
        """Show the matching items; the rows of the list are reused."""
        if not self._is_open:
            return
        with self._lock:
            items = self._catalog.search(self._search.value, self.value)
            shown_items = items[:_MAX_SHOWN_ITEMS]
            while len(self._rows) < len(shown_items):
                self._rows.append(_ItemRow(self._select, self.list_models))
            for row, item in zip(self._rows, shown_items, strict=False):
                row.show(item, is_selected=item.reference in self.value)
            set_children(self._list, tuple(row.box for row in self._rows[: len(shown_items)]))
            self._use_button.disabled = len(self.value) != 1
            self._set_note(self._note_for(len(items)))

    def _note_for(self, match_count: int) -> str:
        if not match_count:
            return "Nothing matches."
        if match_count > _MAX_SHOWN_ITEMS:
            return f"{_MAX_SHOWN_ITEMS} of {match_count} are shown; type to find others."
        if set(self._catalog.ready_engines) - _KEYLESS_ENGINES:
            return ""
        hint = Hint("set_key", engine="NAME") | Hint("pull", model="smollm2")
        return f"No key is set. {render(hint)} The engines `local` and `mock` need no key."

    def _set_note(self, line: str) -> None:
        self._note.value = inline_code(line) if line else ""


class _ItemRow:
    """A row of the list: a checkbox, the item's state, and a button that lists its models."""

    def __init__(
        self, select: Callable[[str, bool], None], list_models: Callable[[str], None]
    ) -> None:
        self._item = CatalogItem("")
        self._checkbox = ipywidgets.Checkbox(
            indent=False, layout={"width": "auto", "flex": "0 1 auto"}
        )
        self._state = ipywidgets.HTML(layout={"flex": "1 1 auto"})
        self._models_button = button("Models", lambda: list_models(self._item.reference), "")
        self._checkbox.observe(lambda change: select(self._item.reference, change["new"]), "value")
        self.box = ipywidgets.HBox(
            [self._checkbox, self._state, self._models_button],
            layout={"align_items": "center", "min_height": "2em", "flex": "0 0 auto"},
        )

    def show(self, item: CatalogItem, *, is_selected: bool) -> None:
        """Show an item."""
        # Unchanged values are not assigned, because each assignment sends a message to the page.
        if item != self._item:
            self._item = item
            self._checkbox.description = item.reference.translate(_MARKUP_REPLACEMENTS)
            self._state.value = _state_html(item)
            self._models_button.tooltip = f"List the models of {item.reference}"
            set_visible(self._models_button, visible=item.is_ready and item.is_engine)
        self._checkbox.disabled = not (item.is_ready or is_selected)
        self._checkbox.value = is_selected


def _state_html(item: CatalogItem) -> str:
    """Return the item's default model if it is ready, otherwise its state and note, as HTML."""
    if item.is_ready:
        text = escape(item.model or ("" if item.state == "ready" else item.state))
    else:
        text = inline_code(f"{item.state} · {item.note}" if item.note else item.state)
    return f'<span style="{MUTED}">{text}</span>' if text else ""
