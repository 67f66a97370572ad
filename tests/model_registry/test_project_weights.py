"""Weights that a project's settings name are loaded only if the user has allowed it."""

import os

import pytest

from gatewayx_nb.engine_pool import EnginePool
from gatewayx_nb.errors import ConfigError, GatewayError, TrustError


@pytest.fixture
def weights(tmp_path):
    """Return the path of a damaged GGUF file outside the project."""
    path = tmp_path / "strange.gguf"
    path.write_bytes(b"GGUF" + bytes(100))
    return path


@pytest.fixture
def env(tmp_path):
    """Return an environment with a user folder."""
    (tmp_path / "user" / "gatewayx" / "config").mkdir(parents=True)
    return {"XDG_CONFIG_HOME": str(tmp_path / "user")}


def _name_weights(path):
    return f"engines.local.model_path = '{path}'\n"


def _row(pool):
    return next(row for row in pool.status() if row.name == "local")


def test_a_projects_weights_are_not_loaded_without_permission(project, env, weights):
    """Neither a call, by name or as the default model, nor a listing uses the file."""
    project.settings('default_model = "local"\n' + _name_weights(weights))
    with EnginePool(home=project.root, env=env) as pool:
        for model in ("local", "local:strange", None):
            with pytest.raises(TrustError, match=r"would load weights with model_path = .*gguf"):
                pool.ask("hi", model=model)
        assert _row(pool).state == "untrusted"
        assert "strange" not in {model.model for model in pool.models()}
        assert [*pool.untrusted_engines()] == ["local"]


def test_the_permission_for_weights_covers_their_path(project, env, weights):
    """The permission is asked for once; another path needs its own."""
    project.settings(_name_weights(weights))
    with EnginePool(home=project.root, env=env) as pool:
        pool.trust(pool.untrusted_engines())
        assert _row(pool).state == "ready"
        with pytest.raises(GatewayError) as caught:  # the file is damaged, or xllamacpp is missing
            pool.ask("hi", model="local")
        assert not isinstance(caught.value, TrustError)

        project.settings(_name_weights(weights.with_name("other.gguf")))
        pool.refresh()
        with pytest.raises(TrustError, match=r"other\.gguf"):
            pool.ask("hi", model="local")


@pytest.mark.parametrize("in_project", [False, True], ids=["user", "user and project"])
def test_the_users_weights_need_no_permission(project, env, weights, tmp_path, in_project):
    """A path in the user's own settings is used, even if the project names the same path."""
    folder = tmp_path / "user" / "gatewayx" / "config"
    (folder / "gatewayx.toml").write_text(_name_weights(weights))
    project.settings(_name_weights(weights) if in_project else "")
    with EnginePool(home=project.root, env=env) as pool:
        assert _row(pool).state == "ready"
        assert pool.untrusted_engines() == {}


def test_a_pipe_as_weights_is_not_opened(project, env, weights, tmp_path):
    """Opening a pipe would block until somebody writes to it."""
    os.mkfifo(tmp_path / "pipe.gguf")
    env["GATEWAYX_LOCAL_MODEL"] = str(tmp_path / "pipe.gguf")
    with EnginePool(home=project.root, env=env) as pool:
        assert _row(pool).state != "failed"
        project.settings(_name_weights(tmp_path / "pipe.gguf"))
        pool.refresh()
        pool.trust(pool.untrusted_engines())
        with pytest.raises(ConfigError, match="must be a GGUF file"):
            pool.ask("hi", model="local")
