"""Parses the target of ``-o``: a variable to which a reply or one of its attributes is bound."""

from __future__ import annotations

import builtins
import inspect
import keyword
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatewayx_nb.errors import UsageError, did_you_mean
from gatewayx_nb.text import shorten

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

_IPYTHON_NAMES = frozenset({"get_ipython", "In", "Out", "exit", "quit"})
_HISTORY_NAME = re.compile(r"_(?:[iod]h|i{1,3}|i?\d+|_{0,2})")
"""IPython's variables for the history, such as ``_``, ``_3``, ``_i3`` and ``_oh``."""

_MAX_NAME_LENGTH = 60


@dataclass(frozen=True, slots=True)
class ReplyTarget:
    """A variable to which a reply is bound.

    Attributes:
        variable: The variable's name.
        attribute: The reply's attribute to bind; empty for the reply itself.
    """

    variable: str
    attribute: str = ""

    def value(self, result: object) -> object:
        """Return the value to bind."""
        return getattr(result, self.attribute) if self.attribute else result


def parse_target(args: argparse.Namespace, namespace: Mapping[str, object]) -> ReplyTarget | None:
    """Return the variable or attribute to which ``-o`` binds the reply.

    Raises:
        UsageError: If the name is invalid, or the variable should not be overwritten.
    """
    if args.out is None:
        return None
    name, dot, attribute = args.out.partition(".")
    _check_variable(name, namespace)
    if dot and attribute not in ("parsed", "text"):
        raise UsageError(
            f"`-o` binds a reply, its `parsed` or its `text`, got {args.out!r}."
            f"{did_you_mean(attribute, ('parsed', 'text'))}",
            hint=f"For example, `-o {name}.parsed`.",
        )
    if dot and (args.bg or args.map or len(args.references) > 1):
        raise UsageError(
            f"`-o {args.out}` needs a single reply, which several models, a job or a map do not"
            " have.",
            hint=f"Use `-o {name}`, which binds them all.",
        )
    has_parsed_answer = (
        args.schema or args.insert or args.output_format not in (None, "markdown", "text")
    )
    if attribute == "parsed" and not has_parsed_answer:
        raise UsageError(
            f"`-o {args.out}` needs a parsed answer.",
            hint="Add `--as json`, `code` or `frame`, or `--schema NAME`.",
        )
    return ReplyTarget(name, attribute)


def _check_variable(name: str, namespace: Mapping[str, object]) -> None:
    """Check that a name is valid, and is not needed by Python, IPython or other cells."""
    # Binding a built-in such as `list` would break later cells.
    is_reserved = keyword.iskeyword(name) or name in _IPYTHON_NAMES or hasattr(builtins, name)
    is_reserved = is_reserved or _HISTORY_NAME.fullmatch(name) is not None
    if is_reserved or not name.isidentifier():
        raise UsageError(
            f"{shorten(name, _MAX_NAME_LENGTH)!r} is not a valid variable name, or is reserved by"
            " Python or IPython.",
            hint="For example, `-o answer`.",
        )
    value = namespace.get(name)
    type_name = "module" if inspect.ismodule(value) else "class" if inspect.isclass(value) else ""
    type_name = type_name or ("function" if inspect.isroutine(value) else "")
    if type_name:
        raise UsageError(
            f"`-o {name}` would overwrite the {type_name} {name!r} of this notebook.",
            hint=f"Use another name, for example `-o {name}_answer`.",
        )
