"""Keeps a key of the user's from going where a project says instead of the user."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayx_nb.errors import TrustError
from gatewayx_nb.model_registry.folders import EngineFile
from gatewayx_nb.model_registry.rows import EngineRow
from gatewayx_nb.secure_config import Way, origin, variable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatewayx_nb.model_registry.sources import Source, Sources
    from gatewayx_nb.secure_config import Config, Key


def doubtful(source: Source, key: Key, sources: Sources, config: Config) -> list[Way]:
    """Give the ways of the project by which a key of the user's would go, and that nobody trusted.

    A project's own key goes wherever the project says. A key of the user's goes to shipped engines
    and to the user's own; it reaches a project's file or row, or the address or network that a
    project sets, only under our name for it and for an engine that nobody but the project has, or
    where the user has said so.
    """
    project = config.project
    if project is None or key.state != "set" or key.owner == "project":
        return []
    ways = [*config.ways_of_project(source.name), *_of_source(source, sources, config)]
    if not ways or (not sources.vouched(source.name) and key.name == variable(source.name)):
        return []
    return [way for way in ways if not config.trusted.holds(project.root, source.name, way)]


def check(source: Source, key: Key, sources: Sources, config: Config) -> None:
    """Let an engine have a key, or not.

    Raises:
        TrustError: The project decides where a key of the user's would go, and the user has not
            said that it may.
    """
    ways = doubtful(source, key, sources, config)
    if ways:
        told = " and ".join(f"{way.target} ({way.where})" for way in ways)
        raise TrustError(
            f"your own key of {source.name!r} would go where this project says: {told}.",
            mend="`%gatewayx trust` shows it and asks you. Or give the project a key of its own: "
            f"`%gatewayx key set {source.name}` in it.",
            engine=source.name,
        )


def _of_source(source: Source, sources: Sources, config: Config) -> Iterator[Way]:
    """Yield what an engine of the project's own does with a key."""
    copied = any(sources.is_copy(source, other) for other in sources.vouched(source.name))
    if source.origin != "project" or config.project is None or copied:
        return
    if isinstance(source, EngineRow):
        yield Way(origin(source.base_url), f"its row {source.where}")
    elif isinstance(source, EngineFile):
        yield Way(config.project.label(source.path), "a file of its own")
