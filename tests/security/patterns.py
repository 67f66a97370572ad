"""Every regular expression of the package, and text made from its parts to slow it down."""

import ast
import importlib
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from re import _constants as codes
from re import _parser as parser

import gatewayx_nb

_PACKAGE = Path(gatewayx_nb.__file__).parent
_FUNCTIONS = {
    "compile",
    "search",
    "match",
    "fullmatch",
    "split",
    "findall",
    "finditer",
    "sub",
    "subn",
}
_METHODS = _FUNCTIONS - {"compile"}

LOCAL_NAMES = {
    "name": "top_p",
    "provider_name": "top_p",
    "variants": ("/home/me/project", "me"),
    "form": "sk-0123456789abcdef",
    "source": "[a-z]",  # a pattern from outside; see tests/test_bounded_patterns.py
    "pattern": "[a-z]",  # the caller's own pattern, for `gx.scorers.matches`
    "alternatives": "sk-0123456789|sk-012345",
}
"""Values of the local variables in patterns that are built in a function."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A regular expression of the package.

    Attributes:
        module: The name of the module, without that of the package.
        name: The variable that it is assigned to, or its source.
        compiled: The expression.
        methods: The methods that the package calls.
    """

    module: str
    name: str
    compiled: re.Pattern
    methods: tuple[str, ...]

    @property
    def place(self):
        """The module and the name."""
        return f"{self.module}:{self.name}"


def all_patterns() -> Iterator[Pattern]:
    """Yield each pattern that a source file contains.

    Raises:
        NameError: If a pattern has a variable that `LOCAL_NAMES` lacks.
    """
    trees = dict(_sources())
    calls = {path: list(_method_calls(tree)) for path, tree in trees.items()}
    everywhere = list(itertools.chain.from_iterable(calls.values()))
    for path, tree in trees.items():
        if not any(map(_is_re_call, ast.walk(tree))):
            continue
        # An engine file is loaded by its path, and has patterns without variables.
        is_engine = path.parent.name == "engines"
        variables = {"re": re} if is_engine else vars(importlib.import_module(_module(path)))
        names = {
            id(node.value): ast.unparse(node.targets[0])
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign)
        }
        for call in ast.walk(tree):
            if not _is_re_call(call):
                continue
            name = names.get(id(call), "")
            compiled = _compiled(call, variables)
            if call.func.attr != "compile":
                methods = {call.func.attr}
            else:
                uses = calls[path] if name.startswith("_") else everywhere
                methods = {method for used, method in uses if used == name}
            yield Pattern(
                _module(path).removeprefix("gatewayx_nb."),
                name or ast.unparse(call.args[0]),
                compiled,
                tuple(sorted(methods or {"search", "findall", "fullmatch"})),
            )


def _sources():
    for path in sorted({*_PACKAGE.rglob("*.py"), *(_PACKAGE.parent / "engines").glob("*.py")}):
        yield path, ast.parse(path.read_text("utf-8"))


def _module(path):
    parts = path.relative_to(_PACKAGE.parent).with_suffix("").parts
    parts = parts[:-1] if parts[-1] == "__init__" else parts
    return ".".join(parts if parts[0] == "gatewayx_nb" else ("gatewayx_nb", *parts))


def _is_re_call(node):
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "re"
        and node.func.attr in _FUNCTIONS
    )


def _compiled(call, variables):
    def value(node):
        expression = compile(ast.Expression(node), "<pattern>", "eval")
        return eval(expression, {**LOCAL_NAMES, **variables})

    flags = [each.value for each in call.keywords if each.arg == "flags"]
    position = {"compile": 1, "split": 3, "sub": 4, "subn": 4}.get(call.func.attr, 2)
    flags += call.args[position : position + 1]
    return re.compile(value(call.args[0]), value(flags[0]) if flags else 0)


def _method_calls(tree):
    """Yield each name and the method of a pattern that is called, or passed on, of it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in _METHODS:
            owner = node.value
            if isinstance(owner, ast.Name | ast.Attribute):
                yield getattr(owner, "id", None) or owner.attr, node.attr


_SAMPLES = "a0 _-A.\n\"'!/\\<{|é\0"
_CATEGORIES = {
    codes.CATEGORY_DIGIT: "0",
    codes.CATEGORY_SPACE: " ",
    codes.CATEGORY_WORD: "a",
    codes.CATEGORY_NOT_DIGIT: "a",
    codes.CATEGORY_NOT_SPACE: "a",
    codes.CATEGORY_NOT_WORD: " ",
}
_REPEATS = (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT)
_LONGEST_MINIMUM = 64


def fragments(pattern: re.Pattern) -> list:
    """Return texts from the parts of a pattern: beginnings, repeated parts, characters."""
    tree = parser.parse(pattern.pattern, pattern.flags & ~re.DEBUG)
    found = dict.fromkeys(
        text for variant in range(3) for text in _parts(list(tree), variant) if text
    )
    if isinstance(pattern.pattern, bytes):
        return [text.encode("latin-1", "replace") for text in found]
    return list(found)


def _parts(items, variant):
    """Yield a text for every beginning of a sequence, and for each of its parts, inside first."""
    for item in items:
        for inner in _bodies(item):
            yield from _parts(list(inner), variant)
            yield _text(inner, variant)
    beginning = ""
    for item in items:
        beginning += _text([item], variant)
        yield beginning
        yield _text([item], variant)


def _bodies(item):
    operation, value = item
    if operation in _REPEATS:
        yield value[2]
    elif operation is codes.SUBPATTERN:
        yield value[3]
    elif operation is codes.ATOMIC_GROUP:
        yield value
    elif operation is codes.BRANCH:
        yield from value[1]
    elif operation in (codes.ASSERT, codes.ASSERT_NOT):
        yield value[1]
    elif operation is codes.GROUPREF_EXISTS:
        yield from (body for body in value[1:] if body)


def _text(items, variant):
    """Return a text that a sequence matches; variants choose other branches and characters."""
    return "".join(_item_text(operation, value, variant) for operation, value in items)


def _item_text(operation, value, variant):
    if operation is codes.BRANCH:
        return _text(value[1][variant % len(value[1])], variant)
    write = _WRITERS.get(operation)
    return write(value, variant) if write else ""  # an assertion, or a reference to a group


def _repeated_text(value, variant):
    return _text(value[2], variant) * max(1, min(value[0], _LONGEST_MINIMUM))


def _class_text(members, variant):
    if members[0][0] is codes.NEGATE:
        allowed = [char for char in _SAMPLES if not any(_has(each, char) for each in members[1:])]
    else:
        allowed = [_first(member) for member in members]
    return allowed[variant % len(allowed)] if allowed else ""


def _has(member, char):
    operation, value = member
    if operation is codes.LITERAL:
        return ord(char) == value
    if operation is codes.RANGE:
        return value[0] <= ord(char) <= value[1]
    name = str(value).removeprefix("CATEGORY_").removeprefix("NOT_")
    test = {"DIGIT": str.isdigit, "SPACE": str.isspace}.get(
        name, lambda char: char.isalnum() or char == "_"
    )
    return test(char) is not str(value).startswith("CATEGORY_NOT_")


def _first(member):
    operation, value = member
    if operation is codes.LITERAL:
        return chr(value)
    return chr(value[0]) if operation is codes.RANGE else _CATEGORIES[value]


_WRITERS = {
    codes.LITERAL: lambda value, _: chr(value),
    codes.NOT_LITERAL: lambda value, _: next(char for char in _SAMPLES if ord(char) != value),
    codes.ANY: lambda _, variant: _SAMPLES[variant],
    codes.IN: _class_text,
    codes.SUBPATTERN: lambda value, variant: _text(value[3], variant),
    codes.ATOMIC_GROUP: _text,
    **dict.fromkeys(_REPEATS, _repeated_text),
}
