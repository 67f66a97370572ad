"""Protection of the user's own keys against projects that would send them elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayx_nb.errors import TrustError
from gatewayx_nb.hints import Hint
from gatewayx_nb.model_registry.folders import EngineFile
from gatewayx_nb.model_registry.rows import EngineRow
from gatewayx_nb.secure_config import KeyDestination, key_variable, origin

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatewayx_nb.model_registry.engine_sources import EngineSource, EngineSources
    from gatewayx_nb.secure_config import Config, Key


def find_key(source: EngineSource, config: Config) -> Key:
    """Return an engine's key; a row may name the vendor's own variable."""
    return config.key(source.name, source.key if isinstance(source, EngineRow) else "")


def untrusted_destinations(
    source: EngineSource, key: Key, sources: EngineSources, config: Config
) -> list[KeyDestination]:
    """Return the project's untrusted destinations for a user key.

    A project's own key needs no trust, and neither do shipped, installed and user engines. A user
    key is sent to a project's engine file or row, or to a base URL or network that the project
    sets, only if the user trusts that destination. The exception is a key under its ``GATEWAYX_``
    name for an engine that only the project has.
    """
    project = config.project
    if project is None or key.state != "set" or key.owner == "project":
        return []
    # A key under the name of an engine that only the project has was set for this project.
    if not sources.outside_project(source.name) and key.name == key_variable(source.name):
        return []
    from_source = _source_destinations(source, sources, config)
    return [
        destination
        for destination in (*config.key_destinations(source.name), *from_source)
        if not config.trusted.contains(project.root, source.name, destination)
    ]


def check_key_trust(source: EngineSource, key: Key, sources: EngineSources, config: Config) -> None:
    """Check that an engine may use a key.

    Raises:
        TrustError: If the project decides where a user key is sent, and the user has not
            trusted it.
    """
    destinations = untrusted_destinations(source, key, sources, config)
    if destinations:
        listed = " and ".join(f"{each.target} ({each.where})" for each in destinations)
        raise TrustError(
            f"this project would send your own key for {source.name!r} to {listed}.",
            hint=Hint("trust") | Hint("set_project_key", engine=source.name),
            engine=source.name,
        )


def _source_destinations(
    source: EngineSource, sources: EngineSources, config: Config
) -> Iterator[KeyDestination]:
    """Yield the destination of a key that a project's own engine receives."""
    is_copy = any(sources.is_copy(source, other) for other in sources.outside_project(source.name))
    if source.origin != "project" or config.project is None or is_copy:
        return
    if isinstance(source, EngineRow):
        yield KeyDestination(origin(source.base_url), f"its row {source.where}")
    elif isinstance(source, EngineFile):
        yield KeyDestination(config.project.label(source.path), "a file of its own")
