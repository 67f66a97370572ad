"""``{{name}}`` in a prompt: takes values from the notebook, once, and leaves all else as it is."""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gatewayx_nb.errors import UsageError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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


def fill(template: str, lookup: Mapping[str, object], forbidden: tuple[type, ...] = ()) -> str:
    """Replace every field by its value, in one pass: a value is never read for fields again.

    Fields are ``{{name}}``, ``{{obj.attr}}``, ``{{d["k"]}}``, ``{{Out[3]}}`` and any chain of
    these, with an optional format specification as in ``{{x:.2f}}``. Everything else is literal.

    Args:
        template: The prompt as it was typed.
        lookup: The names that a field may begin with.
        forbidden: Types whose instances must never get into a prompt, keys above all.

    Raises:
        UsageError: A name, attribute or key is not there, is private or of a forbidden type, or
            its value can not be written as text.

    >>> fill('{{n:.1f}} of {"a": {{d["k"]}}}, {n} $n', {"n": 2, "d": {"k": "{{n}}"}})
    '2.0 of {"a": {{n}}}, {n} $n'
    """
    return _FIELD.sub(lambda field: _text(field, _value(field, lookup, forbidden)), template)


def _value(
    field: re.Match[str], lookup: Mapping[str, object], forbidden: tuple[type, ...]
) -> object:
    """Walk from the root along the path; nothing on the way may be of a forbidden type."""
    value = _root(field["root"], lookup)
    _refuse(field["root"], value, forbidden)
    for step in _steps(field):
        value = _follow(step, value)
        _refuse(step.spelt, value, forbidden)
    return value


def _text(field: re.Match[str], value: object) -> str:
    """Write a value out; its own code runs, and may raise anything."""
    name, spec = field["root"] + field["path"], field["spec"] or ""
    try:
        return format(value, spec)
    except Exception as error:
        as_spec = f" as '{spec}'" if spec else ""
        raise UsageError(
            f"The prompt's '{name}' ({type(value).__name__}) can not be written{as_spec}: "
            f"{type(error).__name__}.",
            mend=f"See it with: format({name}, {spec!r})",
        ) from error


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


def _refuse(name: str, value: object, forbidden: tuple[type, ...]) -> None:
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
