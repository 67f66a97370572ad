"""Parses cells with ``--map``, whose prompt is a template that is filled for each row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gatewayx_nb import prompts
from gatewayx_nb.batch import Rows, read_rows
from gatewayx_nb.errors import UsageError, did_you_mean
from gatewayx_nb.prompts import ROW, RowTemplate, placeholder_roots
from gatewayx_nb.secure_config import Secret
from gatewayx_nb.text import shorten

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from gatewayx_nb.calls import CallOptions
    from gatewayx_nb.magics.notebook_values import NotebookValues
    from gatewayx_nb.magics.reply_target import ReplyTarget

_INAPPLICABLE_OPTIONS = (
    "chat",
    "bg",
    "insert",
    "output_format",
    "no_stream",
    "renew",
    "no_vars",
)
"""Options of a cell that do not apply to a map."""

_OPTIONS_IGNORED_BY_PREVIEW = ("fresh", "max_cost")
"""Options of a map that a preview does not use."""

_MAX_SHOWN_COLUMNS = 8
_MAX_QUOTED_LENGTH = 60
"""Maximum number of characters of quoted input in an error message."""


@dataclass(frozen=True, slots=True)
class MapCell:
    """A parsed cell with ``--map``, ready to run.

    Attributes:
        rows: The rows.
        prompt: The prompt, with the notebook's values filled in.
        options: The options of the calls, without the system prompt.
        system: The system prompt, if any.
        target: The variable to which the result is bound; ``None`` to return it as the cell's
            value.
        quiet: Whether no progress is shown.
        dry_run: Whether the requests are only shown, not sent.
        notes: Notes on probable typing mistakes, to be shown below the progress.
    """

    rows: Rows
    prompt: RowTemplate
    options: CallOptions
    system: RowTemplate | str | None = None
    target: ReplyTarget | None = None
    quiet: bool = False
    dry_run: bool = False
    notes: tuple[str, ...] = ()

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of `EnginePool.preview_map`."""
        return {
            "rows": self.rows.source,
            "prompt": self.prompt,
            "system": self.system,
            **self.options,
        }


def check_flags(args: argparse.Namespace, typed_flags: Mapping[str, str], *, is_cell: bool) -> None:
    """Check that every option applies to a map, and that no option hides the result.

    Args:
        args: The parsed line.
        typed_flags: The flag of each option, as typed.
        is_cell: Whether the line is the first line of a cell, whose value cannot be assigned.

    Raises:
        UsageError: If an option does not apply or hides the result, or several models are named.
    """
    typed_options = [
        f"`{typed_flags[name]}`" for name in _INAPPLICABLE_OPTIONS if name in typed_flags
    ]
    if typed_options:
        raise UsageError(
            f"{_joined_with_and(typed_options)} cannot be used with `--map`.",
            hint=f"Omit {'it' if len(typed_options) == 1 else 'them'}, or omit `--map`.",
        )
    if len(args.references) > 1:
        raise UsageError(
            f"`--map` needs exactly one model, got {', '.join(map(repr, args.references))}.",
            hint="Name one of them; the prompt is on the lines below.",
        )
    previewed_options = [
        f"`{typed_flags[name]}`" for name in _OPTIONS_IGNORED_BY_PREVIEW if name in typed_flags
    ]
    if args.dry_run and previewed_options:
        verb = "has" if len(previewed_options) == 1 else "have"
        raise UsageError(
            f"{_joined_with_and(previewed_options)} {verb} no effect with `--map` and `--dry-run`.",
            hint="Omit one of them.",
        )
    if args.quiet and is_cell and args.out is None:
        raise UsageError(
            f"`{typed_flags['quiet']}` would hide the result of `--map`.",
            hint="Bind it with `-o NAME`.",
        )


def read_map(
    args: argparse.Namespace, prompt: str, values: NotebookValues, options: CallOptions
) -> MapCell:
    """Return the cell with these options and this template.

    Raises:
        UsageError: If the rows or a name in the template do not exist, or a name is ambiguous.
    """
    rows = _rows(args.map, values)
    names = _PlaceholderNames(args.map, rows, values)
    return MapCell(
        rows=rows,
        prompt=names.template(prompt.strip("\n")),
        options=options,
        system=None if args.system is None else names.system(args.system),
        quiet=args.quiet,
        dry_run=args.dry_run,
    )


def frame_names(namespace: Mapping[str, object]) -> list[str]:
    """Return the names of a notebook's DataFrames, Series, and lists of strings or dicts."""
    return [name for name in prompts.own_names(namespace) if _has_rows(namespace[name])]


def column_names(expression: str, namespace: Mapping[str, object]) -> list[str]:
    """Return the columns of the rows in a variable, for completion; empty if it has no rows."""
    try:
        rows = read_rows(prompts.resolve(expression, namespace, (Secret,)))
    except UsageError:
        return []
    return [name for name in rows.placeholder_names() if name.isidentifier()]


def _has_rows(value: object) -> bool:
    if isinstance(value, list):
        return bool(value) and isinstance(value[0], str | dict)
    return prompts.table_kind(value) is not None


def _rows(expression: str, values: NotebookValues) -> Rows:
    """Return the rows that ``--map`` names.

    Raises:
        UsageError: If the variable does not exist, or its rows can be read only once.
    """
    expression = prompts.only_expression(expression) or expression
    excerpt = shorten(expression, _MAX_QUOTED_LENGTH)
    namespace = values.namespace
    if expression.isidentifier() and expression not in namespace:
        raise UsageError(
            f"`--map` refers to {excerpt!r}, which is not defined in this notebook."
            f"{did_you_mean(expression, frame_names(namespace))}",
            hint="Load the rows first, for example `df = pd.read_csv(…)`.",
        )
    if not prompts.is_variable(expression, namespace):
        raise UsageError(
            f"`--map` must be a variable, an attribute or an item, got {excerpt!r}.",
            hint="Assign it first, as in `rows = df.head()`, and write `--map rows`.",
        )
    try:
        rows = read_rows(prompts.resolve(expression, namespace, (Secret,)))
    except UsageError as error:
        raise UsageError(f"`--map {excerpt}`: {error.message}", hint=error.hint) from None
    if rows.kind == "iterator":
        raise UsageError(
            f"`--map {excerpt}` is an iterator, whose length is unknown.",
            hint=f"Make it a list: `{excerpt} = list({excerpt})`; `gx.imap` takes an iterator.",
        )
    return rows


class _PlaceholderNames:
    """The names that a placeholder can start with: columns first, then the notebook's variables.

    Args:
        expression: The value of ``--map``, as typed.
        rows: The rows.
        values: The notebook's values.
    """

    def __init__(self, expression: str, rows: Rows, values: NotebookValues) -> None:
        self._expression, self._rows, self._values = expression, rows, values
        self._columns = rows.placeholder_names()

    def template(self, text: str) -> RowTemplate:
        """Return the template of the text, with the notebook's values filled in.

        Raises:
            UsageError: If a name is undefined or ambiguous.
        """
        namespace = self._values.namespace
        constants: dict[str, object] = {}
        for name in placeholder_roots(text):
            if name in self._columns:
                self._check_is_unambiguous(name)
            elif name in namespace and name != ROW:
                constants[name] = namespace[name]
            elif name != ROW:
                raise self._undefined_error(name)
        return RowTemplate(text, constants=constants, table_rows=self._values.max_rows)

    def system(self, text: str) -> RowTemplate | str:
        """Return the system prompt: a template if it has placeholders, else the string itself."""
        return self.template(text) if placeholder_roots(text) else text

    def _check_is_unambiguous(self, name: str) -> None:
        """Check that a column is not also a variable, unless the variable contains the rows."""
        namespace = self._values.namespace
        if name not in prompts.own_names(namespace) or namespace[name] is self._rows.source:
            return
        raise UsageError(
            f"{name!r} is a column of `{shorten(self._expression, _MAX_QUOTED_LENGTH)}` and also a"
            " variable of this notebook.",
            hint=f'Write `{{{{row["{name}"]}}}}` for the column, or rename one of them.',
        )

    def _undefined_error(self, name: str) -> UsageError:
        known_names = [*self._columns, *prompts.own_names(self._values.namespace)]
        excerpt = shorten(self._expression, _MAX_QUOTED_LENGTH)
        columns_text = ", ".join(map(repr, self._columns[:_MAX_SHOWN_COLUMNS]))
        ellipsis = ", …" if len(self._columns) > _MAX_SHOWN_COLUMNS else ""
        return UsageError(
            f"the prompt refers to {name!r}, which is neither a column of `{excerpt}` nor defined"
            f" in this notebook.{did_you_mean(name, known_names)}",
            hint=f"The columns are {columns_text}{ellipsis}." if columns_text else None,
        )


def _joined_with_and(texts: list[str]) -> str:
    *earlier_texts, last_text = texts
    return f"{', '.join(earlier_texts)} and {last_text}" if earlier_texts else last_text
