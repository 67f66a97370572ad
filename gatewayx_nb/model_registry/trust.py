"""Keeps a key of the user's from going where a project says instead of the user."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayx_nb.errors import TrustError
from gatewayx_nb.model_registry.rows import EngineRow
from gatewayx_nb.model_registry.sources import is_copy
from gatewayx_nb.secure_config import variable

if TYPE_CHECKING:
    from gatewayx_nb.model_registry.sources import Source, Sources
    from gatewayx_nb.secure_config import Config, Key


def check(source: Source, key: Key, sources: Sources, config: Config) -> None:
    """Let an engine have a key, or not.

    A project's own key goes wherever the project says. A key of the user's goes to shipped engines
    and to the user's own; it reaches a project's file or row, or the address or network that a
    project sets, only under our name for it and for an engine that nobody but the project has.

    Raises:
        TrustError: The project decides where a key of the user's would go.
    """
    if key.state != "set" or key.owner == "project":
        return
    steered = config.steered_by_project(source.name)
    if steered is None and source.origin != "project":
        return
    vouched = sources.vouched(source.name)
    if not vouched and key.name == variable(source.name):
        return
    if source.origin == "project" and not any(is_copy(source, other) for other in vouched):
        steered = "its row " if isinstance(source, EngineRow) else "its file "
        steered += source.where
    if steered:
        raise TrustError(
            f"your own key of {source.name!r} would go where this project says: {steered}.",
            mend="Give the project a key of its own, "
            f"`%gatewayx key set {source.name}` in it, or take that out.",
            engine=source.name,
        )
