"""Locates the ledger, the daily costs and the results of a project or a user."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

if TYPE_CHECKING:
    from gatewayx_nb.files import ConfigDir
    from gatewayx_nb.secure_config import Config


@dataclass(frozen=True, slots=True)
class ResultsLocation:
    """The arguments of `ResultsStore` for a project or a user.

    Attributes:
        path: The file of results.
        keep_days: The number of days after which unused jobs are removed; ``None`` to keep them.
    """

    path: Path
    keep_days: float | None


def ledger_path(config: Config) -> Path:
    """Return the path of the project's ledger, or the user's if there is no project."""
    return _default_folder(config) / "store.sqlite"


def daily_costs_path(config: Config, folder: ConfigDir) -> Path:
    """Return the path of the daily costs of the project, or of all calls of the user."""
    root = _user_folder(config) if folder.owner == "user" else folder.root / ".gatewayx"
    return root / "costs.sqlite"


def results_location(config: Config) -> ResultsLocation:
    """Return the location of the results: by default, beside the ledger.

    If the settings name a folder, the results are in its subfolder ``.gatewayx``. A folder in the
    user's settings is shared by all projects, so only the ``keep_days`` of the user's settings
    applies.

    Raises:
        ConfigError: If the project's settings name a folder outside the project, or a symlink.
    """
    configured_folder = config.storage_folder()
    # A subfolder, which git ignores, because the folder may contain the user's own files.
    folder = configured_folder[0] / ".gatewayx" if configured_folder else _default_folder(config)
    is_in_user_settings = configured_folder is not None and configured_folder[1] == "user"
    settings = config.user_settings if is_in_user_settings else config.settings
    return ResultsLocation(folder / "results.sqlite", settings.keep_days)


def _default_folder(config: Config) -> Path:
    if config.project:
        return config.project.root / ".gatewayx"
    return _user_folder(config)


def _user_folder(config: Config) -> Path:
    # The variable is read here, because platformdirs reads only the process's environment.
    data_home = config.env.get("XDG_DATA_HOME")
    return Path(data_home) / "gatewayx" if data_home else platformdirs.user_data_path("gatewayx")
