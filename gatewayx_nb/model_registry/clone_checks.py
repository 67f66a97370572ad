"""Checks how a project affects calls whose engine the caller has not named.

The project may be a clone of a stranger's repository.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatewayx_nb.model_registry import key_trust
from gatewayx_nb.model_registry.key_trust import Choice
from gatewayx_nb.secure_config import SHIPPED_ALIASES, may_be_tracked

if TYPE_CHECKING:
    from pathlib import Path

    from gatewayx_nb.model_registry.engine_sources import EngineSource, EngineSources
    from gatewayx_nb.secure_config import Config


@dataclass(slots=True)
class CloneChecks:
    """Compares an engine with the engine that the user may have intended.

    A key that the user has put into the project's key file is not tracked by git. The user intends
    this key for the address that the project sets.
    """

    _config: Config
    _sources: EngineSources
    _may_be_tracked: dict[Path, bool]  # querying git takes milliseconds

    def forget(self) -> None:
        """Forget the results of queries to git, because files have changed."""
        self._may_be_tracked.clear()

    def choice(
        self, source: EngineSource | None, selected_by: str, *, is_user_choice: bool
    ) -> Choice:
        """Return why an engine is called.

        Args:
            source: The engine; ``None`` if it does not exist.
            selected_by: The place in the project that selects the engine; empty if the user's
                settings select it.
            is_user_choice: Whether the user chose the engine, and so may expect it to use another
                key or server of their own.
        """
        is_redirected = source is not None and self._redirects(
            source, is_user_choice=is_user_choice
        )
        has_cloned_key = source is not None and not is_redirected and self._supplies_key(source)
        return Choice(selected_by, is_redirected, has_cloned_key)

    def replaces(self, source: EngineSource | None) -> bool:
        """Return whether a project's engine has the name of an engine from outside the project.

        A shipped alias, such as ``claude``, is also such a name.
        """
        if source is None or source.origin != "project":
            return False
        return self._may_be_outside_project(source.name)

    def _may_be_outside_project(self, name: str) -> bool:
        return name in SHIPPED_ALIASES or self._sources.may_be_outside_project(name)

    def may_be_cloned_with_key(self, source: EngineSource) -> bool:
        """Return whether a project's engine may have been cloned together with its key."""
        project = self._config.project
        return source.origin == "project" and project is not None and self._is_cloned(project.keys)

    def _supplies_key(self, source: EngineSource) -> bool:
        """Return whether the key for an engine from outside the project may have been cloned."""
        project, key = self._config.project, key_trust.find_key(source, self._config)
        if project is None or source.origin == "project" or key.owner != "project":
            return False
        return key.state == "set" and self._is_cloned(project.keys)

    def _redirects(self, source: EngineSource, *, is_user_choice: bool) -> bool:
        """Return whether a project may redirect calls to an address that the user does not want."""
        project = self._config.project
        if project is None or not key_trust.redirections(source, self._config):
            return False
        if key_trust.find_key(source, self._config).state != "set":
            if is_user_choice and self._may_be_outside_project(source.name):
                return True
            return self._is_cloned(project.keys) or self._is_cloned(project.settings)
        has_user_key = key_trust.find_key(source, self._config, "user").state == "set"
        return (is_user_choice and has_user_key) or self._is_cloned(project.keys)

    def _is_cloned(self, path: Path) -> bool:
        if path not in self._may_be_tracked:
            self._may_be_tracked[path] = may_be_tracked(path)
        return self._may_be_tracked[path]
