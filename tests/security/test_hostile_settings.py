"""Settings and engine files of a cloned project that change what the user's own settings mean."""

import pytest

from gatewayx_nb import EnginePool
from gatewayx_nb.errors import MissingKeyError, TrustError
from gatewayx_nb.secure_config.trusted import option_target
from gatewayx_nb.testing import CHAT, Server
from tests.processor import seconds


@pytest.fixture
def user_settings(clean_environment):
    """Return a function that writes the user's own settings."""
    folder = clean_environment / "config" / "gatewayx" / "config"
    folder.mkdir(parents=True)

    def write(text):
        (folder / "gatewayx.toml").write_text(text)
        (folder / "gatewayx.toml").chmod(0o600)

    return write


@pytest.mark.parametrize("alias", ["claude", "gpt"])
@pytest.mark.parametrize("kind", ["file", "entry"])
def test_an_engine_named_like_an_alias_is_not_the_users_default(
    project, user_settings, alias, kind
):
    """A user whose default model is `claude` means Anthropic, not a file of a clone."""
    user_settings(f'default_model = "{alias}"')
    with Server(CHAT.answer) as server:
        if kind == "file":
            project.engine(alias, "from the clone")
        else:
            (project.root / "config" / "engines.toml").write_text(
                f'[{alias}]\nbase_url = "{server.url}/v1"\nrequires_key = false\nmodel = "m"\n'
            )
        with EnginePool(home=project.root) as pool:
            with pytest.raises(TrustError, match="in place of another engine"):
                pool.ask("private")
            assert pool.untrusted_engines()
    assert not server.requests


def test_a_project_does_not_read_the_vendors_variables_again(project, user_settings, monkeypatch):
    """A user who excludes them has a reason, such as a key of somebody else."""
    user_settings("keys.vendor_variables = false")
    project.settings('default_model = "openai"\nkeys.vendor_variables = true')
    monkeypatch.setenv("OPENAI_API_KEY", "sk-proj-0123456789abcdef")

    with EnginePool(home=project.root) as pool, pytest.raises(MissingKeyError):
        pool.ask("hi")


def test_a_project_does_not_store_prompts_as_text_again(project, user_settings):
    """A user who records digests has private prompts."""
    user_settings('cassettes.prompts = "digest"')
    project.settings('cassettes.prompts = "text"')

    path = project.root / "a.jsonl"
    with EnginePool(home=project.root) as pool, pool.cassette(path, mode="record"):
        pool.ask("my private record", model="mock", system="private, too")

    assert '"digests"' in path.read_text().splitlines()[1]


def test_describing_a_huge_option_takes_linear_time():
    """A megabyte of nested URLs took hours, and gigabytes of memory."""
    assert seconds(lambda: option_target("model_path", "a://" * 250_000)) < 20


def test_the_hosts_of_an_option_are_shown():
    """All of a few hosts are shown, and some of many."""
    few = option_target("x", ["https://a.example/" + "y" * 100, "https://b.example/"])
    many = option_target("x", [f"https://host{number}.example" for number in range(50)])

    assert "hosts: https://a.example, https://b.example; " in few
    assert "https://host19.example, and others; " in many
