"""The input fields of a comparison: prompt, system prompt, parameters, inputs and images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import ipywidgets

from gatewayx_nb import images
from gatewayx_nb.comparisons import (
    FIELD_LABELS,
    ComparisonRequest,
    can_be_field_value,
    check_comparison_options,
    input_lines,
    parse_fields,
    parse_inputs,
    reusable_options,
)
from gatewayx_nb.errors import GatewayError, UsageError
from gatewayx_nb.html import inline_code
from gatewayx_nb.text import short_repr, shorten
from gatewayx_nb.widgets.controls import LABEL_STYLE, button, set_visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gatewayx_nb.calls import CallOptions
    from gatewayx_nb.images import Image

_WIDE = {"width": "auto"}
_NARROW = {"max_width": "calc(100% - 4px)"}  # minus the margins
_MAX_REMEMBERED_PROMPTS, _MAX_LABEL_LENGTH = 20, 70
_MAX_SAMPLES = 20


class ComparisonFields:
    """The input fields for the request of a run.

    Args:
        prompt: The initial prompt.
        options: The initial options of the calls.
        inputs: Initial values of ``{{input}}``.
        samples: Initial number of calls to each model.

    Raises:
        UsageError: If the prompt, an option, an input or the number of samples is invalid.
    """

    def __init__(
        self,
        prompt: str,
        options: Mapping[str, Any],
        inputs: str | Iterable[str] = (),
        samples: int = 1,
    ) -> None:
        _check_prompt(prompt)
        options = reusable_options(options)
        check_comparison_options(cast("CallOptions", options))
        _check_samples(samples)
        field_names = {name for name in FIELD_LABELS if can_be_field_value(options.get(name))}
        # Options without a field, or with a value that a field cannot show, are passed unchanged.
        shown_names = {*field_names, "system"}
        self._other_options = {name: options[name] for name in options if name not in shown_names}
        self._prompts: list[str] = []
        self._images: dict[str, Image] = {}
        self._supported_names: frozenset[str] = frozenset()
        # The prompt is not synced on every keystroke, because it may be as large as a megabyte.
        self.prompt = _textarea(
            "Prompt", "Your prompt; {{name}} inserts the value of a variable", 4
        )
        self.prompt.value = prompt
        self._system = _textarea("System", "How the model should answer", 2)
        self._system.value = str(options.get("system") or "")
        self._parameters = {
            name: _narrow_field(
                ipywidgets.Text,
                description=label,
                value=_field_text(options.get(name)) if name in field_names else "",
                placeholder="model default",
            )
            for name, label in FIELD_LABELS.items()
        }
        self._inputs = _textarea("Inputs", "One per line; each replaces {{input}} in turn", 3)
        self._inputs.value = input_lines(inputs)
        self._samples = _narrow_field(
            ipywidgets.BoundedIntText, value=samples, min=1, max=_MAX_SAMPLES, description="Samples"
        )
        self._upload = ipywidgets.FileUpload(accept="image/*", multiple=True, description="Images")
        if self._upload.has_trait("tooltip"):  # not in ipywidgets 7
            self._upload.tooltip = "Add images: PNG, JPEG, GIF or WebP"
        self._upload.observe(lambda change: self._add_images(change["new"]), "value")
        self._remove_button = button("Remove images", self._remove_images, "Remove uploaded images")
        set_visible(self._remove_button, visible=False)
        self._image_list = ipywidgets.HTML()
        self._history = ipywidgets.Dropdown(
            description="Earlier", options=[("", -1)], layout=dict(_WIDE), style=dict(LABEL_STYLE)
        )
        set_visible(self._history, visible=False)
        self._history.observe(lambda change: self._restore_prompt(change["new"]), "value")
        self.blind = ipywidgets.Checkbox(description="Hide names until I vote", indent=False)
        images_row = ipywidgets.HBox([self._upload, self._remove_button, self._image_list])
        self._grid = ipywidgets.Box(
            [*self._parameters.values(), self._samples],
            layout={"display": "flex", "flex_flow": "row wrap"},
        )
        self.parameter_box = ipywidgets.VBox(
            [self._system, self._grid, self._inputs, images_row, self._history, self.blind]
        )

    def request(self, references: tuple[str, ...]) -> ComparisonRequest:
        """Return the request for a run from the values of the fields.

        Raises:
            UsageError: If the value of a field is invalid.
        """
        texts = {name: text.value for name, text in self._parameters.items()}
        return ComparisonRequest(
            prompt=self.prompt.value,
            references=references,
            options=parse_fields(
                self._other_options, self._system.value, texts, self._supported_names
            ),
            images=dict(self._images),
            inputs=parse_inputs(self._inputs.value),
            samples=self._samples.value,
            blind=self.blind.value,
        )

    def show_supported(self, features: Iterable[frozenset[str]]) -> None:
        """Show the fields that all selected models support; hidden fields keep their values.

        Images can be added if any selected model supports them; the columns of models without
        support show an error.

        Args:
            features: The features of each selected model.
        """
        models = list(features)
        supported_names = self._supported_names = (
            frozenset.intersection(*models) if models else frozenset()
        )
        for name, text in self._parameters.items():
            set_visible(text, visible=name in supported_names)
        set_visible(self._system, visible="system" in supported_names)
        set_visible(self._upload, visible=any("images" in model for model in models))

    def remember(self, prompt: str) -> None:
        """Add a prompt to the list of earlier prompts."""
        other_prompts = [earlier for earlier in self._prompts if earlier != prompt]
        self._prompts = [prompt, *other_prompts][:_MAX_REMEMBERED_PROMPTS]
        history_entries = [
            (shorten(text, _MAX_LABEL_LENGTH), index) for index, text in enumerate(self._prompts)
        ]
        # Setting the options selects the first of them, which must not restore a prompt.
        self._history.options = [("", -1), *history_entries]
        set_visible(self._history, visible=True)

    def _restore_prompt(self, index: int | None) -> None:
        if index is not None and index >= 0:
            self.prompt.value = self._prompts[index]

    def _add_images(self, files: Any) -> None:  # noqa: ANN401 - a dict in ipywidgets 7, a tuple in 8
        """Move uploaded images out of the widget's state, which notebooks save."""
        if not files:
            return
        problems = []
        for name, content in _names_and_bytes(files):
            try:
                self._images[name] = images.load(content)
            except GatewayError as error:
                problems.append(f"{name}: {error.describe()}")
        if isinstance(files, dict):  # ipywidgets 7 also keeps the bytes in `data`
            self._upload.data, self._upload.metadata = [], []
        self._upload.set_trait("value", type(files)())  # read-only in version 7
        self._show_images(problems)

    def _remove_images(self) -> None:
        self._images.clear()
        self._show_images([])

    def _show_images(self, problems: Iterable[str]) -> None:
        sizes = [f"{name} ({len(image.data) // 1000} kB)" for name, image in self._images.items()]
        self._image_list.value = "<br>".join(map(inline_code, [*sizes, *problems]))
        set_visible(self._remove_button, visible=bool(self._images))


def _names_and_bytes(files: Any) -> list[tuple[str, bytes]]:  # noqa: ANN401 - see above
    if isinstance(files, dict):
        return [(name, bytes(file["content"])) for name, file in files.items()]
    return [(file["name"], bytes(file["content"])) for file in files]


def _textarea(label: str, placeholder: str, rows: int) -> ipywidgets.Textarea:
    return ipywidgets.Textarea(
        description=label,
        placeholder=placeholder,
        rows=rows,
        continuous_update=False,
        layout=dict(_WIDE),
        style=dict(LABEL_STYLE),
    )


def _narrow_field(widget_class: type[ipywidgets.Widget], **traits: Any) -> ipywidgets.Widget:  # noqa: ANN401
    return widget_class(layout=dict(_NARROW), style=dict(LABEL_STYLE), **traits)


def _field_text(value: object) -> str:
    return "" if value is None else str(value)


def _check_prompt(prompt: object) -> None:
    if not isinstance(prompt, str):
        raise UsageError(
            f"prompt must be a str, got {short_repr(prompt)}.",
            hint='For example, `compare_view("Why is the sky blue?")`.',
        )


def _check_samples(samples: object) -> None:
    if not isinstance(samples, int) or not 1 <= samples <= _MAX_SAMPLES:
        raise UsageError(
            f"samples must be an int from 1 to {_MAX_SAMPLES}, got {samples!r}.",
            hint="For example, `samples=3` calls each model three times.",
        )
