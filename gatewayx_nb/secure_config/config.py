"""What the user's files say now, for one pool."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gatewayx_nb.secure_config import importing, keyfile, settings
from gatewayx_nb.secure_config.keys import VENDOR_VARIABLES, Key, Keys, variable
from gatewayx_nb.secure_config.places import Place, project_place, user_place
from gatewayx_nb.secure_config.trusted import Trusted, Way, origin
from gatewayx_nb.secure_config.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from gatewayx_nb.secure_config.importing import Imported


class Config:
    """The settings and keys of a project and its user; `refresh` reads what changed.

    Args:
        home: The project folder, instead of the one that is found.
        env: The environment, instead of the process's own.
    """

    def __init__(self, home: Path | None = None, env: Mapping[str, str] | None = None) -> None:
        self.env = os.environ if env is None else env
        self.user = user_place(self.env)
        self.project = Place(home.absolute(), "project") if home else project_place(self.env)
        self.places = tuple(place for place in (self.project, self.user) if place)
        self.keys = Keys(self.env, self.places)
        self.trusted = Trusted(self.user.root / "trusted.json")
        self._watches: list[Watch] = []
        self.settings = settings.Settings()
        self._of_project = settings.Settings()
        self.refresh()

    def refresh(self) -> bool:
        """Read the settings and key files that changed; tell whether any did.

        Raises:
            ConfigError: A settings file is not as it should be; the last good ones stay.
        """
        self.keys.refresh()
        self.trusted.refresh()
        if self._watches and not any(watch.changed() for watch in self._watches):
            return False
        files = [path for place in self.places for path in (place.settings, place.keys)]
        watches = [Watch(path) for path in (*files, self.trusted.path)]
        self.settings = settings.load(place.settings for place in self.places)
        project = [self.project.settings] if self.project else []
        self._of_project = settings.load(project)
        self._watches = watches
        return True

    def key(self, engine: str, vendor: str = "") -> Key:
        """Give an engine's key and its state.

        Args:
            engine: Name of the engine.
            vendor: The vendor's own variable, where the engine is a row that names it.
        """
        names = VENDOR_VARIABLES.get(engine, (vendor,) if vendor else ())
        return self.keys.find(engine, names if self.settings.vendor_variables else ())

    def options(self, engine: str) -> dict[str, object]:
        """Give the keywords of an engine: its settings, then its variables over them."""
        told = self.settings.engines.get(engine, {})
        options = {name: value for name, value in told.items() if name not in settings.RATES}
        for option, suffix in (("base_url", "BASE_URL"), ("model", "MODEL")):
            value = self.keys.value(variable(engine, suffix))
            if value and value.strip():
                options[option] = value.strip()
        return options

    def rates(self, engine: str) -> settings.Rates:
        """Give how much an engine is asked at most."""
        told = self.settings.engines.get(engine, {})
        return settings.Rates(*(told.get(name) for name in settings.RATES))

    def ways_of_project(self, engine: str) -> Iterator[Way]:
        """Yield what in the project's files decides where an engine's key goes."""
        name, said = variable(engine, "BASE_URL"), self._of_project.engines.get(engine, {})
        if self.keys.owner(name) == "project":
            yield Way(origin(self.keys.value(name) or ""), f"{name} in its key file")
        elif self.keys.owner(name) is None and "base_url" in said:
            where = f"[engines.{engine}] base_url in its settings"
            yield Way(origin(str(said["base_url"])), where)
        network = self._of_project.network
        if network != settings.Network():
            yield Way(f"network {network.told}", "[network] in its settings")

    def set_key(self, engine: str, value: str, *, user: bool = False) -> Path:
        """Write an engine's key; into the project's file if there is a project, else the user's.

        Returns:
            The file that it was written to.
        """
        path = self._keys_to_write(user=user)
        keyfile.write(path, {variable(engine): value.strip()})
        self.keys.refresh()
        return path

    def import_keys(self, source: Path, engines: Mapping[str, str], *, user: bool) -> Imported:
        """Take keys out of another file into the project's, or the user's; see `importing.run`."""
        imported = importing.run(source, self._keys_to_write(user=user), engines)
        self.keys.refresh()
        return imported

    def remove_key(self, engine: str) -> list[Path]:
        """Take an engine's key out of the key files; give the files that held it."""
        held = [place.keys for place in self.places if keyfile.remove(place.keys, variable(engine))]
        self.keys.refresh()
        return held

    def _keys_to_write(self, *, user: bool) -> Path:
        return (self.user if user or not self.project else self.project).keys

    def save_default(self, reference: str) -> Path:
        """Write the default model into the project's settings, or the user's without a project."""
        path = (self.project or self.user).settings
        settings.save_default(path, reference)
        self.refresh()
        return path
