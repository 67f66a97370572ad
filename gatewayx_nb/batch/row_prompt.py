"""Creates the request for each row of a map from the prompt."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, cast

from gatewayx_nb.batch.rows import INPUT_NAME, row_namespace
from gatewayx_nb.calls import check_options, select_prompt
from gatewayx_nb.errors import GatewayError, UsageError, did_you_mean
from gatewayx_nb.prompts import RowTemplate, is_missing
from gatewayx_nb.text import short_repr

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gatewayx_nb.batch.rows import Rows, RowValue
    from gatewayx_nb.calls import CallOptions
    from gatewayx_nb.messages import Prompt

RowFunction = Callable[[Any], Any]
"""A function that takes a row and returns a string or a dict of `ask`'s keywords."""

_ROW_OPTIONS = frozenset(
    {
        *("prompt", "messages", "model", "system", "temperature", "top_p", "max_tokens", "stop"),
        *("seed", "effort", "cache", "images", "params"),
    }
)
"""Keywords of `ask` that may differ between rows."""


@dataclass(frozen=True, slots=True)
class RowRequest:
    """The request for one row.

    Attributes:
        prompt: The prompt.
        options: The options that apply to this row only.
        sample: Number of the sample, from 0; equal requests are sent once per sample number.
    """

    prompt: Prompt
    options: CallOptions = field(default_factory=dict)  # type: ignore[assignment]
    sample: int = 0


def with_row_options(options: CallOptions, request: RowRequest) -> CallOptions:
    """Merge the options of one row with those of all rows; the row's options take precedence.

    The images of both are sent.
    """
    images = (*options.get("images", ()), *request.options.get("images", ()))  # type: ignore[misc]
    row_options: CallOptions = {**options, **request.options}
    if images:
        row_options["images"] = images
    return row_options


class RequestSource(Protocol):
    """Creates the request for each row of a map."""

    @property
    def columns(self) -> Iterable[Any] | None:
        """The columns that the requests use; ``None`` if they may use any column."""

    @property
    def prompt_parts(self) -> tuple[object, ...]:
        """The prompt and the system prompt, which identify the job."""

    @property
    def constants_digest(self) -> str:
        """A digest of the values that all rows share; empty if there are none."""

    @property
    def sets_model(self) -> bool:
        """Whether each request names its own model, so that the map's model is not used."""

    def request(self, row: RowValue) -> RowRequest:
        """Return the request for a row.

        Raises:
            GatewayError: If the request cannot be created.
        """


class PreparedRequests:
    """Requests that were created in advance; the rows of the map are their positions.

    Args:
        requests: The requests, each with its model; an error makes its row fail.
        definition: A string that identifies the job.
    """

    columns: Iterable[Any] | None = ()
    constants_digest = ""
    sets_model = True

    def __init__(self, requests: Sequence[RowRequest | GatewayError], definition: str) -> None:
        self._requests = requests
        self.prompt_parts: tuple[object, ...] = (definition, None)

    def request(self, row: Any) -> RowRequest:  # noqa: ANN401 - a position
        """Return the request at a position.

        Raises:
            GatewayError: If the request could not be created.
        """
        request: RowRequest | GatewayError = self._requests[row]
        if isinstance(request, GatewayError):
            raise request
        return request


class RowPrompt:
    """Creates the request for a row from templates or functions.

    Args:
        prompt: A template with ``{{column}}``, as a string or a `RowTemplate`, or a function that
            takes the row.
        system: The system prompt, also a template or a function; ``None`` to omit it.
        rows: The rows.
        blank: Whether a missing value becomes an empty string; otherwise, its row fails.

    Raises:
        UsageError: If a prompt is neither a template nor a function, if no template has a
            placeholder, or if a placeholder names a missing column.
    """

    sets_model = False

    def __init__(self, prompt: object, system: object, rows: Rows, *, blank: bool) -> None:
        self._allows_missing = blank
        name = rows.columns[0] if rows.kind == "series" and rows.columns else None
        self._namespace = row_namespace(name)
        self._prompt = _template_or_function(prompt, "prompt", blank=blank)
        self._system = None if system is None else _system_source(system, blank=blank)
        templates = [part for part in (self._prompt, self._system) if isinstance(part, RowTemplate)]
        if len(templates) == 2 - (self._system is None):
            _check_placeholders(templates, rows)
        for template in templates:
            _check_columns(template, rows)
        is_function = callable(self._prompt) or callable(self._system)
        self.columns: Iterable[Any] | None = (
            None if is_function else [name for part in templates for name in part.columns]
        )
        """The columns that the prompts use; ``None`` if a function may use any column."""
        if any(part.names_whole_row for part in templates):
            self.columns = None

    @property
    def prompt_parts(self) -> tuple[object, ...]:
        """The prompt and the system prompt as passed; they identify the job."""
        return tuple(
            part.template if isinstance(part, RowTemplate) else part
            for part in (self._prompt, self._system)
        )

    @property
    def constants_digest(self) -> str:
        """A digest of the placeholder values that all rows share; empty if there are none."""
        parts = (part for part in (self._prompt, self._system) if isinstance(part, RowTemplate))
        return "".join(part.constants_digest for part in parts)

    def request(self, row: RowValue) -> RowRequest:
        """Return the request for a row.

        Raises:
            UsageError: If a value that the prompt uses is missing, or if a function raises an error
                or returns neither a string nor a dict of options.
        """
        system_options = self._fill_system(row)
        if not isinstance(self._prompt, RowTemplate):
            return self._from_function(row, system_options)
        filled_prompt = self._prompt.fill(self._namespace(row))
        if not system_options and not filled_prompt.images:
            return RowRequest(filled_prompt.text)
        options: dict[str, Any] = dict(system_options)
        if filled_prompt.images:
            options["images"] = filled_prompt.images
        return RowRequest(filled_prompt.text, cast("CallOptions", options))

    def _fill_system(self, row: RowValue) -> dict[str, Any]:
        part = self._system
        if part is None:
            return {}
        if isinstance(part, str):
            return {"system": part}
        if isinstance(part, RowTemplate):
            filled_template = part.fill(self._namespace(row))
            if filled_template.images:
                raise UsageError(
                    f"{filled_template.image_names[0]!r} is an image, which a system prompt cannot"
                    " contain.",
                    hint="Put it in the prompt instead.",
                )
            return {"system": filled_template.text}
        text = _call_row_function(part, row, "system")
        if not isinstance(text, str):
            raise UsageError(f"the `system` function must return a str, got {short_repr(text)}.")
        return {"system": text}

    def _from_function(self, row: RowValue, system_options: dict[str, Any]) -> RowRequest:
        result = _call_row_function(cast("RowFunction", self._prompt), row, "prompt")
        if is_missing(result) and not self._allows_missing:
            raise UsageError("the prompt function returned no text for this row.")
        if isinstance(result, str):
            return RowRequest(result, cast("CallOptions", system_options))
        if not isinstance(result, Mapping):
            raise UsageError(
                "the prompt function must return a str or a dict of options, got"
                f" {short_repr(result)}.",
                hint='For example, `lambda row: f"Classify: {row.text}"`.',
            )
        options = {**system_options, **result}
        for key in options:
            if key not in _ROW_OPTIONS:
                raise UsageError(
                    f"the prompt function returned the key {short_repr(key)}, which is not"
                    f" a per-row option.{did_you_mean(str(key), _ROW_OPTIONS)}",
                    hint=f"The options are {', '.join(sorted(_ROW_OPTIONS))}.",
                )
        text, messages = options.pop("prompt", None), options.pop("messages", None)
        if text is None and messages is None:
            raise UsageError(
                "the prompt function returned a dict without a prompt.",
                hint='Add the key "prompt" or "messages".',
            )
        prompt = select_prompt(text, messages)
        return RowRequest(prompt, check_options(cast("CallOptions", options)))


def request_source(prompt: object, system: object, rows: Rows, *, blank: bool) -> RequestSource:
    """Return the source of a map's requests: `PreparedRequests` or a `RowPrompt`."""
    if isinstance(prompt, PreparedRequests):
        return prompt
    return RowPrompt(prompt, system, rows, blank=blank)


def _call_row_function(function: RowFunction, row: RowValue, name: str) -> Any:  # noqa: ANN401 - checked later
    try:
        result = function(row)
    except GatewayError:
        raise
    except Exception as error:
        detail = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
        punctuation = "" if detail.endswith((".", "?", "!")) else "."
        raise UsageError(
            f"the `{name}` function raised {type(error).__name__}: {detail}{punctuation}"
        ) from error
    if inspect.isawaitable(result):
        if inspect.iscoroutine(result):
            result.close()
        raise UsageError(f"the `{name}` function must not be async.")
    return result


def _template_or_function(template: object, name: str, *, blank: bool) -> RowTemplate | RowFunction:
    if isinstance(template, RowTemplate):
        return template.as_blank() if blank else template
    if isinstance(template, str):
        return RowTemplate(template, blank=blank)
    if callable(template) and not isinstance(template, type):
        return template
    raise UsageError(
        f"{name} must be a template such as 'Classify: {{{{text}}}}' or a function of the row, got"
        f" {short_repr(template)}.",
        hint='For example, `lambda row: {"messages": [...]}` for a conversation.',
    )


def _system_source(system: object, *, blank: bool) -> RowTemplate | RowFunction | str:
    template = _template_or_function(system, "system", blank=blank)
    is_constant = isinstance(system, str) and not cast("RowTemplate", template).has_placeholder
    return str(system) if is_constant else template


def _check_placeholders(templates: list[RowTemplate], rows: Rows) -> None:
    if not any(template.has_placeholder for template in templates):
        for name in (*(rows.columns or ()), INPUT_NAME):
            if any(f"{{{name}}}" in template.template for template in templates):
                raise UsageError(
                    f"{{{name}}} in the prompt is not a placeholder.",
                    hint=f"Write {{{{{name}}}}}, with two braces.",
                )
        raise UsageError(
            "the prompt has no placeholder, so every row would get the same prompt.",
            hint="Write {{column}} where the row's value belongs, or"
            f" {{{{{INPUT_NAME}}}}} if the rows are strings.",
        )


def _check_columns(template: RowTemplate, rows: Rows) -> None:
    """Check that the columns that a template uses exist, if the columns of the rows are known."""
    if rows.kind == "frame" and rows.columns is not None:
        template.check(rows.columns)
        return
    first_row = rows.source[0] if rows.kind == "list" and rows.source else None
    if rows.kind == "series" or isinstance(first_row, str):
        names = (INPUT_NAME, *filter(None, rows.columns or ()))
        for name in template.columns:
            if name not in names:
                raise UsageError(
                    f"the prompt refers to {{{{{name}}}}}, but the rows are strings.",
                    hint=f"Write {{{{{INPUT_NAME}}}}} where the row's string belongs.",
                )
