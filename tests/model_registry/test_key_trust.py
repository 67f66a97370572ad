"""A project sends the user's keys and runs code only if the user has allowed it."""

import json
import shutil
import subprocess
import tomllib
from dataclasses import dataclass

import pytest

from gatewayx_nb.engine_pool import EnginePool
from gatewayx_nb.errors import ConfigError, EngineLoadError, TrustError
from gatewayx_nb.secure_config import Permission, origin, shipped_path
from gatewayx_nb.secure_config.trusted import option_target

UNTRUSTED_URL = "http://127.0.0.1:9/v1"
GENERATE_HEADER = "    async def generate(self, prompt, **kwargs):\n"


@dataclass(frozen=True)
class Case:
    """The owner of the key, the project's configuration, and whether the call is refused."""

    name: str
    key: str
    engine: str = "grok"
    settings: str = ""
    project_keys: str = ""
    env: str = ""
    file: str = ""
    entry: str = ""
    refused: bool = True


GROK_KEY_VARIABLE = "GATEWAYX_GROK_API_KEY"
CASES = [
    Case(
        "environment key, project's base URL in its settings",
        GROK_KEY_VARIABLE,
        settings="base_url",
    ),
    Case("vendor's variable, project's base URL", "XAI_API_KEY", settings="base_url"),
    Case(
        "environment key, project's base URL in its key file",
        GROK_KEY_VARIABLE,
        project_keys="base_url",
    ),
    Case("environment key, project's proxy", GROK_KEY_VARIABLE, settings="network"),
    Case(
        "environment key, project file with the name of a shipped engine",
        GROK_KEY_VARIABLE,
        file="other",
    ),
    Case(
        "environment key, an exact copy of the shipped file",
        GROK_KEY_VARIABLE,
        file="copy",
        refused=False,
    ),
    Case(
        "environment key, user's base URL over the project's",
        GROK_KEY_VARIABLE,
        settings="base_url",
        env="base_url",
        refused=False,
    ),
    Case("environment key, no project configuration", GROK_KEY_VARIABLE, refused=False),
    Case("project's key, project's base URL", "", project_keys="both", refused=False),
    Case("project's key, project's file", "", project_keys="key", file="other", refused=False),
    Case(
        "environment key, project's entry with the name of a shipped engine",
        "GATEWAYX_GROQ_API_KEY",
        "groq",
        entry="x",
    ),
    Case(
        "vendor's variable, project's entry with the name of a shipped engine",
        "GROQ_API_KEY",
        engine="groq",
        entry='key = "GROQ_API_KEY"',
    ),
    Case(
        "environment key, project's entry that equals the shipped one",
        "GATEWAYX_GROQ_API_KEY",
        engine="groq",
        entry="copy",
        refused=False,
    ),
    Case(
        "another engine's variable, an entry that only the project has",
        "OPENAI_API_KEY",
        engine="mine",
        entry='key = "OPENAI_API_KEY"',
    ),
    Case(
        "package's variable, an entry that only the project has",
        "GATEWAYX_MINE_API_KEY",
        engine="mine",
        entry="x",
        refused=False,
    ),
    Case(
        "package's variable, project's base URL and no engine",
        "GATEWAYX_MINE_API_KEY",
        engine="mine",
        project_keys="new_base_url",
        refused=False,
    ),
    Case(
        "package's variable for an engine that only the project has",
        "GATEWAYX_MINE_API_KEY",
        engine="mine",
        file="other",
        refused=False,
    ),
]


def _write_entry(project, case):
    shipped_entry = tomllib.loads(shipped_path("config/engines.toml").read_text())["groq"]
    values = shipped_entry if case.entry == "copy" else {"base_url": UNTRUSTED_URL, "model": "m"}
    lines = [f"{name} = {json.dumps(value)}" for name, value in values.items()]
    lines += [case.entry] if "=" in case.entry else []
    path = project.root / "config" / "engines.toml"
    path.write_text("\n".join([f"[{case.engine}]", *lines]))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_call_that_would_redirect_a_user_key_is_refused(project, case):
    """An untrusted call raises an error with the `trust` command before the engine is loaded."""
    if case.settings:
        settings_by_name = {"base_url": f'engines.grok.base_url = "{UNTRUSTED_URL}"'}
        project.settings(
            settings_by_name.get(case.settings, 'network.proxy = "http://127.0.0.1:9"')
        )
    line_by_name = {
        "key": f"{GROK_KEY_VARIABLE}=k\n",
        "base_url": f"GATEWAYX_GROK_BASE_URL={UNTRUSTED_URL}\n",
    }
    line_by_name["new_base_url"] = f"GATEWAYX_MINE_BASE_URL={UNTRUSTED_URL}\n"
    line_names = {"both": ("key", "base_url"), "": ()}.get(case.project_keys, (case.project_keys,))
    project.set_keys("".join(line_by_name[name] for name in line_names))
    if case.file:
        path = project.engine(case.engine, body="    requires_key = True\n")
        shipped_text = shipped_path("engines/grok_engine.py").read_text()
        path.write_text(
            shipped_text if case.file == "copy" else path.read_text().replace("False", "True")
        )
    if case.entry:
        _write_entry(project, case)
    env = {case.key: "k"} if case.key else {}
    if case.env:
        env["GATEWAYX_GROK_BASE_URL"] = UNTRUSTED_URL
    pool = EnginePool(home=project.root, env=env)

    if case.refused:
        # The hint names a file because a key in the environment would need trust as well.
        variable = f"GATEWAYX_{case.engine.upper()}_API_KEY"
        expected_message = (
            rf"your own key for '{case.engine}'.*[Ss]et {variable} in the project's config/secrets/"
        )
        with pytest.raises(TrustError, match=expected_message):
            pool.use(case.engine)
        row = next(row for row in pool.status() if row.name == case.engine)
        assert (row.state, "your own key" in row.error) == ("untrusted", True)
        assert case.engine not in {model.engine for model in pool.models()}
    else:
        pool.use(case.engine)


def test_trust_is_saved_per_project(project, tmp_path):
    """Trust is remembered by later pools for that engine, URL and project only."""
    env = {GROK_KEY_VARIABLE: "k", "XDG_CONFIG_HOME": str(tmp_path / "user")}
    project.settings(f'engines.grok.base_url = "{UNTRUSTED_URL}"')
    pool = EnginePool(home=project.root, env=env)
    (row,) = [row for row in pool.status() if row.name == "grok"]
    assert (row.state, "untrusted_engines()" in row.error) == ("untrusted", True)
    untrusted = pool.untrusted_engines()
    assert [destination.target for destination in untrusted["grok"]] == ["http://127.0.0.1:9"]

    pool.trust(untrusted)

    later_pool = EnginePool(home=project.root, env=env)
    later_pool.use("grok")
    assert later_pool.untrusted_engines() == {}
    other_project = tmp_path / "other"
    (other_project / "config").mkdir(parents=True)
    (other_project / "config" / "gatewayx.toml").write_text(
        f'engines.grok.base_url = "{UNTRUSTED_URL}"'
    )
    assert [*EnginePool(home=other_project, env=env).untrusted_engines()] == ["grok"]


@dataclass(frozen=True)
class Change:
    """A change to a trusted project, and whether the project must be trusted again."""

    name: str
    base_url: str
    needs_trust: bool


CHANGES = [
    Change("another path of the host", '"http://127.0.0.1:9/v2"', needs_trust=False),
    Change("another port", '"http://127.0.0.1:10/v1"', needs_trust=True),
    Change("another host", '"https://evil.example/v1"', needs_trust=True),
    Change("another scheme", '"https://127.0.0.1:9/v1"', needs_trust=True),
    Change("a proxy", f'"{UNTRUSTED_URL}"\nnetwork.proxy = "http://x:1"', needs_trust=True),
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_a_new_host_must_be_trusted_again(project, tmp_path, change):
    """Trust applies to a scheme, host and port, with any path in the base URL."""
    env = {GROK_KEY_VARIABLE: "k", "XDG_CONFIG_HOME": str(tmp_path / "user")}
    project.settings(f'engines.grok.base_url = "{UNTRUSTED_URL}"')
    pool = EnginePool(home=project.root, env=env)
    pool.trust(pool.untrusted_engines())
    pool.use("grok")

    project.settings(f"engines.grok.base_url = {change.base_url}")

    assert bool(pool.untrusted_engines()) is change.needs_trust


def test_overriding_a_shipped_engine_must_be_trusted_again(project, tmp_path):
    """A file that takes the name of a shipped engine must be trusted again.

    Trust in a URL does not extend to code.
    """
    env = {GROK_KEY_VARIABLE: "k", "XDG_CONFIG_HOME": str(tmp_path / "user")}
    project.settings(f'engines.grok.base_url = "{UNTRUSTED_URL}"')
    pool = EnginePool(home=project.root, env=env)
    pool.trust(pool.untrusted_engines())

    project.engine("grok", body="    requires_key = True\n")

    assert [destination.target for destination in pool.untrusted_engines()["grok"]] == [
        "engines/grok_engine.py"
    ]


@pytest.mark.parametrize("text", ["{", '{"a": 1}', '["x"]', b"\xff"])
def test_a_damaged_trust_file_is_ignored_and_kept(project, tmp_path, text):
    """A damaged trust file grants no trust, is not overwritten, and is reported with a hint.

    Engines keep working.
    """
    user_folder = tmp_path / "user" / "gatewayx"
    user_folder.mkdir(parents=True)
    (user_folder / "trusted.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    project.settings(f'engines.grok.base_url = "{UNTRUSTED_URL}"')
    pool = EnginePool(
        home=project.root, env={GROK_KEY_VARIABLE: "k", "XDG_CONFIG_HOME": str(tmp_path / "user")}
    )

    assert [*pool.untrusted_engines()] == ["grok"]
    assert "trusted.json.off" in pool.problems[0]
    with pytest.raises(ConfigError, match=r"trusted\.json\.off"):
        pool.trust(pool.untrusted_engines())
    assert pool.ask("hi", model="mock").text == "[mock] hi"


def test_a_world_writable_trust_file_is_ignored(project, tmp_path):
    """A world-writable trust file grants no trust, because other users could edit it."""
    env = {GROK_KEY_VARIABLE: "k", "XDG_CONFIG_HOME": str(tmp_path / "user")}
    project.settings(f'engines.grok.base_url = "{UNTRUSTED_URL}"')
    pool = EnginePool(home=project.root, env=env)
    pool.trust(pool.untrusted_engines())
    (tmp_path / "user" / "gatewayx" / "trusted.json").chmod(0o666)

    assert [*pool.untrusted_engines()] == ["grok"]


@dataclass(frozen=True)
class Choice:
    """How a project chooses its engine ``acme``, and the call that would run it."""

    name: str
    settings: str
    model: str | None = None
    fallback: str = ""


CHOICES = [
    Choice("the project's default model", 'default_model = "acme"'),
    Choice("an alias", '[aliases]\nsmart = "acme:m"', "smart"),
    Choice("an alias that is the default", 'default_model = "smart"\n[aliases]\nsmart = "acme"'),
    Choice("an alias of a shipped name", '[aliases]\nopenai = "acme"', "openai"),
    Choice("a fallback", '[aliases]\nsmart = "acme"', "mock", "smart"),
]


@pytest.mark.parametrize("keys", [{}, {"GATEWAYX_ACME_API_KEY": "k"}], ids=["no key", "a user key"])
@pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: choice.name)
def test_an_engine_that_the_project_chooses_does_not_run(project, tmp_path, choice, keys):
    """A project's code runs if the caller names its engine, not if the project's settings do."""
    flag = tmp_path / "ran"
    touch = f"        __import__('pathlib').Path({str(flag)!r}).touch()\n"
    project.engine("acme", body=GENERATE_HEADER + touch + "        return 'acme'\n")
    project.settings(choice.settings)
    call = {"prompt": "hi", "model": choice.model, "fallback": choice.fallback or ()}
    if choice.fallback:
        call["params"] = {"fail": 500}
    env = {"XDG_CONFIG_HOME": str(tmp_path / "user"), **keys}
    with EnginePool(home=project.root, env=env) as pool:
        with pytest.raises(TrustError) as caught:
            pool.ask(**call)
        (permission,) = pool.untrusted_engines()["acme"]
        assert f"GATEWAYX_TRUST={permission.id}" in str(caught.value)
        assert not flag.exists()

        assert pool.ask("hi", "acme").text == "acme"  # named by the caller
        assert pool.untrusted_engines()["acme"] == [permission]

    with EnginePool(home=project.root, env=env | {"GATEWAYX_TRUST": permission.id}) as pool:
        assert pool.ask(**call).text == "acme"


def test_a_projects_only_engine_is_the_projects_choice(project):
    """If a clone guesses the name of a user's key, its engine is neither the default nor called."""
    path = project.engine("acme", "a")
    path.write_text(path.read_text().replace("requires_key = False", "requires_key = True"))
    with EnginePool(home=project.root, env={"GATEWAYX_ACME_API_KEY": "k"}) as pool:
        with pytest.raises(TrustError, match=r"acme_engine\.py \(the only engine with a key\)"):
            pool.ask("hi")
        assert pool.ask("hi", "acme").text == "a"


def test_the_users_own_choice_needs_no_trust(project, tmp_path):
    """A default or an alias in the user's settings counts as naming the engine in a call."""
    folder = tmp_path / "user" / "gatewayx" / "config"
    folder.mkdir(parents=True)
    (folder / "gatewayx.toml").write_text('default_model = "acme"\n[aliases]\nsmart = "acme"\n')
    project.engine("acme", "acme")
    with EnginePool(home=project.root, env={"XDG_CONFIG_HOME": str(tmp_path / "user")}) as pool:
        assert pool.ask("hi").text == pool.ask("hi", "smart").text == "acme"


def test_a_default_that_the_user_saves_is_allowed(project, tmp_path):
    """`use(…, save=True)` names the engine, so that later sessions do not ask about it."""
    env = {"XDG_CONFIG_HOME": str(tmp_path / "user")}
    project.engine("acme", "acme")
    with EnginePool(home=project.root, env=env) as pool:
        pool.use("acme", save=True)

    with EnginePool(home=project.root, env=env) as pool:
        assert pool.ask("hi").text == "acme"


def test_trust_outlasts_edits_but_not_a_new_path(project, tmp_path):
    """An edited engine runs in the next call; another file needs its own permission."""
    env = {"XDG_CONFIG_HOME": str(tmp_path / "user")}
    project.engine("acme", "one")
    project.settings('default_model = "acme"')
    with EnginePool(home=project.root, env=env) as pool:
        pool.trust(pool.untrusted_engines())
        assert pool.ask("hi").text == "one"
        project.engine("acme", "two")
        pool.refresh()
        assert pool.ask("hi").text == "two"

        project.engine("other", "three")
        project.settings('default_model = "other"')
        pool.refresh()
        with pytest.raises(TrustError, match=r"engines/other_engine\.py"):
            pool.ask("hi")


def test_a_project_with_its_own_key_needs_no_trust(project):
    """A project's file with the project's key runs if it is called by its name."""
    path = project.engine("grok", "x")
    path.write_text(path.read_text().replace("requires_key = False", "requires_key = True"))
    project.set_keys("GATEWAYX_GROK_API_KEY=k\n")
    with project.pool() as pool:
        assert pool.ask("hi", "grok").text == "x"
        with pytest.raises(TrustError, match="the only engine with a key"):
            pool.ask("hi")  # a cloned project may have a key file


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
def test_a_key_that_was_cloned_does_not_choose_an_engine(project):
    """A key in the project's key file chooses its engine, unless git tracks the file."""
    path = project.engine("acme", "x")
    path.write_text(path.read_text().replace("requires_key = False", "requires_key = True"))
    project.set_keys("GATEWAYX_ACME_API_KEY=k\n")
    with project.pool() as pool:
        assert pool.ask("hi").text == "x"
    for command in (["init", "-q"], ["add", "-f", "config/secrets/.env.local"]):
        subprocess.run(["git", *command], cwd=project.root, check=True)
    with project.pool() as pool:
        with pytest.raises(TrustError, match="the only engine with a key"):
            pool.ask("hi")
        assert pool.ask("hi", "acme").text == "x"


def test_a_key_of_a_repository_chooses_no_engine_without_git(project, monkeypatch):
    """If git cannot say whether it tracks the key file, the key may have been cloned."""
    path = project.engine("acme", "x")
    path.write_text(path.read_text().replace("requires_key = False", "requires_key = True"))
    project.set_keys("GATEWAYX_ACME_API_KEY=k\n")
    (project.root / ".git").mkdir()
    monkeypatch.setenv("PATH", str(project.root))
    with project.pool() as pool:
        with pytest.raises(TrustError, match="the only engine with a key"):
            pool.ask("hi")
        assert pool.ask("hi", "acme").text == "x"


@pytest.mark.parametrize("reference", [None, "fast", "xai"])
def test_the_users_own_choice_does_not_mean_a_replaced_engine(project, tmp_path, reference):
    """The user's default or an alias for `grok` does not run a project's file with that name."""
    folder = tmp_path / "user" / "gatewayx" / "config"
    folder.mkdir(parents=True)
    (folder / "gatewayx.toml").write_text('default_model = "grok"\n[aliases]\nfast = "grok"\n')
    project.engine("grok", "x")
    with EnginePool(home=project.root, env={"XDG_CONFIG_HOME": str(tmp_path / "user")}) as pool:
        with pytest.raises(TrustError, match="in place of another engine"):
            pool.ask("hi", reference)
        assert pool.ask("hi", "grok").text == "x"


def test_a_blank_base_url_hides_no_address_of_the_project(project, tmp_path):
    """A blank line in the project's key file does not let its settings choose the key's host."""
    secrets = tmp_path / "user" / "gatewayx" / "config" / "secrets"
    secrets.mkdir(parents=True)
    (secrets / ".env.local").write_text(
        "GATEWAYX_OPENAI_API_KEY=USERKEY-0123456789\n"
        "GATEWAYX_OPENAI_BASE_URL=https://gateway.example/v1\n"
    )
    (secrets / ".env.local").chmod(0o600)
    project.set_keys("GATEWAYX_OPENAI_BASE_URL=\n")
    project.settings('[engines.openai]\nbase_url = "http://127.0.0.1:9/v1"\n')
    with EnginePool(home=project.root, env={"XDG_CONFIG_HOME": str(tmp_path / "user")}) as pool:
        assert pool.config.options("openai")["base_url"] == "https://gateway.example/v1"


def test_the_host_of_a_permission_is_the_one_that_is_called():
    """White space that the transport strips does not hide the host from the user."""
    assert origin("\u3000http://evil.example/v1") == "http://evil.example"
    assert origin("evil") == "evil"


def test_a_revoked_permission_applies_to_the_next_call(project, tmp_path):
    """The next call notices the change, although targets are cached between checks of the files."""
    project.engine("acme", "a")
    project.settings('default_model = "acme"')
    env = {"XDG_CONFIG_HOME": str(tmp_path / "user")}
    with EnginePool(home=project.root, env=env) as pool:
        registry, trusted = pool._registry, pool.config.trusted
        (permission,) = pool.untrusted_engines()["acme"]
        for give, take_back in (
            (lambda: env.update(GATEWAYX_TRUST=permission.id), env.clear),
            (
                lambda: trusted.add(project.root, [permission]),
                lambda: trusted.revoke(project.root),
            ),
        ):
            give()
            assert registry.resolve(None).name == "acme"
            take_back()
            with pytest.raises(TrustError):
                registry.resolve(None)


def test_a_project_gives_no_option_to_an_engine_with_the_users_key(project, tmp_path):
    """An option in the project's settings could be the address to which an engine sends its key."""
    user = tmp_path / "user" / "gatewayx" / "engines"
    user.mkdir(parents=True)
    (user / "acme_engine.py").write_text(
        "from ..llm_engines import LLMEngine\n\n\nclass AcmeEngine(LLMEngine):\n"
        "    def __init__(self, api_key='', endpoint='mine', **kwargs):\n"
        "        super().__init__(api_key, **kwargs)\n        self.endpoint = endpoint\n\n"
        "    async def generate(self, prompt, **kwargs):\n        return self.endpoint\n"
    )
    project.settings('[engines.acme]\nmodel = "m"\nendpoint = "http://evil.example"\n')
    env = {"XDG_CONFIG_HOME": str(tmp_path / "user"), "GATEWAYX_ACME_API_KEY": "USERKEY-0123456"}
    with EnginePool(home=project.root, env=env) as pool:
        with pytest.raises(TrustError, match=r"endpoint = 'http://evil.example'"):
            pool.ask("hi", "acme")
        pool.trust(pool.untrusted_engines())
        assert pool.ask("hi", "acme").text == "http://evil.example"
        project.settings('[engines.acme]\nmodel = "m"\n')
        pool.refresh()
        assert pool.ask("hi", "acme").text == "mine"


def _user_env(tmp_path, keys="", settings="", entries=""):
    """Write a user folder, and return an environment with it."""
    folder = tmp_path / "user" / "gatewayx"
    (folder / "config" / "secrets").mkdir(parents=True)
    (folder / "engines").mkdir()
    for name, text in (("gatewayx.toml", settings), ("engines.toml", entries)):
        (folder / "config" / name).write_text(text)
    (folder / "config" / "secrets" / ".env.local").write_text(keys)
    (folder / "config" / "secrets" / ".env.local").chmod(0o600)
    return folder, {"XDG_CONFIG_HOME": str(tmp_path / "user")}


CORP = '[corp]\nbase_url = "https://llm.corp.example/v1"\nmodel = "m"\n'
CORP_KEY = "GATEWAYX_CORP_API_KEY=USERKEY-0123456789\n"


@pytest.mark.parametrize("definition", ["variables", "entry", "linked", "unreadable"])
@pytest.mark.parametrize("reference", [None, "corp"])
def test_a_project_does_not_take_over_a_users_engine(project, tmp_path, definition, reference):
    """Whatever defines the user's engine, a project's file with its name needs permission."""
    keys = CORP_KEY
    if definition == "variables":
        keys += "GATEWAYX_CORP_BASE_URL=https://llm.corp.example/v1\nGATEWAYX_CORP_MODEL=m\n"
    entries = {"variables": "", "unreadable": "[corp"}.get(definition, CORP)
    folder, env = _user_env(tmp_path, keys, 'default_model = "corp"\n', entries)
    if definition == "linked":  # the project's link leads to the user's file
        (project.root / "config" / "engines.toml").symlink_to(folder / "config" / "engines.toml")
    path = project.engine("corp", "x")
    path.write_text(path.read_text().replace("requires_key = False", "requires_key = True"))
    with EnginePool(home=project.root, env=env) as pool:
        with pytest.raises(TrustError, match=r"engines/corp_engine\.py"):
            pool.ask("hi", reference)
        assert "corp" in pool.untrusted_engines()


def test_a_copy_in_the_project_does_not_run_its_own_helpers(project, tmp_path):
    """Of two equal files the user's is run, because the project's may import other modules."""
    folder, env = _user_env(tmp_path, CORP_KEY)
    source = "from ._corp import answer\nfrom ..llm_engines import LLMEngine\n\n\n"
    source += "class CorpEngine(LLMEngine):\n    async def generate(self, prompt, **kwargs):\n"
    source += "        return answer\n"
    for engines, answer in ((folder / "engines", "user"), (project.engines, "project")):
        (engines / "corp_engine.py").write_text(source)
        (engines / "_corp.py").write_text(f"answer = {answer!r}\n")
    with EnginePool(home=project.root, env=env) as pool:
        assert pool.ask("hi", "corp").text == "user"


def test_a_linked_engines_folder_does_not_count_as_shipped(project):
    """A link to the shipped folder may lead elsewhere in a moment, so it is refused."""
    project.engines.rmdir()
    project.engines.symlink_to(shipped_path("engines"))
    with project.pool() as pool, pytest.raises(EngineLoadError, match="is a symlink"):
        pool.ask("hi", "mock")


@pytest.mark.parametrize("reference", [None, "fast", "mock"])
def test_a_keyless_entry_that_the_project_chooses_needs_a_permission(project, tmp_path, reference):
    """A project's default model or alias does not send prompts to its own host."""
    _, env = _user_env(tmp_path, settings='default_model = "mock"\n')
    (project.root / "config" / "engines.toml").write_text(
        '[evil]\nbase_url = "https://evil.example/v1"\nmodel = "m"\nrequires_key = false\n'
    )
    project.settings('default_model = "evil"\n[aliases]\nfast = "evil"\nmock = "evil"\n')
    pool = EnginePool(home=project.root, env=env)
    with pool, pytest.raises(TrustError, match=r"https://evil\.example"):
        pool.ask("hi", reference)


OPTION_PREFIX = (
    "https://gateway.example/a/path/that/is/longer/than/a/table/can/show/in/one/line/of/it"
)


@pytest.mark.parametrize(
    ("allowed", "other", "shown"),
    [
        (f"{OPTION_PREFIX}@good.example", f"{OPTION_PREFIX}@evil.example", "@evil.example"),
        (
            f"https://{'a' * 60}@good.example/{'b' * 60}",
            f"https://{'a' * 60}@evil.example/{'b' * 60}",
            "hosts: https://evil.example;",
        ),
        (
            ["x" * 90, "https://good.example/" + "y" * 90],
            ["x" * 90, "https://evil.example/" + "y" * 90],
            "hosts: https://evil.example;",
        ),
        ("a  b", "a b", "a b"),
    ],
)
def test_a_permission_for_an_option_covers_its_whole_value(allowed, other, shown):
    """Values with a common beginning have their own permissions, which show their host."""
    permissions = [
        Permission("acme", option_target("endpoint", value), "") for value in (allowed, other)
    ]

    assert shown in permissions[1].target
    assert len({permission.target for permission in permissions}) == 2
    assert len({permission.id for permission in permissions}) == 2


def test_a_long_option_needs_a_permission_for_each_value(project, tmp_path):
    """A long option that was allowed does not allow one that only begins in the same way."""
    folder, env = _user_env(tmp_path, "GATEWAYX_ACME_API_KEY=USERKEY-0123456\n")
    (folder / "engines" / "acme_engine.py").write_text(
        "from ..llm_engines import LLMEngine\n\n\nclass AcmeEngine(LLMEngine):\n"
        "    async def generate(self, prompt, **kwargs):\n        return 'x'\n"
    )
    with EnginePool(home=project.root, env=env) as pool:
        project.settings(f'[engines.acme]\nmodel = "m"\nendpoint = "{OPTION_PREFIX}@good.example"')
        pool.trust(pool.untrusted_engines())
        assert pool.ask("hi", "acme").text == "x"
        project.settings(f'[engines.acme]\nmodel = "m"\nendpoint = "{OPTION_PREFIX}@evil.example"')
        pool.refresh()
        with pytest.raises(TrustError, match=r"@evil\.example"):
            pool.ask("hi", "acme")


OPENAI = f"GATEWAYX_OPENAI_API_KEY=k\nGATEWAYX_OPENAI_BASE_URL={UNTRUSTED_URL}\n"
ACME = OPENAI.replace("OPENAI", "ACME") + "GATEWAYX_ACME_MODEL=m\n"
OPENAI_USER_KEY = "GATEWAYX_OPENAI_API_KEY=USERKEY-0123456789\n"
OPENAI_URL = f'[engines.openai]\nbase_url = "{UNTRUSTED_URL}"\n'
OLLAMA_URL = OPENAI_URL.replace("openai", "ollama")


@dataclass(frozen=True)
class Redirect:
    """How a project redirects its own key, and when a call without a name needs a permission."""

    name: str
    keys: str = ""
    settings: str = ""
    user_keys: str = ""
    user_settings: str = ""
    model: str | None = None
    engine: str = "openai"
    refused: str = "if tracked"


REDIRECTS = [
    Redirect("an engine of variables", ACME, engine="acme"),
    Redirect("the only key", OPENAI),
    Redirect("the only key, address in the settings", OPENAI.partition("\n")[0], OPENAI_URL),
    Redirect("the project's default", OPENAI, 'default_model = "openai"'),
    Redirect(
        "the project's default, user has a key",
        OPENAI,
        'default_model = "openai"',
        OPENAI_USER_KEY,
    ),
    Redirect("the project's alias", OPENAI, '[aliases]\nx = "openai"', model="x"),
    Redirect("the user's default", OPENAI, user_settings='default_model = "openai"'),
    Redirect(
        "the user's default and key",
        OPENAI,
        "[keys]\nvendor_variables = false",
        OPENAI_USER_KEY.replace("GATEWAYX_", ""),
        'default_model = "openai"',
        refused="always",
    ),
    Redirect(
        "the user's alias and key",
        OPENAI,
        user_keys=OPENAI_USER_KEY,
        user_settings='[aliases]\nx = "openai"',
        model="x",
        refused="always",
    ),
    Redirect("the user's only key", OPENAI, user_keys=OPENAI_USER_KEY, refused="always"),
    Redirect("a shipped alias", OPENAI, user_keys=OPENAI_USER_KEY, model="gpt", refused="never"),
    Redirect("a name", OPENAI, user_keys=OPENAI_USER_KEY, model="openai", refused="never"),
    Redirect(
        "a keyless server, the project's default",
        settings=f'default_model = "ollama"\n{OLLAMA_URL}',
        engine="ollama",
    ),
    Redirect(
        "a keyless server, the user's default",
        settings=OLLAMA_URL,
        user_settings='default_model = "ollama"',
        engine="ollama",
        refused="always",
    ),
    Redirect(
        "a keyless server, only a proxy",
        settings='default_model = "ollama"\nnetwork.proxy = "http://127.0.0.1:9"',
        engine="ollama",
        refused="never",
    ),
]


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
@pytest.mark.parametrize("tracked", [False, True], ids=["untracked", "tracked"])
@pytest.mark.parametrize("case", REDIRECTS, ids=lambda case: case.name)
def test_a_project_redirects_its_own_key_only_for_itself(project, tmp_path, case, tracked):
    """A cloned address gets no prompt from a call without a name; the user's own address does."""
    if case.keys:
        project.set_keys(case.keys)
    project.settings(case.settings)
    subprocess.run(["git", "init", "-q"], cwd=project.root, check=True)
    if tracked:
        subprocess.run(["git", "add", "-f", "."], cwd=project.root, check=True)
    _, env = _user_env(tmp_path, case.user_keys, case.user_settings)
    if not case.user_keys.startswith("GATEWAYX"):
        env |= dict([case.user_keys.strip().split("=")]) if case.user_keys else {}
    with EnginePool(home=project.root, env=env) as pool:
        registry = pool._registry
        if case.refused == "always" or (case.refused == "if tracked" and tracked):
            with pytest.raises(TrustError, match=r"send your prompts to http://127\.0\.0\.1:9 \("):
                registry.resolve(case.model)
            pool.trust(pool.untrusted_engines())
        # A call without a name may be refused where one with a name is not.
        assert case.refused == "never" or case.engine not in pool.untrusted_engines()
        assert registry.resolve(case.model).name == case.engine


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
@pytest.mark.parametrize("user", ["without a key", "with a key and a default"])
@pytest.mark.parametrize("settings", ["", 'default_model = "openai"\n'])
@pytest.mark.parametrize("tracked", [False, True], ids=["untracked", "tracked"])
def test_a_cloned_key_gets_no_prompt_from_a_call_without_a_name(
    project, tmp_path, user, settings, tracked
):
    """The owner of the key's account could read the prompts; the user's own key is used."""
    project.set_keys("GATEWAYX_OPENAI_API_KEY=sk-another-0123456789\n")
    project.settings(settings)
    subprocess.run(["git", "init", "-q"], cwd=project.root, check=True)
    if tracked:
        subprocess.run(["git", "add", "-f", "."], cwd=project.root, check=True)
    own = ("GATEWAYX_OPENAI_API_KEY=sk-own-0123456789\n", 'default_model = "openai"\n')
    _, env = _user_env(tmp_path, *(own if user == "with a key and a default" else ()))
    with EnginePool(home=project.root, env=env) as pool:
        assert pool._registry.resolve("openai").key == "sk-another-0123456789"
        if tracked:
            with pytest.raises(TrustError, match="to the account of a key in the project"):
                pool._registry.resolve(None)
            pool.trust(pool.untrusted_engines())
        assert pool.untrusted_engines() == {}
        assert pool._registry.resolve(None).key == "sk-another-0123456789"


def test_a_projects_option_redirects_no_user_engine(project, tmp_path):
    """The user's default with a cloned key and option needs a permission for the option."""
    folder, env = _user_env(tmp_path, CORP_KEY, 'default_model = "corp"')
    (folder / "engines" / "corp_engine.py").write_text(
        "from ..llm_engines import LLMEngine\n\n\nclass CorpEngine(LLMEngine):\n"
        "    async def generate(self, prompt, **kwargs):\n        return 'x'\n"
    )
    project.set_keys("GATEWAYX_CORP_API_KEY=k\n")
    project.settings('[engines.corp]\nendpoint = "https://evil.example"\n')
    with EnginePool(home=project.root, env=env) as pool:
        with pytest.raises(TrustError, match=r"endpoint = 'https://evil\.example'"):
            pool.ask("hi")
        pool.trust(pool.untrusted_engines())
        assert pool._registry.resolve(None).name == "corp"


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
def test_a_redirected_default_that_the_user_saves_is_allowed(project, tmp_path):
    """`use(…, save=True)` names the engine, so that later calls send prompts to its address."""
    project.set_keys(OPENAI)
    for command in (["init", "-q"], ["add", "-f", "."]):
        subprocess.run(["git", *command], cwd=project.root, check=True)
    _, env = _user_env(tmp_path)
    with EnginePool(home=project.root, env=env) as pool:
        pool.use("openai", save=True)

    with EnginePool(home=project.root, env=env) as pool:
        assert pool._registry.resolve(None).name == "openai"
