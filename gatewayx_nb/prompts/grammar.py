"""The grammar of ``{{name}}``: the syntax of a field and the lookup of its value."""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gatewayx_nb.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

# The whole grammar; it contains no other Python. Text that does not match stays literal, so that
# JSON (`{{"a": 1}}`), JSX (`style={{color: "red"}}`), LaTeX and Jinja's blocks and calls pass. For
# the same reason a format specification does not begin with a space or a quote.
_NAME = rf"(?!(?:{'|'.join(keyword.kwlist)})\b)[^\W\d]\w*"
_STEP = rf"""
    \. (?P<attribute>{_NAME})
  | \[ (?P<index>-?[0-9]{{1,18}}) \]
  | \[ (?P<quote>["']) (?P<key>(?:(?!(?P=quote))[^\\\n])*) (?P=quote) \]
"""
_FIELD = re.compile(
    rf"""\{{\{{ [ ]* (?P<root>{_NAME}) (?P<path>(?:{_STEP})*)
         (?: : (?P<spec>(?![\s"'])[^{{}}\n]*?) )? [ ]* \}}\}}""",
    re.VERBOSE,
)
_STEPS = re.compile(_STEP, re.VERBOSE)


@dataclass(frozen=True, slots=True)
class _Step:
    """One ``.attribute`` or ``["key"]`` of a field.

    Attributes:
        owner: The field's source text before this step.
        spelt: The field's source text including this step.
        key: The attribute name, the key or the index.
        is_attribute: Whether it is an attribute.
    """

    owner: str
    spelt: str
    key: str | int
    is_attribute: bool


def substitute(
    template: str,
    lookup: Mapping[str, object],
    forbidden: tuple[type, ...],
    write: Callable[[str, object, str], str],
) -> str:
    """Replace each field by the result of ``write`` for its name, value and format specification.

    All in one pass: values are never scanned for fields.

    Raises:
        UsageError: If a name, attribute or key does not exist, is private or of a forbidden type.
    """

    def written(field: re.Match[str]) -> str:
        value = _value(field, lookup, forbidden)
        return write(field["root"] + field["path"], value, field["spec"] or "")

    return _FIELD.sub(written, template)


def take(expression: str, lookup: Mapping[str, object], forbidden: tuple[type, ...] = ()) -> object:
    """Return the value of ``name``, ``obj.attr`` or ``d["k"]``, as in a field.

    Raises:
        UsageError: If it is not such an expression, or its value cannot be used.
    """
    field = _FIELD.fullmatch(f"{{{{{expression}}}}}")
    if field is None or field["spec"] is not None:
        raise UsageError(
            f"{expression!r} names no value of the notebook.",
            hint="Give a name, as in `city`, `obj.city` or `d['city']`.",
        )
    return _value(field, lookup, forbidden)


def is_named(expression: str, lookup: Mapping[str, object]) -> bool:
    """Return whether an expression begins with a name of the notebook."""
    field = _FIELD.fullmatch(f"{{{{{expression}}}}}")
    return field is not None and field["spec"] is None and field["root"] in lookup


def _value(
    field: re.Match[str], lookup: Mapping[str, object], forbidden: tuple[type, ...]
) -> object:
    """Follow the path from its root; no value on it may be of a forbidden type."""
    value = _root(field["root"], lookup)
    refuse(field["root"], value, forbidden)
    for step in _steps(field):
        value = _follow(step, value)
        refuse(step.spelt, value, forbidden)
    return value


def _root(name: str, lookup: Mapping[str, object]) -> object:
    # `_`, `__` and `___` are IPython's last outputs, `_i` and `_12` its history.
    if name.strip("_") and name.startswith("__") and name.endswith("__"):
        raise _private(name)
    try:
        return lookup[name]
    except KeyError:
        raise UsageError(
            f"The prompt names '{name}', which is not defined.{did_you_mean(name, lookup)}",
            hint=f'Run in a cell above: {name} = "..."',
        ) from None


def _steps(field: re.Match[str]) -> Iterator[_Step]:
    for step in _STEPS.finditer(field["path"]):
        owner = field["root"] + field["path"][: step.start()]
        index, attribute = step["index"], step["attribute"]
        key = int(index) if index else attribute or step["key"]
        yield _Step(owner, owner + step[0], key, is_attribute=attribute is not None)


def _follow(step: _Step, owner: Any) -> object:  # noqa: ANN401 - any notebook value
    """Return an attribute or item; the owner's own code runs and may raise anything."""
    if step.is_attribute and str(step.key).startswith("_"):
        raise _private(step.spelt)
    try:
        return getattr(owner, str(step.key)) if step.is_attribute else owner[step.key]
    except (AttributeError, LookupError) as error:
        raise _missing(step, owner) from error
    except Exception as error:
        raise UsageError(
            f"The prompt's '{step.spelt}' can not be taken: {type(error).__name__}.",
            hint=f"See it with: {step.spelt}",
        ) from error


def _missing(step: _Step, owner: Any) -> UsageError:  # noqa: ANN401 - any notebook value
    kind, look = ("attribute", "dir") if step.is_attribute else ("key", "list")
    known = dir(owner) if step.is_attribute else list(getattr(owner, "keys", tuple)())
    hint = did_you_mean(str(step.key), [name for name in known if isinstance(name, str)])
    return UsageError(
        f"The prompt names '{step.spelt}', but '{step.owner}' has no {kind} {step.key!r}.{hint}",
        hint=f"See what it has with: {look}({step.owner})",
    )


def refuse(name: str, value: object, forbidden: tuple[type, ...]) -> None:
    """Refuse a value of a forbidden type.

    Raises:
        UsageError: If its type is forbidden.
    """
    if isinstance(value, forbidden):
        raise UsageError(
            f"The prompt names '{name}', which is a {type(value).__name__}: it is never sent.",
            hint=f"Take {{{{{name}}}}} out of the prompt.",
        )


def _private(name: str) -> UsageError:
    return UsageError(
        f"The prompt names '{name}', which is private.",
        hint=f"Give it a name of its own in a cell above: value = {name}",
    )
