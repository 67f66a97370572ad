import contextlib
import doctest
import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayx_nb import prompts
from gatewayx_nb.errors import UsageError
from gatewayx_nb.prompts import fill


class Key(str):
    """A str type whose value must never be sent."""

    __slots__ = ()


class UnreadableObject:
    """An object that raises an exception whenever it is read."""

    def __str__(self):
        raise ValueError("no text")

    def __getitem__(self, key):
        raise ZeroDivisionError

    @property
    def broken(self):
        """Raise an error."""
        raise RuntimeError("no value")


VARIABLES = {
    "name": "Ada",
    "x": 3.14159,
    "d": {"k": "v", "a:b": "colon", "}}": "braces", 7: "seven", "n": [1, 2, {"deep": "down"}]},
    "Out": {3: "third"},
    "rows": ["first", "last"],
    "obj": SimpleNamespace(attr="a", inner=SimpleNamespace(n=5), _own=1),
    "when": datetime(2026, 3, 1, 14, 30, tzinfo=UTC),
    "again": "{{name}}",
    "größe": 9,
    "_": "last output",
    "__": "before",
    "___": "before that",
    "_12": "twelfth",
    "_reply": "reply",
    "__name__": "__main__",
    "key": Key("sk-1234"),
    "keys": {"grok": Key("sk-1234")},
    "hostile": UnreadableObject(),
}


@dataclass(frozen=True)
class Case:
    """A prompt, and the text that is sent."""

    template: str
    text: str


CASES = [
    Case("Hello {{name}}, {{ name }}!", "Hello Ada, Ada!"),
    Case("{{d[\"k\"]}} {{d['k']}} {{d[7]}}", "v v seven"),
    Case("{{Out[3]}} {{rows[0]}} {{rows[-1]}}", "third first last"),
    Case('{{obj.attr}} {{obj.inner.n}} {{d["n"][2]["deep"]}}', "a 5 down"),
    Case("{{x:.2f}} {{x}} {{name:>5}} {{obj.inner.n:03}}", "3.14 3.14159   Ada 005"),
    Case("{{when:%H:%M on %d %B}}", "14:30 on 01 March"),
    Case('{{d["a:b"]}} {{d["a:b"]:>6}} {{d["}}"]}}', "colon  colon braces"),
    Case("{{x:}}{{ x:.1f }}", "3.141593.1"),
    Case("{{_}} {{__}} {{___}} {{_12}} {{_reply}}", "last output before before that twelfth reply"),
    Case("{{größe}}", "9"),
    Case("{{again}} {{again}}", "{{name}} {{name}}"),
    Case('{"who": {"is": {{name}}}}', '{"who": {"is": Ada}}'),
    Case("\\textbf{{{name}}}", "\\textbf{Ada}"),
    Case("{{name}}{{name}}", "AdaAda"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.template)
def test_placeholders_are_replaced_by_values(case):
    """Placeholders are replaced in one pass, with attributes, items and format specifications."""
    assert fill(case.template, VARIABLES) == case.text


LITERAL_TEXTS = [
    "",
    "{name} $name ${name} %name {{}} {{ }} { {name} } {{name} {name}}",
    '{{"a": 1}} {{ {"a": 1} }} {{[1, 2]}} {{1}} {{"name"}}',
    'style={{color: "red"}} style={{color:"red"}}',
    "\\frac{{1}}{{2}} \\mathbf{{\\alpha}} {{\\bf name}} {{x^2}} {{x_{1}}}",
    "{% for name in rows %}{{ name|upper }}{% endfor %} {{#if name}} {{/if}} {{> name}} {{else}}",
    "{{name()}} {{name.upper()}} {{x + 1}} {{-x}} {{not x}} {{None}} {{True}} {{x if x else x}}",
    "{{rows[x]}} {{rows[0:1]}} {{rows[1.0]}} {{d[True]}} {{rows[]}} {{d[f'k']}} {{d['k'}} {{d.}}",
    "{{x!r}} {{name,}} {{*rows}} {{lambda: x}} {{x := 1}} {{obj.class}} {{name\n}} {{.name}}",
    "{{name" * 3,
]


@pytest.mark.parametrize("template", LITERAL_TEXTS)
def test_other_text_is_literal(template):
    """JSON, JSX, LaTeX, Jinja and other Python expressions are sent as typed."""
    assert fill(template, VARIABLES) == template


@dataclass(frozen=True)
class Fault:
    """A prompt with an invalid placeholder, and parts of the expected error."""

    template: str
    message_parts: tuple[str, ...]
    hint: str


FAULTS = [
    Fault("{{nmae}}", ("'nmae'", "not defined", "Did you mean 'name'?"), 'nmae = "..."'),
    Fault("{{len}}", ("'len'", "not defined"), "len ="),
    Fault("{{obj.atr}}", ("'obj.atr'", "no attribute 'atr'", "'attr'?"), "dir(obj)"),
    Fault("{{obj.inner.m.x}}", ("'obj.inner.m'", "'obj.inner'"), "dir(obj.inner)"),
    Fault('{{d["kk"]}}', ("""d["kk"]""", "no key 'kk'", "'k'?"), "list(d)"),
    Fault('{{d["n"][9]}}', ("""d["n"][9]""", "no key 9"), 'list(d["n"])'),
    Fault("{{Out[4]}}", ("'Out[4]'", "no key 4"), "list(Out)"),
    Fault('{{x["k"]}}', ("""x["k"]""", "TypeError"), 'x["k"]'),
    Fault('{{hostile["k"]}}', ("hostile", "ZeroDivisionError"), 'hostile["k"]'),
    Fault("{{hostile.broken}}", ("'hostile.broken'", "RuntimeError"), "hostile.broken"),
    Fault("{{hostile}}", ("'hostile'", "ValueError"), "format(hostile, '')"),
    Fault("{{name:.2f}}", ("'name'", "'.2f'", "ValueError"), "format(name, '.2f')"),
    Fault("{{rows:>9}}", ("'rows'", "'>9'", "TypeError"), "format(rows, '>9')"),
    Fault("{{__name__}}", ("'__name__'", "private"), "value = __name__"),
    Fault("{{name.__class__}}", ("'name.__class__'", "private"), "value = name.__class__"),
    Fault("{{obj._own}}", ("'obj._own'", "private"), "value = obj._own"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.template)
def test_an_invalid_placeholder_raises_an_error(fault):
    """The error contains the placeholder, the nearest name and an expression to run."""
    with pytest.raises(UsageError) as caught:
        fill(f"A long prompt. {fault.template}", VARIABLES)
    assert [part for part in fault.message_parts if part not in caught.value.message] == []
    assert fault.hint in str(caught.value.hint)
    assert "A long prompt" not in str(caught.value)


@pytest.mark.parametrize(
    "field", ["{{key}}", "{{key:>9}}", '{{keys["grok"]}}', "{{key[0]}}", "{{key.upper}}"]
)
def test_a_forbidden_value_raises_an_error(field):
    """A value of a forbidden type, or one of its attributes, raises an error without the value."""
    with pytest.raises(UsageError, match="a Key and is never sent") as caught:
        fill(field, VARIABLES, forbidden_types=(Key,))
    assert "sk-" not in str(caught.value)


@given(st.text().filter(lambda text: "{{" not in text))
def test_a_text_without_placeholders_is_unchanged(text):
    """A text without placeholders is returned unchanged."""
    assert fill(text, {}) == text


@given(st.text(), st.text(), st.text(), st.sampled_from(["{{other}}", "{{value}}", "{{", "}}", ""]))
def test_placeholders_in_values_are_not_replaced(prefix, suffix, text, field):
    """A value that contains a placeholder is inserted unchanged."""
    value = text + field + text
    template = prefix.replace("{", "") + "{{value}}" + suffix.replace("{", "")
    result = fill(template, {"value": value, "other": "expanded"})
    assert result == template.replace("{{value}}", value, 1)


# Without braces, which could form a placeholder.
WORDS = st.text(st.characters(exclude_characters="{}"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | WORDS,
    lambda values: st.lists(values) | st.dictionaries(WORDS, values),
)


@given(JSON, st.sampled_from([None, 2]), st.booleans())
def test_a_json_document_is_unchanged(value, indent, has_doubled_braces):
    """JSON is returned unchanged, even with the doubled braces of `str.format`."""
    document = json.dumps(value, indent=indent, ensure_ascii=False)
    document = document.replace("{", "{{").replace("}", "}}") if has_doubled_braces else document
    assert fill(document, {}) == document


@given(st.text(st.sampled_from("{}[]\"'.:_-a1 \n"), max_size=40))
def test_arbitrary_templates_raise_only_usage_errors(template):
    """An arbitrary template is filled or raises `UsageError`, and no other exception."""
    with contextlib.suppress(UsageError):
        assert isinstance(fill(template, {"a": {"a": 1}, "_": 1}), str)


@pytest.mark.parametrize(
    "fragment", ["{{", "{{a", "{{a.", "{{a['", "{{a[0]", "{{a:", "a.b", "'{{a[\""]
)
def test_long_templates_take_linear_time(fragment):
    """A megabyte-long template with unterminated placeholders is read in linear time."""
    started = time.process_time()
    template = "{{a" + fragment * (1_000_000 // len(fragment))
    assert fill(template, {}) == template
    assert time.process_time() - started < 2


def test_the_examples_in_the_docstrings_are_correct():
    assert doctest.testmod(prompts).failed == 0


def test_only_the_users_names_are_suggested():
    """Suggestions are the user's names, even if they hide a built-in, but not IPython's functions.

    IPython binds `open` to its own function.
    """
    namespace = {"open": lambda: 0, "quit": len, "input": "text", "In": [], "Out": {}, "_x": 1}

    assert prompts.own_names({**namespace, "opening": 1}) == ["input", "opening"]


@pytest.mark.parametrize(
    ("template", "found"),
    [
        ("{{df.describe()}}", ["{{df.describe()}}"]),
        ("{{1+1}} and {{ 1+1 }} and {{1+1}}", ["{{1+1}}", "{{ 1+1 }}"]),
        ("{{country.upper()}} of {{country}}", ["{{country.upper()}}"]),
        ("{{x[1:3]}}", ["{{x[1:3]}}"]),
        ("{{round(x):.2f}}", ["{{round(x):.2f}}"]),
        ("{{ user.name | upper }}", ["{{ user.name | upper }}"]),
        (r"{{re.sub('\d', x)}}", [r"{{re.sub('\d', x)}}"]),
        ("{{x if y else z}}", ["{{x if y else z}}"]),
        ("{{name}} {{d['k']}} {{x:.2f}} {{_}}", []),
        ("{{}} {{ }} {{", []),
        ("{% if x() %}{% endif %} {# f() #}", []),
        ("{{#each rows()}} {{/each}} {{> part}}", []),
        ('{{"a": 1}} {{"a", "b"}}', []),
        ('style={{color: "red", margin: 0}} {{...rest}}', []),
        (r"\frac{{1}}{{2}} {{a, b}}", []),
        ("f'{{{f(x)}}}' {f(x)} {{{{f(x)}}}}", []),
        ("{{None}} {{True}}", []),
        ("{{f(\n)}}", []),
    ],
)
def test_expressions_that_stay_literal_are_found(template, found):
    """Expressions in double braces that are not filled in are found; other notations are not."""
    assert prompts.unfilled(template) == found


def test_a_nul_in_a_line_is_kept():
    """The words that stand for placeholders contain NULs, and so may a line."""
    masked, unmask = prompts.mask("{{a}} \0001\0")

    assert unmask(masked) == "{{a}} \0001\0"
