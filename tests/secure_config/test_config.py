import pytest

from gatewayx_nb.errors import ConfigError
from gatewayx_nb.secure_config import Config


@pytest.fixture
def set_user_keys(clean_environment):
    """Return a function that writes the user folder's key file."""

    def write(text):
        path = clean_environment / "config" / "gatewayx" / "config" / "secrets" / ".env.local"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o600)

    return write


def test_earlier_sources_of_a_key_override_later_ones(project, set_user_keys):
    """The environment overrides the project's key file, which overrides the user's."""
    set_user_keys("GATEWAYX_A_API_KEY=user\nGATEWAYX_B_API_KEY=user\nGATEWAYX_C_API_KEY=user\n")
    project.set_keys("GATEWAYX_A_API_KEY=project\nGATEWAYX_B_API_KEY=project\n")
    config = Config(project.root, {"GATEWAYX_A_API_KEY": "env"})

    keys = [config.key(name) for name in "abc"]

    assert [str(key.value) for key in keys] == ["env", "project", "user"]
    assert keys[0].source == "environment"
    assert keys[1].source == "config/secrets/.env.local"


def test_the_packages_variable_overrides_the_vendors(project):
    """The vendor's variable is used if the package's is not set, unless the settings forbid it."""
    project.set_keys("XAI_API_KEY=vendor\n")
    config = Config(project.root, {})
    assert str(config.key("grok").value) == "vendor"

    project.set_keys("XAI_API_KEY=vendor\nGATEWAYX_GROK_API_KEY=ours\n")
    config.refresh()
    assert str(config.key("grok").value) == "ours"

    project.set_keys("XAI_API_KEY=vendor\n")
    project.settings("keys.vendor_variables = false")
    config.refresh()
    assert config.key("grok").state == "missing"


def test_a_placeholder_does_not_hide_a_key(project, set_user_keys):
    """A placeholder in a copied example file does not hide the user's key."""
    set_user_keys("GATEWAYX_GROK_API_KEY=sk-real-one\n")
    project.set_keys("GATEWAYX_GROK_API_KEY=your_grok_key_here\n")

    assert Config(project.root, {}).key("grok").state == "set"


def test_a_placeholder_differs_from_a_missing_key(project):
    """A placeholder alone is reported as such, and its value is not returned."""
    project.set_keys("GATEWAYX_GROK_API_KEY=your_grok_key_here\n")

    key = Config(project.root, {}).key("grok")

    assert (key.state, str(key.value)) == ("placeholder", "")


def test_a_changed_key_file_is_noticed(project):
    """An added, changed or removed key file is noticed by the next refresh."""
    config = Config(project.root, {})
    for text, state in (("GATEWAYX_A_API_KEY=k", "set"), ("", "missing")):
        project.set_keys(text)
        config.refresh()
        assert config.key("a").state == state
    project.set_keys("GATEWAYX_A_API_KEY=k")
    config.refresh()
    project.keys.unlink()
    config.refresh()
    assert config.key("a").state == "missing"


def test_an_unreadable_key_file_is_reported(project):
    """An unreadable key file is listed among the problems, and other sources of keys work."""
    project.keys.mkdir()
    config = Config(project.root, {"GATEWAYX_A_API_KEY": "k"})

    assert config.key("a").state == "set"
    assert "is not a regular file" in config.keys.problems[0]


def test_variables_override_settings(project):
    """`GATEWAYX_<NAME>_MODEL` and `_BASE_URL` override an engine's settings.

    They are read from the environment and the key file.
    """
    project.settings('engines.grok = {model = "m", base_url = "http://a", own = 1}')
    project.set_keys("GATEWAYX_GROK_MODEL=n\n")
    config = Config(project.root, {"GATEWAYX_GROK_BASE_URL": "http://b"})

    assert config.options("grok") == {"model": "n", "base_url": "http://b", "own": 1}


def test_set_key_writes_to_the_chosen_file(project, clean_environment):
    """A key is written to the project's or the user's file, never to `os.environ`."""
    config = Config(project.root, {})

    assert config.set_key("grok", " sk-1 ") == project.keys
    user_file = config.set_key("grok", "sk-2", user=True)

    assert user_file.is_relative_to(clean_environment)
    assert str(config.key("grok").value) == "sk-1"
    assert config.remove_key("grok") == [project.keys, user_file]
    assert config.key("grok").state == "missing"


def test_invalid_settings_keep_the_last_valid_ones(project):
    """A refresh with invalid settings raises an error and keeps the last valid settings."""
    project.settings("limits.retries = 1")
    config = Config(project.root, {})
    project.settings("limits.retris = 1")

    for _ in range(2):
        with pytest.raises(ConfigError, match="retris"):
            config.refresh()
    assert config.settings.limits.retries == 1
