"""Additional headers in the settings: what a file may contain, and which values are sent."""

import base64

import pytest

from gatewayx_nb.errors import ConfigError
from gatewayx_nb.secure_config.headers import RESERVED_HEADERS, check_no_key, expand
from gatewayx_nb.secure_config.settings import load

KEY = "sk-canary-7Hq2pVxN4mTzK9wB"


def _load(tmp_path, toml):
    path = tmp_path / "gatewayx.toml"
    path.write_text(f"[engines.grok]\nheaders = {toml}\n")
    return load([path]).engines["grok"]["headers"]


@pytest.mark.parametrize(
    "toml",
    [
        '{"x-team" = "$TEAM"}',
        '{"X-Team" = "team ${TEAM}, $$5", "helicone-property-app" = "notebooks"}',
        '{"x-monkey" = "$MONKEY_TEAM $PATH $AUTHOR"}',
        "{}",
    ],
)
def test_headers_are_accepted(tmp_path, toml):
    assert len(_load(tmp_path, toml)) == toml.count("=")


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("5", "'headers' in .* must be a table, got 5"),
        ('{"x team" = "a"}', "'x team' is not a valid header name"),
        ('{"x:" = "a"}', "is not a valid header name"),
        ('{"" = "a"}', "is not a valid header name"),
        (r'{"x\r\ny" = "a"}', "is not a valid header name"),
        ('{"ü" = "a"}', "is not a valid header name"),
        ('{"' + "x" * 101 + '" = "a"}', "is not a valid header name"),
        ('{"x-team" = 5}', "'x-team' must be a non-blank string, got 5"),
        ('{"x-team" = " "}', "must be a non-blank string"),
        (r'{"x-team" = "a\r\nauthorization: b"}', "of printable ASCII, without line breaks"),
        (r'{"x-team" = "a\u0000"}', "of printable ASCII"),
        ('{"x-team" = "ü"}', "of printable ASCII"),
        ('{"x-team" = "' + "a" * 2001 + '"}', "at most 2,000 characters"),
        ('{"x-team" = "$"}', "write `\\$\\$` for a dollar sign"),
        ('{"x-team" = "${TEAM"}', "write `\\$\\$` for a dollar sign"),
        ('{"x-team" = "$5"}', "write `\\$\\$` for a dollar sign"),
        ('{"x-team" = "a", "X-Team" = "b"}', "must not contain the same name twice"),
        ("{" + ", ".join(f"x{n} = 'a'" for n in range(21)) + "}", "at most 20 entries, got 21"),
    ],
)
def test_invalid_headers_are_named(tmp_path, toml, message):
    with pytest.raises(ConfigError, match=message):
        _load(tmp_path, toml)


@pytest.mark.parametrize("name", sorted(RESERVED_HEADERS))
def test_the_clients_headers_are_reserved(tmp_path, name):
    with pytest.raises(ConfigError, match=f"'{name.title()}' is reserved"):
        _load(tmp_path, f'{{"{name.title()}" = "a"}}')


@pytest.mark.parametrize(
    "variable",
    [
        *("XAI_API_KEY", "OPENAI_API_KEY", "GATEWAYX_TEAM", "gatewayx_grok_base_url"),
        *("GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "DB_PASSWORD", "apikey"),
        *("GOOGLE_APPLICATION_CREDENTIALS", "NPM_AUTH_LINE", "GITHUB_PAT", "KEYS", "PGPASSWORD"),
    ],
)
@pytest.mark.parametrize("form", ["$%s", "a ${%s} b"])
def test_key_variables_are_refused(tmp_path, variable, form):
    """The name of a variable that may hold a key is refused, whether or not it is set."""
    with pytest.raises(ConfigError, match=f"'x-team' contains .{variable}, which may be a key"):
        _load(tmp_path, f'{{"x-team" = "{form % variable}"}}')


def test_variables_are_replaced():
    """Variables are replaced once: a `$` in a value is not a variable."""
    headers = {"a": "$TEAM-${TEAM}x", "b": "$$TEAM", "c": "$OTHER"}
    env = {"TEAM": " data ", "OTHER": "$TEAM"}
    assert expand(headers, env, "grok") == {"a": "data-datax", "b": "$TEAM", "c": "$TEAM"}


@pytest.mark.parametrize("env", [{}, {"TEAM": ""}, {"TEAM": " "}])
def test_an_undefined_variable_is_named(env):
    message = r"the variable \$TEAM, used in the headers of \[engines.grok\], is not set"
    with pytest.raises(ConfigError, match=message):
        expand({"x-team": "a $TEAM"}, env, "grok")


@pytest.mark.parametrize("value", ["secret\r\nhost: evil", "secret\x00", "sécret", "secret" * 500])
def test_a_value_that_cannot_be_sent_is_not_shown(value):
    with pytest.raises(ConfigError, match=r"the variable \$TEAM.*without line breaks") as caught:
        expand({"x-team": "$TEAM"}, {"TEAM": value}, "grok")
    assert "cret" not in caught.value.describe()


@pytest.mark.parametrize(
    "value",
    [
        *(KEY, f"team {KEY}", f"x={KEY.upper()}", KEY[4:16], KEY[::1][-9:]),
        *(base64.b64encode(KEY.encode()).decode(), KEY.encode().hex(), "short", "a short b"),
        *("xai-0123", "Bearer gsk_12345"),
    ],
)
def test_a_key_is_in_no_header(value):
    """A value with a key, a part of one or a text that begins like one is refused, not shown."""
    with pytest.raises(ConfigError, match="the value of 'x-team' contains a key") as caught:
        check_no_key({"x-app": "notebooks", "x-team": value}, ["", KEY, "short"], "grok")
    assert value not in caught.value.describe()


def test_other_values_are_not_keys():
    values = ["data", "4f6e2a1c-52d1-4d8f-9f3e-0d7a6a5f1b2c", "a@example.com", "openai anthropic"]
    check_no_key({f"x-{n}": value for n, value in enumerate(values)}, [KEY], "grok")
