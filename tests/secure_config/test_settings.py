import errno
import os
import tomllib
from decimal import Decimal

import pytest

from gatewayx_nb.errors import ConfigError
from gatewayx_nb.secure_config import SETTINGS
from gatewayx_nb.secure_config.settings import Settings, load, save_default, value_of


def _write_file(tmp_path, text, name="gatewayx.toml"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_settings_have_defaults(tmp_path):
    """Without a settings file, every setting has its default value."""
    assert load([tmp_path / "none.toml"]) == Settings()


def test_every_setting_is_read(tmp_path):
    """The settings object has the values of the file in the same structure."""
    settings = load(
        [
            _write_file(
                tmp_path,
                """
                default_model = "grok"
                aliases.fast = "grok:small"
                limits = {timeout = 5, concurrency = 4, retries = 0}
                network = {proxy = "http://p:1", ca_bundle = "ca.pem", plain_http = ["nas"]}
                keys.vendor_variables = false
                storage = {folder = "rows", keep_days = 30}
                engines.grok = {model = "grok-x", own = [1]}
                """,
            )
        ]
    )

    assert (settings.storage_folder, settings.keep_days) == ("rows", 30.0)
    assert (settings.default_model, settings.aliases["fast"]) == ("grok", "grok:small")
    assert (settings.limits.timeout, settings.limits.concurrency) == (5.0, 4)
    assert (settings.limits.retries, settings.vendor_variables) == (0, False)
    assert (settings.network.proxy, settings.network.plain_http) == ("http://p:1", ("nas",))
    assert settings.engines["grok"] == {"model": "grok-x", "own": [1]}


def test_project_settings_override_user_settings(tmp_path):
    """A project's setting overrides only the same setting of the user."""
    project = _write_file(tmp_path, "limits.timeout = 1", "project.toml")
    user = _write_file(tmp_path, "limits = {timeout = 2, retries = 0}", "user.toml")

    limits = load([project, user]).limits

    assert (limits.timeout, limits.retries) == (1.0, 0)


@pytest.mark.parametrize(
    ("project", "user", "retries", "max_cost"),
    [
        ("retries = 100\nmax_cost = 1e5", "retries = 2\nmax_cost = 0.5", 2, "0.5"),
        ("retries = 0\nmax_cost = 0.5", "retries = 2\nmax_cost = 5", 0, "0.5"),
        ("retries = 5\nmax_cost = 5", "", 5, "5"),
        ("", "retries = 5\nmax_cost = 0", 5, "0"),
        ("retries = 5", "max_cost = 0.5", 5, "0.5"),
    ],
)
def test_a_project_raises_no_user_limit(tmp_path, project, user, retries, max_cost):
    """If two files set a limit, the lower one applies."""
    files = [
        _write_file(tmp_path, f"[limits]\n{text}\n", name)
        for text, name in ((project, "project.toml"), (user, "user.toml"))
    ]

    limits = load(files).limits

    assert (limits.retries, limits.max_cost) == (retries, Decimal(max_cost))


@pytest.mark.parametrize(
    "name", ["timeout", "concurrency", "retries", "table_rows", "max_cost_per_day"]
)
@pytest.mark.parametrize(("project", "user"), [(99, 5), (5, 99), (5, None), (None, 5)])
def test_each_user_limit_holds_in_a_project(tmp_path, name, project, user):
    """A cloned project's settings make no call longer and no prompt larger than its user allows."""
    files = [
        _write_file(tmp_path, f"limits.{name} = {value}" if value else "", f"{owner}.toml")
        for owner, value in (("project", project), ("user", user))
    ]

    assert getattr(load(files).limits, name) == 5


def test_a_project_alone_cannot_freeze_a_notebook_with_a_long_table(tmp_path):
    """Even if the user has set no limit, the number of rows in a prompt has one."""
    path = _write_file(tmp_path, "limits.table_rows = 10_001")

    with pytest.raises(ConfigError, match=r"'table_rows'.*an integer from 1 to 10,000, got 10001"):
        load([path])


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 100_000,
        "limits.concurrency = " + "9" * 5_000,
        "limits.concurrency = 1e400",
        ".".join("a" * 10_000) + " = 1",
        "#" * 2**20 + "\na = 1",
    ],
    ids=["deep", "digits", "infinity", "dotted", "huge"],
)
@pytest.mark.parametrize("file", ["gatewayx.toml", "engines.toml"])
def test_malformed_toml_is_one_typed_error_or_a_problem(project, file, text):
    """`EnginePool()` does not raise the parser's own exceptions; invalid entries do not stop it."""
    (project.root / "config" / file).write_text(text)
    if file == "engines.toml":
        with project.pool() as pool:
            assert not any("\n" in problem for problem in pool.problems)
            assert pool.ask("hi", "mock").text == "[mock] hi"
    else:
        with pytest.raises(ConfigError, match=r"gatewayx\.toml"):
            project.pool()


@pytest.mark.parametrize(
    ("text", "expected_message"),
    [
        ("defaultmodel = 'x'", "unknown setting 'defaultmodel'.*Did you mean 'default_model'"),
        ("limits.timout = 1", r"\[limits\] timout.*Did you mean 'timeout'"),
        ("limits = 1", "'limits'.*must be a table, got 1"),
        ("limits.timeout = 'x'", "'timeout'.*must be a number > 0 and at most 604,800, got"),
        ("limits.timeout = 0", "'timeout'.*must be a number > 0 and at most 604,800, got"),
        ("limits.timeout = inf", "'timeout'.*must be a number > 0 and at most 604,800, got"),
        ("limits.concurrency = 0.5", "'concurrency'.*must be an integer from .* to .*, got"),
        ("limits.concurrency = 0", "'concurrency'.*must be an integer from 1 to"),
        ("limits.retries = -1", "'retries'.*must be an integer from 0 to"),
        ("network.plain_http = [1]", "'plain_http'.*must be a list of strings, got"),
        ("engines.grok.model = 3", "'model'.*must be a string, got"),
        ("engines.grok.api_key = 'k'", r"\[engines.grok\].*must not contain an api_key"),
        ("limits.table_rows = 0", "'table_rows'.*must be an integer from 1 to"),
        ("limits.retries = 101", "'retries'.*must be an integer from 0 to 100, got 101"),
        ("limits.concurrency = 10001", "'concurrency'.*from 1 to 10,000, got 10001"),
        ("limits.timeout = 1e300", "'timeout'.*must be a number > 0 and at most 604,800, got"),
        ("limits.max_cost = -1", "'max_cost'.*must be an amount of US dollars >= 0, got -1"),
        (
            "limits.max_cost_per_day = 'x'",
            "'max_cost_per_day'.*must be an amount of US dollars >= 0, got 'x'",
        ),
        ("limits.max_cost_per_day = nan", "'max_cost_per_day'.*must be an amount of US dollars"),
        ("limits.retries = true", "'retries'.*must be an integer from .* to .*, got"),
        ("storage.folder = ' '", "'folder'.*must be a path, got"),
        ("storage.folder = 1", "'folder'.*must be a path, got"),
        ("storage.keep_days = 0", "'keep_days'.*must be a number > 0 and at most 36,500, got 0"),
        ("storage.keep_days = nan", "'keep_days'.*must be a number > 0"),
        ("storage.folders = 'a'", r"unknown setting '\[storage\] folders'.*Did you mean 'folder'"),
        ("default_model = 1", "'default_model'.*must be a string, got"),
        ("= nonsense", r"cannot be read.*line 1.*Fix that line, or move the file away: `mv"),
        (f"limits.retries = {'9' * 5_000}", "cannot be read.*digits.*Fix the file, or move"),
    ],
)
def test_an_invalid_setting_raises(tmp_path, text, expected_message):
    """The error for an invalid setting has the file, and the nearest name or the expected value."""
    path = _write_file(tmp_path, text)

    with pytest.raises(ConfigError, match=expected_message) as error:
        load([path])
    assert str(path) in str(error.value)


def test_an_unreadable_file_has_no_line_to_fix(tmp_path, monkeypatch):
    """If a file cannot be opened, the hint is to make it readable."""
    path = _write_file(tmp_path, "default_model = 'mock'")

    def refuse(*arguments, **keywords):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refuse)  # root, who runs some tests, may open any file
    with pytest.raises(
        ConfigError, match=r"cannot be read: .*Permission denied.*chmod u\+r"
    ) as error:
        load([path])
    assert "that line" not in str(error.value)


@pytest.mark.parametrize(
    ("old_text", "new_text"),
    [
        ("", 'default_model = "grok"\n'),
        (
            "# mine\n[limits]\nretries = 1\n",
            'default_model = "grok"\n# mine\n[limits]\nretries = 1\n',
        ),
        ('a = 1\ndefault_model = "x" # y\nb = 2\n', 'a = 1\ndefault_model = "grok"\nb = 2\n'),
        ('[t]\ndefault_model = "z"\n', 'default_model = "grok"\n[t]\ndefault_model = "z"\n'),
        ("\ufeffa = 1\n", 'default_model = "grok"\na = 1\n'),
        ('"default_model" = "x"\n', 'default_model = "grok"\n'),
        ("a = 1\r\n'default_model' = 'x'\r\n", 'a = 1\r\ndefault_model = "grok"\r\n'),
        ('a = """\n[b]\n"""\n', 'default_model = "grok"\na = """\n[b]\n"""\n'),
    ],
)
def test_saving_the_default_model_changes_one_line(tmp_path, old_text, new_text):
    """Saving the default model keeps all other lines, including comments and tables."""
    path = _write_file(tmp_path, "")
    path.write_bytes(old_text.encode())
    path.chmod(0o664)

    save_default(path, "grok")

    assert path.read_bytes().decode() == new_text
    assert path.stat().st_mode & 0o777 == 0o664
    assert tomllib.loads(new_text)["default_model"] == "grok"


@pytest.mark.parametrize(
    "text",
    [
        'default_model = """\nx"""\n',
        '"default\\u005fmodel" = "x"\n',
        'a = """\ndefault_model = 1\n"""\n',
    ],
)
def test_a_default_model_that_cannot_be_replaced_is_left_as_it_is(tmp_path, text):
    """A file in which the line cannot be replaced is unchanged, and the error says what to do."""
    tomllib.loads(text)
    path = _write_file(tmp_path, text)

    with pytest.raises(ConfigError, match="cannot be replaced") as caught:
        save_default(path, "grok")

    assert 'default_model = "grok"' in str(caught.value.hint)
    assert path.read_text() == text


def test_a_saved_reference_is_escaped(tmp_path):
    """A reference with quotes and backslashes is saved and read back unchanged."""
    path = _write_file(tmp_path, "")

    save_default(path, 'mock:a"b\\c')

    assert load([path]).default_model == 'mock:a"b\\c'


def test_the_defaults_of_the_table_are_those_of_the_settings():
    """`settings` shows the table's defaults, and the pool uses those of the classes."""
    defaults = Settings()

    for setting in SETTINGS:
        assert value_of(defaults, setting) == setting.default
