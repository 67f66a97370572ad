"""Parses placeholders such as ``{{name}}``, and looks up their values."""

from __future__ import annotations

import builtins
import keyword
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gatewayx_nb.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

# This is the whole grammar; no other Python syntax is supported. Text that does not match is
# literal, including JSON (`{{"a": 1}}`), JSX (`style={{color: "red"}}`), LaTeX, and Jinja blocks
# and calls. For the same reason, a format specification must not begin with a space or a quote.
_NAME = rf"(?!(?:{'|'.join(keyword.kwlist)})\b)[^\W\d]\w*"
_ACCESS = rf"""
    \. (?P<attribute>{_NAME})
  | \[ (?P<index>-?[0-9]{{1,18}}) \]
  | \[ (?P<quote>["']) (?P<key>(?:(?!(?P=quote))[^\\\n])*) (?P=quote) \]
"""
_PLACEHOLDER = re.compile(
    rf"""\{{\{{ [ ]* (?P<root>{_NAME}) (?P<path>(?:{_ACCESS})*)
         (?: : (?P<spec>(?![\s"'])[^{{}}\n]*?) )? [ ]* \}}\}}""",
    re.VERBOSE,
)
_ACCESSES = re.compile(_ACCESS, re.VERBOSE)
_MASK_WORD = re.compile("\0\\d+\0")  # a cell is unlikely to contain a NUL


@dataclass(frozen=True, slots=True)
class _Access:
    """One ``.attribute``, ``["key"]`` or ``[0]`` in a placeholder.

    Attributes:
        owner: The placeholder's source text before this access.
        path: The placeholder's source text including this access.
        key: The attribute name, the key or the index.
        is_attribute: Whether the access is an attribute.
    """

    owner: str
    path: str
    key: str | int
    is_attribute: bool


@dataclass(frozen=True, slots=True)
class Placeholder:
    """A placeholder in a template.

    Attributes:
        root: The name at the beginning of the placeholder.
        path: The attributes and items after the name, as typed.
        spec: The format specification; empty if there is none.
    """

    root: str
    path: str
    spec: str
    _match: re.Match[str]

    @property
    def name(self) -> str:
        """The expression, as typed."""
        return self.root + self.path

    @property
    def first_key(self) -> str | None:
        """The key if the path begins with ``["key"]``; otherwise ``None``."""
        first_access = next(_accesses(self._match), None)
        if first_access is None or first_access.is_attribute or type(first_access.key) is not str:
            return None
        return first_access.key

    def is_item_of(self, root: str) -> bool:
        """Return whether the placeholder is exactly ``root["key"]``."""
        access_count = sum(1 for _ in _accesses(self._match))
        return self.root == root and access_count == 1 and self.first_key is not None

    def value(
        self, namespace: Mapping[str, object], forbidden_types: tuple[type, ...] = ()
    ) -> object:
        """Return the placeholder's value; see `resolve`."""
        return _resolve_path(self._match, namespace, forbidden_types)


def split_template(template: str) -> Iterator[str | Placeholder]:
    """Yield a template's literal text and placeholders, in order."""
    end = 0
    for match in _PLACEHOLDER.finditer(template):
        if match.start() > end:
            yield template[end : match.start()]
        yield Placeholder(match["root"], match["path"], match["spec"] or "", match)
        end = match.end()
    if end < len(template):
        yield template[end:]


def substitute(
    template: str,
    namespace: Mapping[str, object],
    forbidden_types: tuple[type, ...],
    write: Callable[[str, object, str], str],
) -> str:
    """Replace each placeholder with the result of ``write`` for its name, value and format spec.

    The values themselves are never scanned for placeholders.

    Raises:
        UsageError: If a name, attribute or key does not exist or is private, or if a value has a
            forbidden type.
    """

    def replacement(match: re.Match[str]) -> str:
        value = _resolve_path(match, namespace, forbidden_types)
        return write(match["root"] + match["path"], value, match["spec"] or "")

    return _PLACEHOLDER.sub(replacement, template)


def resolve(
    expression: str, namespace: Mapping[str, object], forbidden_types: tuple[type, ...] = ()
) -> object:
    """Return the value of ``name``, ``obj.attr`` or ``d["k"]``, as in a placeholder.

    Raises:
        UsageError: If the expression has another form, or its value cannot be used.
    """
    match = _PLACEHOLDER.fullmatch(f"{{{{{expression}}}}}")
    if match is None or match["spec"] is not None:
        raise UsageError(
            f"{expression!r} is not a variable, an attribute or an item.",
            hint="Use, for example, `city`, `obj.city` or `d['city']`.",
        )
    return _resolve_path(match, namespace, forbidden_types)


def mask(text: str) -> tuple[str, Callable[[str], str]]:
    """Replace each placeholder with a word that has no quotes and no spaces.

    Returns:
        The masked text, and a function that restores the placeholders in any part of that text.
    """
    placeholder_by_word: dict[str, str] = {}

    def mask_placeholder(match: re.Match[str]) -> str:
        mask_word = f"\0{len(placeholder_by_word)}\0"
        placeholder_by_word[mask_word] = match[0]
        return mask_word

    masked_text = _PLACEHOLDER.sub(mask_placeholder, text)
    return masked_text, lambda part: _MASK_WORD.sub(
        lambda match: placeholder_by_word.get(match[0], match[0]), part
    )


def only_expression(text: str) -> str | None:
    """Return the expression if the text is one placeholder without a format; otherwise ``None``.

    >>> only_expression("{{ city.name }}"), only_expression("In {{city}}")
    ('city.name', None)
    """
    match = _PLACEHOLDER.fullmatch(text.strip())
    return match["root"] + match["path"] if match and match["spec"] is None else None


def own_names(namespace: Mapping[str, object]) -> list[str]:
    """Return the names that the user has defined or imported.

    The names that IPython adds are omitted: they begin with an underscore or shadow built-ins, such
    as `open`.
    """
    return [
        name
        for name, value in namespace.items()
        if not (name.startswith("_") or name in ("In", "Out"))
        and not (hasattr(builtins, name) and callable(value))
    ]


def is_variable(expression: str, namespace: Mapping[str, object]) -> bool:
    """Return whether an expression begins with a name in the namespace."""
    match = _PLACEHOLDER.fullmatch(f"{{{{{expression}}}}}")
    return match is not None and match["spec"] is None and match["root"] in namespace


def _resolve_path(
    match: re.Match[str], namespace: Mapping[str, object], forbidden_types: tuple[type, ...]
) -> object:
    """Return the value of a placeholder, after checking each value along its path."""
    value = _root_value(match["root"], namespace)
    # Each value is checked, because an attribute of a forbidden value may reveal that value.
    refuse(match["root"], value, forbidden_types)
    for access in _accesses(match):
        value = _follow(access, value)
        refuse(access.path, value, forbidden_types)
    return value


def _root_value(name: str, namespace: Mapping[str, object]) -> object:
    # Names such as `_`, `__`, `_i` and `_12`, with which IPython keeps its history, are allowed.
    if name.strip("_") and name.startswith("__") and name.endswith("__"):
        raise _private_error(name)
    try:
        return namespace[name]
    except KeyError:
        raise UsageError(
            f"the prompt refers to '{name}', which is not defined."
            f"{did_you_mean(name, own_names(namespace))}",
            hint=f'Define it first: {name} = "..."',
            topic="literal-braces",
        ) from None


def _accesses(placeholder_match: re.Match[str]) -> Iterator[_Access]:
    for access in _ACCESSES.finditer(placeholder_match["path"]):
        owner = placeholder_match["root"] + placeholder_match["path"][: access.start()]
        index, attribute = access["index"], access["attribute"]
        key = int(index) if index else attribute or access["key"]
        yield _Access(owner, owner + access[0], key, is_attribute=attribute is not None)


def _follow(access: _Access, owner: Any) -> object:  # noqa: ANN401 - any notebook value
    """Return an attribute or item; this runs the owner's own code, which may raise anything."""
    if access.is_attribute and str(access.key).startswith("_"):
        raise _private_error(access.path)
    try:
        return getattr(owner, str(access.key)) if access.is_attribute else owner[access.key]
    except (AttributeError, LookupError) as error:
        raise _missing_error(access, owner) from error
    except Exception as error:
        raise UsageError(
            f"'{access.path}' in the prompt cannot be evaluated: {type(error).__name__}.",
            hint=f"Reproduce the error with: {access.path}",
        ) from error


def _missing_error(access: _Access, owner: Any) -> UsageError:  # noqa: ANN401 - any notebook value
    noun, function = ("attribute", "dir") if access.is_attribute else ("key", "list")
    known_names = dir(owner) if access.is_attribute else list(getattr(owner, "keys", tuple)())
    hint = did_you_mean(str(access.key), [name for name in known_names if isinstance(name, str)])
    return UsageError(
        f"the prompt refers to '{access.path}', but '{access.owner}' has no {noun} {access.key!r}."
        f"{hint}",
        hint=f"To see what it has, run: {function}({access.owner})",
    )


def refuse(name: str, value: object, forbidden_types: tuple[type, ...]) -> None:
    """Check that a value does not have a forbidden type.

    Raises:
        UsageError: If the value has a forbidden type.
    """
    if isinstance(value, forbidden_types):
        raise UsageError(
            f"the prompt refers to '{name}', which is a {type(value).__name__} and is never sent.",
            hint=f"Remove {{{{{name}}}}} from the prompt.",
        )


def _private_error(name: str) -> UsageError:
    return UsageError(
        f"the prompt refers to '{name}', which is private.",
        hint=f"Assign it to a public name first: value = {name}",
    )
