"""Checks of the package's structure: size, names, imports and docstrings, from its syntax trees."""

import ast
import io
import itertools
import re
import statistics
import tokenize
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "gatewayx_nb"

_NON_CODE_TOKENS = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}

MAX_FUNCTION_LENGTH = 60
MAX_MEDIAN_LENGTH = 8
MIN_MODULE_LENGTH = 60


@dataclass(frozen=True)
class Module:
    """One source file.

    Attributes:
        path: The file.
        name: Its dotted name; the package's for an ``__init__``.
    """

    path: Path
    name: str

    @cached_property
    def text(self):
        """The source."""
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self):
        """The syntax tree."""
        return ast.parse(self.text)

    @cached_property
    def code_lines(self):
        """The numbers of the lines that hold code.

        Docstrings, imports, the lists of what is exported, comments and blank lines do not count.
        """
        left_out = {
            line
            for node in ast.walk(self.tree)
            if _is_non_code(node)
            for line in range(node.lineno, node.end_lineno + 1)
        }
        tokens = tokenize.generate_tokens(io.StringIO(self.text).readline)
        lines = {
            line
            for token in tokens
            if token.type not in _NON_CODE_TOKENS
            for line in range(token.start[0], token.end[0] + 1)
        }
        return lines - left_out

    def length(self, function):
        """Return the lines of code in the body of a function."""
        body = body_of(function)
        lines = range(body[0].lineno, body[-1].end_lineno + 1) if body else ()
        return len(self.code_lines.intersection(lines))

    @property
    def subpackage(self):
        """The first part of the name below the package."""
        return self.name.split(".")[1] if "." in self.name else ""

    @property
    def is_init(self):
        """Whether it is an ``__init__``."""
        return self.path.name == "__init__.py"

    def functions(self):
        """Yield every function and method."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node

    def imported(self):
        """Return the modules of the package that it imports, or imports names from."""
        names = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE):
                names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
            elif isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
        return names & set(MODULES)


def _modules():
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield Module(path, ".".join(parts[:-1] if parts[-1] == "__init__" else parts))


MODULES = {module.name: module for module in _modules()}


def _is_non_code(node):
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return isinstance(node.value.value, str)
    if isinstance(node, ast.Assign):
        return any(getattr(target, "id", "") == "__all__" for target in node.targets)
    return isinstance(node, ast.Import | ast.ImportFrom)


def body_of(function):
    """Return the statements of a function without its docstring."""
    has_docstring = ast.get_docstring(function) is not None
    return function.body[1:] if has_docstring else function.body


def location(module, node):
    """Return the location of a node, as ``path:line name``."""
    return f"{module.path.relative_to(ROOT)}:{node.lineno} {getattr(node, 'name', '')}"


CONTRACT = {"generate_response"}
"""Methods that are part of the documented engine interface."""


MAY_IMPORT_PACKAGE = {f"{PACKAGE}.pytest_plugin"}
"""Modules that may import the package itself: pytest loads the plugin in every project, and
importing the package takes 1 ms, the engine pool 300 ms.
"""


def is_forwarder(function):
    """Return whether a function only calls another one with its own arguments."""
    if function.decorator_list or len(body_of(function)) != 1:
        return False
    (statement,) = body_of(function)
    call = getattr(statement, "value", None)
    if isinstance(call, ast.Await):
        call = call.value
    if not isinstance(call, ast.Call) or any(
        isinstance(part, ast.Call) for part in ast.walk(call.func)
    ):
        return False
    arguments = function.args
    own = [one.arg for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    own += [one.arg for one in (arguments.vararg, arguments.kwarg) if one]
    passed = [one.value if isinstance(one, ast.Starred) else one for one in call.args]
    passed += [keyword.value for keyword in call.keywords]
    names = [one.id for one in passed if isinstance(one, ast.Name)]
    own = [name for name in own if name not in ("self", "cls")]
    return bool(own) and len(names) == len(passed) and Counter(names) == Counter(own)


def _is_protocol(node):
    return any(getattr(base, "id", "") == "Protocol" for base in node.bases)


def forwarders():
    """Yield functions that only forward, except overrides, protocol methods and the public API."""
    for module in MODULES.values():
        skipped = {
            function
            for node in ast.walk(module.tree)
            if isinstance(node, ast.ClassDef) and _is_protocol(node)
            for function in ast.walk(node)
        }
        for function in module.functions():
            if function.name in CONTRACT or function in skipped:
                continue
            if is_forwarder(function):
                yield location(module, function)


def duplicate_classes():
    """Return the class names that are defined more than once."""
    locations = defaultdict(list)
    for module in MODULES.values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef):
                locations[node.name].append(location(module, node))
    return [f"{name}: {', '.join(found)}" for name, found in locations.items() if len(found) > 1]


def small_single_use_modules():
    """Yield small modules that only one other module imports."""
    importers = defaultdict(set)
    for module in MODULES.values():
        for name in module.imported():
            own_init = module.is_init and name.startswith(f"{module.name}.")
            if name != module.name and not own_init:
                importers[name].add(module.name)
    for module in MODULES.values():
        length = module.text.count("\n")
        if module.is_init or module.subpackage == "commands" or length >= MIN_MODULE_LENGTH:
            continue
        if len(importers[module.name]) == 1:
            yield f"{module.path.relative_to(ROOT)} ({length} lines): {importers[module.name]}"


def shared_basenames():
    """Return the module names that occur in two subpackages."""
    subpackages = defaultdict(set)
    for module in MODULES.values():
        if not module.is_init:
            subpackages[module.path.stem].add(
                module.subpackage if module.name.count(".") > 1 else ""
            )
    return {name: found for name, found in subpackages.items() if len(found) > 1}


def weak_docstrings():
    """Yield functions whose docstrings begin with an unconventional verb."""
    for module in MODULES.values():
        for function in module.functions():
            if (ast.get_docstring(function) or "").startswith(("Give", "Tell", "Let ", "Hand ")):
                yield location(module, function)


def stale_docstrings():
    """Yield functions and classes whose docstrings describe names that they do not have."""
    for module in MODULES.values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                names = {one.arg for one in ast.walk(node.args) if isinstance(one, ast.arg)}
                unknown = _described(node, "Args") - names
            elif isinstance(node, ast.ClassDef):
                # Those of `__init__`, and the fields of a dataclass, are described in the class.
                inner = list(ast.walk(node))
                names = {one.arg for one in inner if isinstance(one, ast.arg)}
                names |= {one.id for one in inner if isinstance(one, ast.Name)}
                names |= {one.attr for one in inner if isinstance(one, ast.Attribute)}
                names |= {getattr(one, "name", "") for one in node.body}
                unknown = (_described(node, "Args") | _described(node, "Attributes")) - names
            else:
                continue
            yield from (f"{location(module, node)}: {name}" for name in sorted(unknown))


def _described(node, section):
    """Return the names that a section of a Google docstring describes."""
    docstring = ast.get_docstring(node) or ""
    _, _, text = docstring.partition(f"{section}:\n")
    lines = itertools.takewhile(lambda line: not line or line.startswith(" "), text.splitlines())
    found = (re.match(r"    \**(\w+)(?: \(.*?\))?:", line) for line in lines)
    return {one[1] for one in found if one}


def deep_imports():
    """Yield imports of another subpackage that bypass its ``__init__``."""
    for module in MODULES.values():
        if module.name in MAY_IMPORT_PACKAGE:
            continue
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ImportFrom | ast.Import):
                yield from (f"{location(module, node)}{name}" for name in _bypasses(module, node))


def _bypasses(module, node):
    """Yield the names that bypass a subpackage's ``__init__``, or come from the package."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name.split(".")[0] == PACKAGE)
        return
    parts = (node.module or "").split(".")
    if parts[0] != PACKAGE:
        return
    if len(parts) > 2 and parts[1] != module.subpackage:
        yield node.module
    if len(parts) == 1 and module.subpackage:
        names = (f"{PACKAGE}.{alias.name}" for alias in node.names)
        yield from (name for name in names if name not in MODULES)


def magic_mentions():
    """Yield lines outside `magics` that contain a magic command."""
    for module in MODULES.values():
        if module.subpackage != "magics":
            for number, line in enumerate(module.text.splitlines(), 1):
                if "%gatewayx" in line:
                    yield f"{module.path.relative_to(ROOT)}:{number} {line.strip()}"


def sizes():
    """Return the number of source lines of every function."""
    return {
        location(module, function): function.end_lineno - function.lineno + 1
        for module in MODULES.values()
        for function in module.functions()
    }


def test_no_function_only_forwards():
    """A function that only forwards its arguments to another adds nothing."""
    assert list(forwarders()) == []


def test_a_class_name_stands_for_one_class():
    """Class names are unique, so that a search finds the right class."""
    assert duplicate_classes() == []


def test_no_small_module_has_one_importer():
    """A module of fewer than 60 lines with a single importer belongs in that importer."""
    assert list(small_single_use_modules()) == []


def test_functions_are_short():
    """The median function has at most 8 lines of code, and none spans more than 60 lines."""
    lengths = [
        module.length(function) for module in MODULES.values() for function in module.functions()
    ]

    assert statistics.median(lengths) <= MAX_MEDIAN_LENGTH
    assert [place for place, length in sizes().items() if length > MAX_FUNCTION_LENGTH] == []


def test_docstrings_begin_with_a_conventional_verb():
    """A docstring begins with "Return", "Raise" or "Yield", not with "Give" or "Tell"."""
    assert list(weak_docstrings()) == []


def test_docstrings_describe_existing_names():
    """The names under "Args" and "Attributes" exist, also after one was renamed."""
    assert list(stale_docstrings()) == []


def test_subpackages_are_imported_through_init():
    """A module imports another subpackage through its ``__init__`` alone."""
    assert list(deep_imports()) == []


def test_no_module_of_the_package_is_imported_in_a_function():
    """An import inside a function hides a dependency between subpackages."""
    inside = [
        location(module, function)
        for module in MODULES.values()
        for function in module.functions()
        for node in ast.walk(function)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE)
    ]
    assert inside == []


def test_magic_commands_appear_only_in_magics():
    """Messages outside notebooks never suggest a magic command."""
    assert list(magic_mentions()) == []


SHARED_BASENAMES = {
    "cassette": "the cassette, and the command that opens one",
    "usage": "the totals of calls, and the commands that show them",
}
"""Module names that are in two subpackages, with the reason."""


def test_a_module_name_in_two_subpackages_has_a_reason():
    """Two modules with the same name are easily confused."""
    assert set(shared_basenames()) == set(SHARED_BASENAMES)


VIOLATIONS = {
    forwarders: "def ask(prompt):\n    return call(prompt)\n",
    duplicate_classes: "class Reply: ...\nclass Reply: ...\n",
    weak_docstrings: 'def ask():\n    """Give the answer."""\n',
    stale_docstrings: 'def ask(prompt):\n    """Ask.\n\n    Args:\n        text: It.\n    """\n',
    deep_imports: "from gatewayx_nb.calls.options import OPTIONS\n",
    magic_mentions: 'HINT = "%gatewayx key"\n',
}


@pytest.mark.parametrize("check", VIOLATIONS, ids=lambda check: check.__name__)
def test_each_check_finds_a_violation(check, monkeypatch):
    """Each check reports a module that breaks its rule."""
    module = Module(ROOT / PACKAGE / "secrets" / "new.py", f"{PACKAGE}.secrets.new")
    vars(module)["text"] = VIOLATIONS[check]
    monkeypatch.setitem(MODULES, module.name, module)

    assert [line for line in check() if "new.py" in line] != []


def test_a_small_module_with_one_importer_is_found(monkeypatch):
    """A small module is reported with its importer."""
    used = Module(ROOT / PACKAGE / "secrets" / "new.py", f"{PACKAGE}.secrets.new")
    vars(used)["text"] = "KEY = 1\n"
    user = Module(ROOT / PACKAGE / "secrets" / "user.py", f"{PACKAGE}.secrets.user")
    vars(user)["text"] = "from gatewayx_nb.secrets.new import KEY\n"
    for module in (used, user):
        monkeypatch.setitem(MODULES, module.name, module)

    assert [line for line in small_single_use_modules() if "new.py" in line] != []


if __name__ == "__main__":  # print the measurements, for reviewing a change
    functions = [
        module.length(function) for module in MODULES.values() for function in module.functions()
    ]
    print(f"{len(MODULES)} modules, {sum(len(one.code_lines) for one in MODULES.values())} lines")
    print(f"{len(functions)} functions, median {statistics.median(functions)} lines")
    for listed in (
        forwarders,
        duplicate_classes,
        small_single_use_modules,
        weak_docstrings,
        stale_docstrings,
        deep_imports,
    ):
        print(f"{listed.__name__}: {list(listed())}")
