"""Evaluates the type in ``--schema``, such as ``list[City]``, without calling any function."""

from __future__ import annotations

import ast
import operator
from typing import TYPE_CHECKING, Any, Literal

from gatewayx_nb import prompts
from gatewayx_nb.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

_BUILTINS: Mapping[str, object] = {
    **{
        builtin.__name__: builtin
        for builtin in (bool, dict, float, frozenset, int, list, set, str, tuple)
    },
    "Literal": Literal,
}
"""Names that need no definition in the notebook."""


def schema_names(namespace: Mapping[str, object]) -> list[str]:
    """Return the names of a notebook's classes and dicts."""
    names = prompts.own_names(namespace)
    return [name for name in names if isinstance(namespace[name], type | dict)]


def evaluate(
    expression: str, namespace: Mapping[str, object], forbidden_types: tuple[type, ...] = ()
) -> object:
    """Return the type denoted by an expression of names, attributes, ``[…]``, ``|`` and literals.

    Raises:
        UsageError: If the expression contains anything else, or a name is undefined.
    """
    try:
        tree = ast.parse(expression.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise _invalid_error(expression) from None
    return _Evaluation(expression, namespace, forbidden_types).evaluate(tree.body)


class _Evaluation:
    def __init__(
        self, expression: str, namespace: Mapping[str, object], forbidden_types: tuple[type, ...]
    ) -> None:
        self._expression = expression
        self._namespace, self._names = namespace, {**_BUILTINS, **namespace}
        self._forbidden_types = forbidden_types

    def evaluate(self, node: ast.expr) -> Any:  # noqa: ANN401 - any notebook value
        match node:
            case ast.Constant(value=literal):
                return literal
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
                return -number
            case ast.Name(id=name) if name not in self._names and not name.startswith("_"):
                raise UsageError(
                    f"`--schema` refers to {name!r}, which is not defined in this notebook."
                    f"{did_you_mean(name, schema_names(self._namespace))}",
                    hint="Define a class or a dict with the fields of the answer in a cell above.",
                )
            case ast.Name() | ast.Attribute():
                return prompts.resolve(ast.unparse(node), self._names, self._forbidden_types)
            case ast.Tuple(elts=items) | ast.List(elts=items):
                return tuple(map(self.evaluate, items))
            case ast.BinOp(left=left, op=ast.BitOr(), right=right):
                return self._apply(operator.or_, self.evaluate(left), self.evaluate(right))
            case ast.Subscript(value=owner, slice=index):
                return self._apply(operator.getitem, self.evaluate(owner), self.evaluate(index))
        raise _invalid_error(self._expression)

    def _apply(self, function: Any, left: object, right: object) -> object:  # noqa: ANN401
        """Apply an operator, which may run the notebook's own code and so raise any exception."""
        try:
            value = function(left, right)
        except Exception as error:
            raise UsageError(
                f"{self._expression!r} cannot be evaluated: {type(error).__name__}: {error}.",
                hint="For example, `list[City]` or `City | None`.",
            ) from error
        prompts.refuse(self._expression, value, self._forbidden_types)
        return value


def _invalid_error(expression: str) -> UsageError:
    return UsageError(
        f"{expression!r} must consist of names, attributes, `[…]`, `|` and literals.",
        hint="For example, `City`, `list[City]` or `City | None`.",
    )
