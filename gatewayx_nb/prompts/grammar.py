"""The grammar of ``{{name}}``: what is a field, and the value that it names."""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gatewayx_nb.errors import UsageError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

# The whole grammar, and nothing of Python beyond it: what does not match stays literal, so that
# JSON (`{{"a": 1}}`), JSX (`style={{color: "red"}}`), LaTeX and Jinja's blocks and calls pass. That
# is why a format specification does not begin with a space or a quote.
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
        owner: How the field spells what the step is taken from.
        spelt: How it spells the outcome.
        key: The attribute's name, the key or the index.
        is_attribute: Which of them.
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
    """Replace every field by what ``write`` makes of its name, value and format specification.

    In one pass: a value is never read for fields again.

    Raises:
        UsageError: A name, attribute or key is not there, is private or of a forbidden type.
    """

    def written(field: re.Match[str]) -> str:
        value = _value(field, lookup, forbidden)
        return write(field["root"] + field["path"], value, field["spec"] or "")

    return _FIELD.sub(written, template)


def take(expression: str, lookup: Mapping[str, object], forbidden: tuple[type, ...] = ()) -> object:
    """Give the value that ``name``, ``obj.attr`` or ``d["k"]`` names, as a field would.

    Raises:
        UsageError: It is no such expression, or its value cannot be taken.
    """
    field = _FIELD.fullmatch(f"{{{{{expression}}}}}")
    if field is None or field["spec"] is not None:
        raise UsageError(
            f"{expression!r} names no value of the notebook.",
            mend="Give a name, as in `city`, `obj.city` or `d['city']`.",
        )
    return _value(field, lookup, forbidden)


def is_named(expression: str, lookup: Mapping[str, object]) -> bool:
    """Tell whether an expression begins with a name of the notebook."""
    field = _FIELD.fullmatch(f"{{{{{expression}}}}}")
    return field is not None and field["spec"] is None and field["root"] in lookup


def _value(
    field: re.Match[str], lookup: Mapping[str, object], forbidden: tuple[type, ...]
) -> object:
    """Walk from the root along the path; nothing on the way may be of a forbidden type."""
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
            f"The prompt names '{name}', which is not defined.{nearest(name, lookup)}",
            mend=f'Run in a cell above: {name} = "..."',
        ) from None


def _steps(field: re.Match[str]) -> Iterator[_Step]:
    for step in _STEPS.finditer(field["path"]):
        owner = field["root"] + field["path"][: step.start()]
        index, attribute = step["index"], step["attribute"]
        key = int(index) if index else attribute or step["key"]
        yield _Step(owner, owner + step[0], key, is_attribute=attribute is not None)


def _follow(step: _Step, owner: Any) -> object:  # noqa: ANN401 - whatever the notebook holds
    """Take an attribute or an item; the owner's own code runs, and may raise anything."""
    if step.is_attribute and str(step.key).startswith("_"):
        raise _private(step.spelt)
    try:
        return getattr(owner, str(step.key)) if step.is_attribute else owner[step.key]
    except (AttributeError, LookupError) as error:
        raise _missing(step, owner) from error
    except Exception as error:
        raise UsageError(
            f"The prompt's '{step.spelt}' can not be taken: {type(error).__name__}.",
            mend=f"See it with: {step.spelt}",
        ) from error


def _missing(step: _Step, owner: Any) -> UsageError:  # noqa: ANN401 - likewise
    kind, look = ("attribute", "dir") if step.is_attribute else ("key", "list")
    known = dir(owner) if step.is_attribute else list(getattr(owner, "keys", tuple)())
    hint = nearest(str(step.key), [name for name in known if isinstance(name, str)])
    return UsageError(
        f"The prompt names '{step.spelt}', but '{step.owner}' has no {kind} {step.key!r}.{hint}",
        mend=f"See what it has with: {look}({step.owner})",
    )


def refuse(name: str, value: object, forbidden: tuple[type, ...]) -> None:
    """Refuse a value of a forbidden type.

    Raises:
        UsageError: It is of one.
    """
    if isinstance(value, forbidden):
        raise UsageError(
            f"The prompt names '{name}', which is a {type(value).__name__}: it is never sent.",
            mend=f"Take {{{{{name}}}}} out of the prompt.",
        )


def _private(name: str) -> UsageError:
    return UsageError(
        f"The prompt names '{name}', which is private.",
        mend=f"Give it a name of its own in a cell above: value = {name}",
    )
