"""The fields of a run: prompt, system prompt, parameters, inputs, samples, images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets

from gatewayx_nb import images
from gatewayx_nb.comparisons import ComparisonInput
from gatewayx_nb.errors import GatewayError
from gatewayx_nb.html import inline_code
from gatewayx_nb.text import shorten
from gatewayx_nb.widgets import form
from gatewayx_nb.widgets.controls import button, show_if

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gatewayx_nb.messages import Image

_WIDE = {"width": "auto"}
_NARROW = {"max_width": "calc(100% - 4px)"}  # minus its margins
_LABELS = {"description_width": "7em"}
_REMEMBERED, _SHORT = 20, 70
_SAMPLES = 20


class Fields:
    """The input fields of a run.

    Args:
        prompt: The initial prompt.
        options: Initial keywords of the calls.
    """

    def __init__(self, prompt: str, options: Mapping[str, Any]) -> None:
        fields = {name for name in form.LABELS if form.can_be_typed(options.get(name))}
        self._others = {k: v for k, v in options.items() if k != "system" and k not in fields}
        self._prompts: list[str] = []
        self._pictures: dict[str, Image] = {}
        self._takes: frozenset[str] = frozenset()
        # Not synced on every keystroke: a prompt may be a megabyte.
        self.prompt = _area("Prompt", "Ask something; {{name}} takes a value of the notebook", 4)
        self.prompt.value = prompt
        self._system = _area("System", "How to answer", 2)
        self._system.value = str(options.get("system") or "")
        self._texts = {
            name: ipywidgets.Text(
                description=label,
                value=_typed(options.get(name)) if name in fields else "",
                placeholder="as the model has it",
                layout=dict(_NARROW),
                style=dict(_LABELS),
            )
            for name, label in form.LABELS.items()
        }
        self._inputs = _area("Inputs", "One a line; each takes the place of {{input}}", 3)
        self._samples = ipywidgets.BoundedIntText(
            value=1,
            min=1,
            max=_SAMPLES,
            description="Samples",
            layout=dict(_NARROW),
            style=dict(_LABELS),
        )
        self._upload = ipywidgets.FileUpload(accept="image/*", multiple=True, description="Images")
        if self._upload.has_trait("tooltip"):  # ipywidgets 7 has none
            self._upload.tooltip = "Add images: PNG, JPEG, GIF or WebP"
        self._upload.observe(lambda change: self._uploaded(change["new"]), "value")
        self._drop = button("Remove images", self._drop_pictures, "Send no uploaded image along")
        show_if(self._drop, shown=False)
        self._named = ipywidgets.HTML()
        self._history = ipywidgets.Dropdown(
            description="Earlier", options=[("", -1)], layout=dict(_WIDE), style=dict(_LABELS)
        )
        show_if(self._history, shown=False)
        self._history.observe(lambda change: self._recall(change["new"]), "value")
        self.hidden = ipywidgets.Checkbox(description="Hide names until I vote", indent=False)
        pictures = ipywidgets.HBox([self._upload, self._drop, self._named])
        self._grid = ipywidgets.Box(
            [*self._texts.values(), self._samples],
            layout={"display": "flex", "flex_flow": "row wrap"},
        )
        self.more = ipywidgets.VBox(
            [self._system, self._grid, self._inputs, pictures, self._history, self.hidden]
        )

    def question(self, references: tuple[str, ...]) -> ComparisonInput:
        """Return the question for a run.

        Raises:
            UsageError: If the value of a field is invalid.
        """
        typed = {name: text.value for name, text in self._texts.items()}
        return ComparisonInput(
            prompt=self.prompt.value,
            references=references,
            options=form.options(self._others, self._system.value, typed, self._takes),
            images=dict(self._pictures),
            inputs=form.inputs(self._inputs.value),
            samples=self._samples.value,
            hidden=self.hidden.value,
        )

    def offer(self, takes: frozenset[str]) -> None:
        """Show the fields that all selected models support; hidden ones keep their values."""
        self._takes = takes
        for name, text in self._texts.items():
            show_if(text, shown=name in takes)
        show_if(self._system, shown="system" in takes)
        show_if(self._upload, shown="images" in takes)

    def remember(self, prompt: str) -> None:
        """Add a prompt to the list of earlier prompts."""
        known = [one for one in self._prompts if one != prompt]
        self._prompts = [prompt, *known][:_REMEMBERED]
        lines = [(shorten(one, _SHORT), at) for at, one in enumerate(self._prompts)]
        self._history.options = [("", -1), *lines]
        show_if(self._history, shown=True)

    def _recall(self, at: int | None) -> None:
        if at is not None and at >= 0:
            self.prompt.value = self._prompts[at]

    def _uploaded(self, files: Any) -> None:  # noqa: ANN401 - a dict in ipywidgets 7, a tuple in 8
        """Take uploads and remove them from the widget's state, which notebooks save."""
        if not files:
            return
        refused = []
        for name, content in _contents(files):
            try:
                self._pictures[name] = images.load(content)
            except GatewayError as error:
                refused.append(f"{name}: {error}")
        if isinstance(files, dict):  # ipywidgets 7 also keeps the bytes in `data`
            self._upload.data, self._upload.metadata = [], []
        self._upload.set_trait("value", type(files)())  # read-only there
        self._name_pictures(refused)

    def _drop_pictures(self) -> None:
        self._pictures.clear()
        self._name_pictures([])

    def _name_pictures(self, refused: Iterable[str]) -> None:
        sizes = [f"{name} ({len(one.data) // 1000} kB)" for name, one in self._pictures.items()]
        self._named.value = "<br>".join(map(inline_code, [*sizes, *refused]))
        show_if(self._drop, shown=bool(self._pictures))


def _contents(files: Any) -> list[tuple[str, bytes]]:  # noqa: ANN401 - see above
    if isinstance(files, dict):
        return [(name, bytes(one["content"])) for name, one in files.items()]
    return [(one["name"], bytes(one["content"])) for one in files]


def _area(label: str, hint: str, rows: int) -> ipywidgets.Textarea:
    return ipywidgets.Textarea(
        description=label,
        placeholder=hint,
        rows=rows,
        continuous_update=False,
        layout=dict(_WIDE),
        style=dict(_LABELS),
    )


def _typed(value: object) -> str:
    return "" if value is None else str(value)
