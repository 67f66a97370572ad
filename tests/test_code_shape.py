"""Checks of the package's source code: sizes, names, imports and docstrings."""

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
MAX_FACADE_LENGTH = 200
MAX_MEDIAN_LENGTH = 8
MIN_MODULE_LENGTH = 60


@dataclass(frozen=True)
class Module:
    """A source file of the package.

    Attributes:
        path: The file.
        name: The dotted name; that of the package for an ``__init__``.
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
        """The numbers of the lines with code.

        Docstrings, imports, ``__all__``, comments and blank lines do not count.
        """
        ignored_lines = {
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
        return lines - ignored_lines

    def count_code_lines(self, function):
        """Return the lines of code in the body of a function."""
        body = body_without_docstring(function)
        lines = range(body[0].lineno, body[-1].end_lineno + 1) if body else ()
        return len(self.code_lines.intersection(lines))

    @property
    def subpackage(self):
        """The first part of the name below the package."""
        return self.name.split(".")[1] if "." in self.name else ""

    @property
    def is_init(self):
        """Whether the module is an ``__init__``."""
        return self.path.name == "__init__.py"

    def functions(self):
        """Yield every function and method."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node

    def imported_modules(self):
        """Return the names of the package's modules that this module imports."""
        names = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE):
                names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
            elif isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
        return names & set(MODULES)


def _modules():
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        name_parts = path.relative_to(ROOT).with_suffix("").parts
        yield Module(
            path, ".".join(name_parts[:-1] if name_parts[-1] == "__init__" else name_parts)
        )


MODULES = {module.name: module for module in _modules()}


def _is_non_code(node):
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return isinstance(node.value.value, str)
    if isinstance(node, ast.Assign):
        return any(getattr(target, "id", "") == "__all__" for target in node.targets)
    return isinstance(node, ast.Import | ast.ImportFrom)


def body_without_docstring(function):
    """Return the statements of a function without its docstring."""
    has_docstring = ast.get_docstring(function) is not None
    return function.body[1:] if has_docstring else function.body


def format_location(module, node):
    """Return the location of a node in the form ``path:line name``."""
    return f"{module.path.relative_to(ROOT)}:{node.lineno} {getattr(node, 'name', '')}"


INTERFACE_METHODS = {"generate_response"}
"""Methods that are part of the documented engine interface."""


MAY_IMPORT_PACKAGE = {f"{PACKAGE}.pytest_plugin"}
"""Modules that may import the package itself, instead of a subpackage.

Pytest loads the plugin in every project, so it must not import the engine pool, which takes 300 ms.
"""


def is_forwarder(function):
    """Return whether a function only calls another function with its own arguments."""
    if function.decorator_list or len(body_without_docstring(function)) != 1:
        return False
    (statement,) = body_without_docstring(function)
    call = getattr(statement, "value", None)
    if isinstance(call, ast.Await):
        call = call.value
    if not isinstance(call, ast.Call) or any(
        isinstance(node, ast.Call) for node in ast.walk(call.func)
    ):
        return False
    arguments = function.args
    parameters = [
        argument.arg
        for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    ]
    parameters += [argument.arg for argument in (arguments.vararg, arguments.kwarg) if argument]
    values = [
        argument.value if isinstance(argument, ast.Starred) else argument for argument in call.args
    ]
    values += [keyword.value for keyword in call.keywords]
    names = [argument.id for argument in values if isinstance(argument, ast.Name)]
    parameters = [name for name in parameters if name not in ("self", "cls")]
    return bool(parameters) and len(names) == len(values) and Counter(names) == Counter(parameters)


def _is_protocol(node):
    return any(getattr(base, "id", "") == "Protocol" for base in node.bases)


def find_forwarders():
    """Yield forwarders that are neither protocol methods nor part of the engine interface."""
    for module in MODULES.values():
        protocol_methods = {
            function
            for node in ast.walk(module.tree)
            if isinstance(node, ast.ClassDef) and _is_protocol(node)
            for function in ast.walk(node)
        }
        for function in module.functions():
            if function.name in INTERFACE_METHODS or function in protocol_methods:
                continue
            if is_forwarder(function):
                yield format_location(module, function)


def find_duplicate_classes():
    """Return the class names that are defined more than once."""
    locations = defaultdict(list)
    for module in MODULES.values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef):
                locations[node.name].append(format_location(module, node))
    return [f"{name}: {', '.join(places)}" for name, places in locations.items() if len(places) > 1]


def find_small_single_use_modules():
    """Yield small modules that only one other module imports."""
    importers = defaultdict(set)
    for module in MODULES.values():
        for name in module.imported_modules():
            is_own_init = module.is_init and name.startswith(f"{module.name}.")
            if name != module.name and not is_own_init:
                importers[name].add(module.name)
    for module in MODULES.values():
        line_count = module.text.count("\n")
        if module.is_init or module.subpackage == "commands" or line_count >= MIN_MODULE_LENGTH:
            continue
        if len(importers[module.name]) == 1:
            yield f"{module.path.relative_to(ROOT)} ({line_count} lines): {importers[module.name]}"


def find_shared_basenames():
    """Return the module names that occur in two subpackages."""
    subpackages = defaultdict(set)
    for module in MODULES.values():
        if not module.is_init:
            subpackages[module.path.stem].add(
                module.subpackage if module.name.count(".") > 1 else ""
            )
    return {name for name, places in subpackages.items() if len(places) > 1}


def find_weak_docstrings():
    """Yield functions whose docstrings begin with an unconventional verb."""
    for module in MODULES.values():
        for function in module.functions():
            if (ast.get_docstring(function) or "").startswith(("Give", "Tell", "Let ", "Hand ")):
                yield format_location(module, function)


def find_stale_docstrings():
    """Yield functions and classes whose docstrings describe names that they do not have."""
    for module in MODULES.values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                names = {
                    inner_node.arg
                    for inner_node in ast.walk(node.args)
                    if isinstance(inner_node, ast.arg)
                }
                unknown = _described_names(node, "Args") - names
            elif isinstance(node, ast.ClassDef):
                # The docstring of a class describes the arguments of `__init__` and the attributes.
                inner_nodes = list(ast.walk(node))
                names = {
                    inner_node.arg for inner_node in inner_nodes if isinstance(inner_node, ast.arg)
                }
                names |= {
                    inner_node.id for inner_node in inner_nodes if isinstance(inner_node, ast.Name)
                }
                names |= {
                    inner_node.attr
                    for inner_node in inner_nodes
                    if isinstance(inner_node, ast.Attribute)
                }
                names |= {getattr(inner_node, "name", "") for inner_node in node.body}
                unknown = (
                    _described_names(node, "Args") | _described_names(node, "Attributes")
                ) - names
            else:
                continue
            yield from (f"{format_location(module, node)}: {name}" for name in sorted(unknown))


def _described_names(node, section):
    """Return the names that a section of a Google docstring describes."""
    docstring = ast.get_docstring(node) or ""
    _, _, text = docstring.partition(f"{section}:\n")
    lines = itertools.takewhile(lambda line: not line or line.startswith(" "), text.splitlines())
    matches = (re.match(r"    \**(\w+)(?: \(.*?\))?:", line) for line in lines)
    return {match[1] for match in matches if match}


def find_deep_imports():
    """Yield imports of another subpackage that bypass its ``__init__``."""
    for module in MODULES.values():
        if module.name in MAY_IMPORT_PACKAGE:
            continue
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ImportFrom | ast.Import):
                yield from (
                    f"{format_location(module, node)}{name}"
                    for name in _find_bypasses(module, node)
                )


def _find_bypasses(module, node):
    """Yield the names in an import that bypass a subpackage's ``__init__``."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name.split(".")[0] == PACKAGE)
        return
    name_parts = (node.module or "").split(".")
    if name_parts[0] != PACKAGE:
        return
    if len(name_parts) > 2 and name_parts[1] != module.subpackage:
        yield node.module
    if len(name_parts) == 1 and module.subpackage:
        names = (f"{PACKAGE}.{alias.name}" for alias in node.names)
        yield from (name for name in names if name not in MODULES)


def find_magic_mentions():
    """Yield lines outside `magics` that contain a magic command."""
    for module in MODULES.values():
        if module.subpackage != "magics":
            for number, line in enumerate(module.text.splitlines(), 1):
                if "%gatewayx" in line:
                    yield f"{module.path.relative_to(ROOT)}:{number} {line.strip()}"


def line_counts():
    """Return the number of source lines of every function."""
    return {
        format_location(module, function): function.end_lineno - function.lineno + 1
        for module in MODULES.values()
        for function in module.functions()
    }


def test_no_function_only_forwards_its_arguments():
    """No function only forwards its arguments to another, because callers can call that one."""
    assert list(find_forwarders()) == []


def test_class_names_are_unique():
    """Each class name is defined once, so that a search finds the right class."""
    assert find_duplicate_classes() == []


def test_no_small_module_has_one_importer():
    """A module of fewer than 60 lines belongs in its importer if it has only one."""
    assert list(find_small_single_use_modules()) == []


def test_functions_are_short():
    """The median function has at most 8 lines of code, and none spans more than 60 lines."""
    lengths = [
        module.count_code_lines(function)
        for module in MODULES.values()
        for function in module.functions()
    ]

    assert statistics.median(lengths) <= MAX_MEDIAN_LENGTH
    assert [
        location
        for location, line_count in line_counts().items()
        if line_count > MAX_FUNCTION_LENGTH
    ] == []


def test_the_pool_is_a_facade():
    """The pool only connects its parts, so its module is short."""
    facade = next(
        module
        for module in MODULES.values()
        if module.path.parts[-2:] == ("engine_pool", "facade.py")
    )
    assert len(facade.code_lines) < MAX_FACADE_LENGTH


def test_docstrings_begin_with_a_conventional_verb():
    """A docstring begins with "Return", "Raise" or "Yield", not with "Give" or "Tell"."""
    assert list(find_weak_docstrings()) == []


def test_docstrings_describe_existing_names():
    """The names under "Args" and "Attributes" in a docstring exist in the code."""
    assert list(find_stale_docstrings()) == []


def test_subpackages_are_imported_through_init():
    """A module imports another subpackage only through its ``__init__``."""
    assert list(find_deep_imports()) == []


def test_functions_import_no_modules_of_the_package():
    """No function imports a module of the package, which would hide a dependency."""
    locations = [
        format_location(module, function)
        for module in MODULES.values()
        for function in module.functions()
        for node in ast.walk(function)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE)
    ]
    assert locations == []


def test_magic_commands_appear_only_in_magics():
    """Only `magics` contains magic commands, because other code may run outside of a notebook."""
    assert list(find_magic_mentions()) == []


SHARED_BASENAMES = {
    "__main__": "`python -m` of the package, and of its cassettes",
    "wording": "the wording of hints in a notebook, and in a shell",
    "cassette": "the cassette, and the command that opens one",
    "usage": "the totals of calls, and the commands that show them",
}
"""Module names that occur in two subpackages, and what each of the two modules contains."""


def test_a_module_name_in_two_subpackages_has_a_reason():
    """Each module name that occurs in two subpackages is listed in `SHARED_BASENAMES`."""
    assert find_shared_basenames() == set(SHARED_BASENAMES)


VIOLATIONS = {
    find_forwarders: "def ask(prompt):\n    return call(prompt)\n",
    find_duplicate_classes: "class Reply: ...\nclass Reply: ...\n",
    find_weak_docstrings: 'def ask():\n    """Give the answer."""\n',
    find_stale_docstrings: 'def f(prompt):\n    """Ask.\n\n    Args:\n        text: It.\n    """\n',
    find_deep_imports: "from gatewayx_nb.calls.options import OPTIONS\n",
    find_magic_mentions: 'HINT = "%gatewayx key"\n',
}


@pytest.mark.parametrize("check", VIOLATIONS, ids=lambda check: check.__name__)
def test_each_check_finds_a_violation(check, monkeypatch):
    """Each check reports a module that violates its rule."""
    module = Module(ROOT / PACKAGE / "secrets" / "new.py", f"{PACKAGE}.secrets.new")
    vars(module)["text"] = VIOLATIONS[check]
    monkeypatch.setitem(MODULES, module.name, module)

    assert [line for line in check() if "new.py" in line] != []


def test_a_small_module_with_one_importer_is_found(monkeypatch):
    """A small module that a single module imports is reported."""
    small_module = Module(ROOT / PACKAGE / "secrets" / "new.py", f"{PACKAGE}.secrets.new")
    vars(small_module)["text"] = "KEY = 1\n"
    importer = Module(ROOT / PACKAGE / "secrets" / "user.py", f"{PACKAGE}.secrets.user")
    vars(importer)["text"] = "from gatewayx_nb.secrets.new import KEY\n"
    for module in (small_module, importer):
        monkeypatch.setitem(MODULES, module.name, module)

    assert [line for line in find_small_single_use_modules() if "new.py" in line] != []


if __name__ == "__main__":  # print the measurements for a review
    functions = [
        module.count_code_lines(function)
        for module in MODULES.values()
        for function in module.functions()
    ]
    line_count = sum(len(module.code_lines) for module in MODULES.values())
    print(f"{len(MODULES)} modules, {line_count} lines")
    print(f"{len(functions)} functions, median {statistics.median(functions)} lines")
    for check in (
        find_forwarders,
        find_duplicate_classes,
        find_small_single_use_modules,
        find_weak_docstrings,
        find_stale_docstrings,
        find_deep_imports,
    ):
        print(f"{check.__name__}: {list(check())}")
