"""The model picker: available models, with search and selection by mouse or keyboard."""

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
    show_if,
)
from gatewayx_nb.widgets.keyboard import Keyboard
from gatewayx_nb.widgets.polling import poller

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewayx_nb.engine_pool import EnginePool

_MAX_ITEMS = 40
"""Maximum number of items to show; searching finds the others."""

_NO_MARKUP = str.maketrans(dict.fromkeys("<>&", "\N{REPLACEMENT CHARACTER}"))
"""Removes markup: ipywidgets 7 renders labels as HTML, and file names may contain it."""

_KEYLESS = {"mock", "local"}
"""The engines shipped with the package that need no key."""


def _is_collection(value: object) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str)


class ModelPicker(ipywidgets.VBox):  # type: ignore[misc]
    """Widget for selecting engines and models; it follows changes to keys and engine files.

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
        self._lock = threading.RLock()  # the poller shows changes while the user types and selects
        self._rows: list[_ItemRow] = []
        self._failed = False  # whether the last check for changes failed
        self._search = ipywidgets.Text(
            description="Search",
            placeholder="engine or model",
            layout={"width": "auto"},
            style=dict(LABEL_STYLE),
        )
        self._list = ipywidgets.VBox(layout={"max_height": "20em", "overflow": "auto"})
        self._note = ipywidgets.HTML()
        tip = "Make the selected model the default model of this kernel"
        self._use = button("Use as default", self._make_default, tip)
        self._use.disabled = True
        super().__init__(
            [Keyboard("gatewayx-picker"), self._search, self._list, self._note, self._use]
        )
        self.add_class("gatewayx-picker")
        self._search.observe(lambda _: self._show(), "value")
        self.value = tuple(value) if _is_collection(value) else (value,)
        self.observe(lambda _: self._show(), "value")
        if is_open:
            self.unfold()

    def unfold(self) -> None:
        """Show the available models and follow changes from now on."""
        if not self._is_open:
            self._is_open = True
            # Probe local servers only once; later checks only read files.
            self._catalog.refresh(probe=True)
            self._show()
            poller.add(self)

    @traitlets.validate("value")  # type: ignore[untyped-decorator]
    def _checked(self, proposal: Any) -> tuple[str, ...]:  # noqa: ANN401 - a traitlets bunch
        invalid = [ref for ref in proposal["value"] if not isinstance(ref, str) or not ref]
        if invalid:
            raise UsageError(
                f"value must contain only references, got {short_repr(invalid[0])}.",
                hint='For example, `picker.value = ("grok",)`.',
            )
        # Remove duplicates, because a reference's row has a single checkbox.
        return tuple(dict.fromkeys(proposal["value"]))

    def follow(self) -> None:
        """Check keys and engine files, and show the changes or why the check failed."""
        try:
            changed = self._catalog.refresh()
        except GatewayError as error:
            self._failed = True
            self._set_note(error.describe())
            return
        # After a failed check, show the models again to replace its message.
        if changed or self._failed:
            self._failed = False
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
        """List a provider's models in a background thread, and show the outcome."""
        # A provider may take seconds, during which a click handler would block the kernel.
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

    def _select(self, reference: str, selected: bool) -> None:  # noqa: FBT001 - required by its Callable
        if selected != (reference in self.value):  # otherwise, the row only shows the current state
            remaining = tuple(ref for ref in self.value if ref != reference)
            self.value = (*remaining, reference) if selected else remaining

    def _show(self) -> None:
        """Show the matches in rows that are reused between updates."""
        if not self._is_open:
            return
        with self._lock:
            items = self._catalog.search(self._search.value, self.value)
            shown = items[:_MAX_ITEMS]
            while len(self._rows) < len(shown):
                self._rows.append(_ItemRow(self._select, self.list_models))
            for row, item in zip(self._rows, shown, strict=False):
                row.show(item, selected=item.reference in self.value)
            set_children(self._list, tuple(row.box for row in self._rows[: len(shown)]))
            self._use.disabled = len(self.value) != 1
            self._set_note(self._note_for(len(items)))

    def _note_for(self, matches: int) -> str:
        if not matches:
            return "Nothing matches."
        if matches > _MAX_ITEMS:
            return f"{_MAX_ITEMS} of {matches} are shown; type to find others."
        if set(self._catalog.ready) - _KEYLESS:
            return ""
        hint = Hint("set_key", engine="NAME") | Hint("pull", model="smollm2")
        return f"No key is set. {render(hint)} The engines `local` and `mock` need no key."

    def _set_note(self, line: str) -> None:
        self._note.value = inline_code(line) if line else ""


class _ItemRow:
    """A line of the list: a checkbox, the item's state, and a button that lists its models."""

    def __init__(
        self, select: Callable[[str, bool], None], list_models: Callable[[str], None]
    ) -> None:
        self._item = CatalogItem("")
        self._box = ipywidgets.Checkbox(indent=False, layout={"width": "auto", "flex": "0 1 auto"})
        self._state = ipywidgets.HTML(layout={"flex": "1 1 auto"})
        self._more = button("Models", lambda: list_models(self._item.reference), "")
        self._box.observe(lambda change: select(self._item.reference, change["new"]), "value")
        self.box = ipywidgets.HBox(
            [self._box, self._state, self._more],
            layout={"align_items": "center", "min_height": "2em", "flex": "0 0 auto"},
        )

    def show(self, item: CatalogItem, *, selected: bool) -> None:
        """Show an item."""
        # Each assignment sends a message to the page.
        if item != self._item:
            self._item = item
            self._box.description = item.reference.translate(_NO_MARKUP)
            self._state.value = _state(item)
            self._more.tooltip = f"List the models of {item.reference}"
            show_if(self._more, shown=item.is_ready and item.is_engine)
        self._box.disabled = not (item.is_ready or selected)
        self._box.value = selected


def _state(item: CatalogItem) -> str:
    """Return an item's model if it is ready, otherwise its state and the fix."""
    if item.is_ready:
        text = escape(item.model or ("" if item.state == "ready" else item.state))
    else:
        text = inline_code(f"{item.state} · {item.note}" if item.note else item.state)
    return f'<span style="{MUTED}">{text}</span>' if text else ""
