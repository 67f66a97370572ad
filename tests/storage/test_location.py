"""Where results are stored, and who may decide that."""

from pathlib import Path

import pytest

from gatewayx_nb.errors import ConfigError
from gatewayx_nb.secure_config import Config
from gatewayx_nb.storage import ledger_path, results_location


@pytest.fixture
def set_user_settings(clean_environment):
    """Return a function that writes the user's settings, and returns the user folder."""

    def write(text):
        folder = clean_environment / "config" / "gatewayx"
        (folder / "config").mkdir(parents=True, exist_ok=True)
        (folder / "config" / "gatewayx.toml").write_text(text)
        return folder

    return write


def test_results_are_beside_the_ledger(project, clean_environment):
    """Without settings, a project's or a user's results are next to the ledger."""
    inside = Config(project.root, {})
    outside = Config(env={"XDG_DATA_HOME": "/data"})

    for config, folder in ((inside, project.root / ".gatewayx"), (outside, Path("/data/gatewayx"))):
        assert results_location(config).path == folder / "results.sqlite"
        assert ledger_path(config) == folder / "store.sqlite"
        assert results_location(config).keep_days is None


def test_a_folder_is_relative_to_the_settings_that_name_it(project, set_user_settings):
    """The environment takes precedence over the project, and the project over the user."""
    user = set_user_settings("storage = {folder = 'rows', keep_days = 30}")
    home = set_user_settings("storage.folder = '~/rows'") and Path.home()
    assert results_location(Config(project.root)).path.parent == home / "rows" / ".gatewayx"
    set_user_settings("storage = {folder = 'rows', keep_days = 30}")
    assert results_location(Config(project.root)).path.parent == user / "rows" / ".gatewayx"
    project.settings("storage.folder = 'a/b'")
    assert results_location(Config(project.root)).path.parent == project.root / "a/b/.gatewayx"
    config = Config(project.root, {"GATEWAYX_STORAGE": "~/c"})
    assert results_location(config).path == Path.home() / "c/.gatewayx/results.sqlite"


def test_a_project_does_not_decide_how_long_the_users_folder_is_kept(project, set_user_settings):
    """A project's `keep_days` applies only to its own folder."""
    set_user_settings("storage = {folder = '/rows', keep_days = 30}")
    project.settings("storage.keep_days = 0.01")
    assert results_location(Config(project.root)).keep_days == 30
    project.settings("storage = {folder = 'rows', keep_days = 0.01}")
    assert results_location(Config(project.root)).keep_days == 0.01


@pytest.mark.parametrize("folder", ["..", "a/../../b", "/b", "../project-b"])
def test_a_project_names_no_folder_outside(project, folder):
    """A cloned project must not write into the user's other folders."""
    project.settings(f"storage.folder = '{folder}'")
    with pytest.raises(ConfigError, match="must be inside the project, got") as error:
        results_location(Config(project.root))

    assert "GATEWAYX_STORAGE" in str(error.value)


def test_a_project_names_no_symlink(project, tmp_path):
    """A symlink in a cloned project may lead anywhere."""
    (project.root / "rows").symlink_to(tmp_path)
    project.settings("storage.folder = 'rows/a'")
    with pytest.raises(ConfigError, match="'rows' is a symlink"):
        results_location(Config(project.root))
