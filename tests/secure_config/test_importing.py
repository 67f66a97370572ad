import json
from dataclasses import dataclass

import pytest

from gatewayx_nb.engine_pool import EnginePool
from gatewayx_nb.errors import ConfigError, TrustError
from gatewayx_nb.secure_config import key_store
from gatewayx_nb.secure_config.importing import ImportedKey, SkipReason


@dataclass
class Case:
    """A file, and its imported keys and skipped names."""

    id: str
    text: str
    imported: dict
    skipped: tuple = ()


CASES = [
    Case(
        "package's variables",
        "GATEWAYX_MINE_API_KEY=a\nGATEWAYX_MINE_BASE_URL=https://h/v1\nGATEWAYX_MINE_MODEL=m\n",
        {
            "GATEWAYX_MINE_API_KEY": "a",
            "GATEWAYX_MINE_BASE_URL": "https://h/v1",
            "GATEWAYX_MINE_MODEL": "m",
        },
    ),
    Case(
        "vendors' variables",
        "export XAI_API_KEY='a'\nGEMINI_API_KEY=b\nMISTRAL_API_KEY=c\nDATABASE_URL=d\n",
        {
            "GATEWAYX_GROK_API_KEY": "a",
            "GATEWAYX_GOOGLE_API_KEY": "b",
            "GATEWAYX_MISTRAL_API_KEY": "c",
        },
        (ImportedKey("DATABASE_URL", "", SkipReason.NOT_A_VARIABLE),),
    ),
    Case(
        "package's variable before a vendor's",
        "XAI_API_KEY=b\nGATEWAYX_GROK_API_KEY=a\n",
        {"GATEWAYX_GROK_API_KEY": "a"},
        (ImportedKey("XAI_API_KEY", "GATEWAYX_GROK_API_KEY", SkipReason.OTHER_KEY_SET),),
    ),
    Case(
        "no keys",
        "XAI_API_KEY=your_key_here\nOPENAI_API_KEY=\nCO_API_KEY=clé\n",
        {},
        (
            ImportedKey("XAI_API_KEY", "GATEWAYX_GROK_API_KEY", SkipReason.PLACEHOLDER),
            ImportedKey("OPENAI_API_KEY", "GATEWAYX_OPENAI_API_KEY", SkipReason.EMPTY),
            ImportedKey("CO_API_KEY", "GATEWAYX_COHERE_API_KEY", SkipReason.PLACEHOLDER),
        ),
    ),
    Case(
        "a name that may be a key",
        "gsk_canary=1\n",
        {},
        (ImportedKey("", "", SkipReason.NOT_A_VARIABLE),),
    ),
    Case(
        "llm's keys.json",
        json.dumps(
            {
                "// Note": "This file stores secret API credentials. Do not share!",
                "openai": "a",
                "claude": "b",
                "gemini": "c",
                "openrouter": "d",
                "replicate": "e",
                "number": 1,
            }
        ),
        {
            "GATEWAYX_OPENAI_API_KEY": "a",
            "GATEWAYX_ANTHROPIC_API_KEY": "b",
            "GATEWAYX_GOOGLE_API_KEY": "c",
            "GATEWAYX_OPENROUTER_API_KEY": "d",
        },
        (
            ImportedKey("// Note", "", SkipReason.NOT_A_VARIABLE),
            ImportedKey("replicate", "", SkipReason.NOT_A_VARIABLE),
        ),
    ),
    Case("empty file", "", {}),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_file_of_keys_is_imported(project, tmp_path, case):
    """Known names are imported, unknown names are listed, and the file is unchanged."""
    source = tmp_path / "source"
    source.write_text(case.text)
    source.chmod(0o644)

    report = project.pool().import_keys(source)

    assert dict(key_store.read(project.keys).values) == case.imported
    assert {entry.variable for entry in report.entries if not entry.skip_reason} == set(
        case.imported
    )
    assert tuple(entry for entry in report.entries if entry.skip_reason) == case.skipped
    assert (source.read_text(), source.stat().st_mode & 0o777) == (case.text, 0o644)


def test_an_import_does_not_overwrite_keys(project, tmp_path):
    """An import replaces placeholders but not keys, and reports whether a key is the same."""
    project.set_keys(
        "GATEWAYX_GROK_API_KEY=mine\nGATEWAYX_OPENAI_API_KEY=changeme\nGATEWAYX_COHERE_API_KEY=c\n"
    )
    source = tmp_path / ".env"
    source.write_text("XAI_API_KEY=other\nOPENAI_API_KEY=new\nCO_API_KEY=c\n")

    report = project.pool().import_keys(source)

    assert [entry.skip_reason for entry in report.entries] == [
        SkipReason.OTHER_KEY_SET,
        None,
        SkipReason.ALREADY_SET,
    ]
    assert project.keys.read_text() == (
        "GATEWAYX_GROK_API_KEY=mine\nGATEWAYX_OPENAI_API_KEY=new\nGATEWAYX_COHERE_API_KEY=c\n"
    )


def test_a_project_cannot_claim_a_variable_of_an_imported_file(project, tmp_path):
    """A project's ``key`` fields and aliases cannot claim a key; built-in names take precedence."""
    entry = '[{}]\nbase_url = "https://{}.example"\nkey = "{}"\n'
    claims = [("evil", "OPENAI_API_KEY"), ("other", "AWS_SECRET_ACCESS_KEY"), ("NPM_TOKEN", "")]
    (project.root / "config" / "engines.toml").write_text(
        "".join(entry.format(name, name, key) for name, key in claims)
    )
    project.settings('[aliases]\nAWS_SESSION_TOKEN = "evil"\nclaude = "evil"\n')
    user = tmp_path / "user" / "gatewayx" / "config"
    user.mkdir(parents=True)
    (user / "engines.toml").write_text(
        entry.format("mine", "mine", "CORP_KEY") + entry.format("mine2", "mine2", "XAI_API_KEY")
    )
    source = tmp_path / ".env"
    names = ["OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY", "NPM_TOKEN"]
    names += ["AWS_SESSION_TOKEN", "CORP_KEY", "XAI_API_KEY", "MISTRAL_API_KEY"]
    source.write_text("".join(f"{name}=made-up-{name}\n" for name in names))

    with EnginePool(home=project.root, env={"XDG_CONFIG_HOME": str(tmp_path / "user")}) as pool:
        pool.import_keys(source)

    assert dict(key_store.read(project.keys).values) == {
        "GATEWAYX_OPENAI_API_KEY": "made-up-OPENAI_API_KEY",
        "GATEWAYX_MINE_API_KEY": "made-up-CORP_KEY",
        "GATEWAYX_GROK_API_KEY": "made-up-XAI_API_KEY",
        "GATEWAYX_MISTRAL_API_KEY": "made-up-MISTRAL_API_KEY",
    }


def test_a_project_alias_cannot_claim_a_key_from_llms_keys_json(project, tmp_path):
    """A name in llm's keys.json is resolved without the project's aliases."""
    project.settings('[aliases]\nclaude = "mistral"\n')
    source = tmp_path / "keys.json"
    source.write_text('{"claude": "made-up"}')

    project.pool().import_keys(source)

    assert dict(key_store.read(project.keys).values) == {"GATEWAYX_ANTHROPIC_API_KEY": "made-up"}


def test_a_script_imports_a_redirected_key_only_with_permission(project, tmp_path):
    """The error says how to allow the destination in Python and in the environment."""
    project.settings('[engines.openai]\nbase_url = "https://evil.example/v1"\n')
    source = tmp_path / ".env"
    source.write_text("OPENAI_API_KEY=made-up\n")
    env = {"XDG_CONFIG_HOME": str(tmp_path / "user")}
    with EnginePool(home=project.root, env=env) as pool:
        destinations = pool.key_destinations("openai")
        with pytest.raises(TrustError, match=r"https://evil\.example") as error:
            pool.import_keys(source)
        assert not project.keys.exists()
        assert 'key_destinations("openai")' in error.value.describe()
        env["GATEWAYX_TRUST"] = destinations["openai"][0].id
        assert not pool.key_destinations("openai", untrusted=True)
        del env["GATEWAYX_TRUST"]

        pool.trust(destinations)
        pool.import_keys(source)

    assert dict(key_store.read(project.keys).values) == {"GATEWAYX_OPENAI_API_KEY": "made-up"}


@pytest.mark.parametrize(
    ("text", "openai_key", "is_imported"),
    [
        ("GATEWAYX_OPENAI_BASE_URL={}", "USERKEY-1", False),
        ("GATEWAYX_OPENAI_BASE_URL={}\nOPENAI_API_KEY=k1", "USERKEY-1", False),
        ("GATEWAYX_OPENAI_BASE_URL={}", "", False),
        ("GATEWAYX_OLLAMA_BASE_URL={}", "", False),
        ("GATEWAYX_OPENAI_BASE_URL={}\nOPENAI_API_KEY=k1", "", True),
    ],
)
def test_a_script_imports_an_address_only_for_the_key_beside_it(
    project, tmp_path, text, openai_key, is_imported
):
    """A file cannot redirect a key that is stored elsewhere unless the script confirms this."""
    source = tmp_path / ".env"
    source.write_text(text.format("https://evil.example/v1"))
    env = {"OPENAI_API_KEY": openai_key, "XDG_CONFIG_HOME": str(tmp_path / "user")}
    plans = []
    with EnginePool(home=project.root, env=env) as pool:
        if not is_imported:
            for user in (True, False):
                with pytest.raises(
                    TrustError, match=r"https://evil\.example; nothing was imported"
                ):
                    pool.import_keys(source, user=user)
        result = pool.import_keys(source, user=True, confirm=plans.append)

    assert [*plans[0].base_urls.values()] == ["https://evil.example/v1"]
    assert plans[0].user
    assert "evil.example" in result.path.read_text()


@pytest.mark.parametrize(
    ("create", "expected_message"),
    [
        (lambda path: None, "cannot be read: No such file"),
        (lambda path: path.mkdir(), "is not a regular file"),
        (lambda path: path.write_text("{'openai': sk-canary}"), "or a JSON object"),
        (lambda path: path.write_text("{" * 100_000), "or a JSON object"),
        (lambda path: path.write_text("A=1\n" * 100_000), "more than 10,000 lines"),
    ],
    ids=["missing file", "folder", "not JSON", "deep JSON", "long"],
)
def test_an_invalid_source_raises_a_one_line_error(project, tmp_path, create, expected_message):
    """Importing an invalid file raises a one-line error that shows none of its content."""
    source = tmp_path / "source"
    create(source)

    with pytest.raises(ConfigError, match=expected_message) as error:
        project.pool().import_keys(source)
    assert "\n" not in str(error.value)
    assert "canary" not in f"{error.value!r}{error.value.__context__}"
