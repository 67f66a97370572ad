"""Imports the public names of a package on first use (PEP 562)."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


def attach(
    package: str, module_by_name: Mapping[str, str]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return the ``__getattr__`` and ``__dir__`` of a package.

    Args:
        package: Name of the package.
        module_by_name: Maps each public name to the module that defines it.
    """

    def get_attribute(name: str) -> object:
        if name in module_by_name:
            return getattr(importlib.import_module(module_by_name[name]), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def list_names() -> list[str]:
        # `__version__` can be imported, but is not offered for completion.
        return sorted(name for name in module_by_name if not name.startswith("_"))

    return get_attribute, list_names


def attach_modules(
    package: str, names_by_module: Mapping[str, Iterable[str]]
) -> Callable[[str], object]:
    """Return the ``__getattr__`` of a package that imports its modules on first use.

    A module must not have the same name as a public function or class, because the module would
    hide it once imported.

    Args:
        package: Name of the package.
        names_by_module: The public names by the module of the package that defines them.
    """
    get_attribute, _ = attach(
        package,
        {
            name: f"{package}.{module}"
            for module, names in names_by_module.items()
            for name in names
        },
    )
    return get_attribute
