"""Private text in cassettes: what is reported, in one line per file, and never the text itself."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec
import pytest

from gatewayx_nb.cassettes import RequestBody, cassette_lines, guard, privacy
from gatewayx_nb.cassettes.entry import RecordedToolCall
from gatewayx_nb.cassettes.privacy import Finding
from gatewayx_nb.cassettes.request_body import RecordedMessage, RecordedPart, RequestedToolResult
from tests.cassettes.test_cassette_lines import CONFLICT, HEAD, make_entry, make_line
from tests.cassettes.test_guard import ENCODINGS, KEY_LIKE_TEXTS

ROOT = Path(__file__).parents[2]
TABLE = "Sum up:\n\n| name | age |\n| --- | --- |\n| Ann | 41 |\n"
ADDRESS = "ann.smith+x@mail.acme.co.uk"
KEY = KEY_LIKE_TEXTS[0]


def find(entry):
    """Return the kind and the place of each finding in an entry."""
    findings = privacy.search([cassette_lines.CassetteLine(entry, b"", 7)])
    return [(finding.kind, finding.place) for finding in findings]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (make_entry("Hi", "Hello."), []),
        (make_entry(TABLE), [("a table", "request")]),
        (make_entry("Hi", TABLE), []),
        (make_entry(f"To {ADDRESS}"), [("an e-mail address", "request")]),
        (make_entry("Hi", f"<{ADDRESS}>"), [("an e-mail address", "answer")]),
        (make_entry(KEY), [("what looks like a key", "request")]),
        (make_entry("Hi", KEY), [("what looks like a key", "answer")]),
        (make_entry("Hi", reasoning=ADDRESS), [("an e-mail address", "answer")]),
        (
            make_entry("Hi", tool_calls=(RecordedToolCall("1", "f", {"to": [ADDRESS]}),)),
            [("an e-mail address", "answer")],
        ),
        (make_entry("Hi", carried=f'{{"a":"{ADDRESS}"}}'), [("an e-mail address", "answer")]),
        (
            make_entry(f"{TABLE}{ADDRESS}{ADDRESS}", ADDRESS),
            [
                ("a table", "request"),
                ("an e-mail address", "request"),
                ("an e-mail address", "answer"),
            ],
        ),
    ],
)
def test_private_text_is_found_in_the_request_and_the_answer(entry, expected):
    """Each kind is reported once for a request and once for an answer, a table for requests."""
    assert find(entry) == expected


@pytest.mark.parametrize(
    "body",
    [
        RequestBody(texts=(TABLE,)),
        RequestBody(system=TABLE),
        RequestBody(
            messages=(
                RecordedMessage(
                    "tool",
                    "",
                    parts=(
                        RecordedPart(
                            tool_result=RequestedToolResult("1", "f", (RecordedPart(text=TABLE),))
                        ),
                    ),
                ),
            )
        ),
    ],
    ids=["texts", "system", "tool result"],
)
def test_every_part_of_a_request_is_searched(body):
    assert find(msgspec.structs.replace(make_entry(), request=body)) == [("a table", "request")]


@pytest.mark.parametrize("encoding", ["plain", "url", "json", "hex", "base64"])
@pytest.mark.parametrize("key", KEY_LIKE_TEXTS)
def test_keys_are_found_and_masked_in_every_encoding(key, encoding):
    """A listing shows neither a key nor an encoding of it."""
    text = ENCODINGS[encoding](key)

    assert find(make_entry("Hi", f"see {text} there")) == [("what looks like a key", "answer")]
    assert guard.find_key(guard.mask(f"see {text} there"), {}) is None
    assert text not in guard.mask(f"see {text} there")


def test_a_private_key_is_masked_to_its_end():
    text = "a -----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc\n-----END RSA PRIVATE KEY----- b"
    assert guard.mask(text) == "a <key> b"
    assert guard.mask(text.partition("-----END")[0]) == "a <key>"
    assert guard.mask("An ordinary text, with a risk-free approach.").startswith("An ordinary")


@pytest.mark.parametrize(
    ("text", "is_private"),
    [
        ("a@b.de", True),
        ("Mail to ANN@ACME.ORG, please", True),
        ("a.b-c_d%e+f@sub.domain.museum", True),
        ("ann@notexample.com", True),
        ("ann@example.com.evil.org", True),
        ("ann@example.community", True),
        ("ann@latest.dev", True),
        ("ann@test.de", True),
        ("mailto:ann@acme.org?subject=x", True),
        ("ann@example.com", False),
        ("ann@mail.Example.ORG.", False),
        ("ann@example.net, ann@host.test; ann@a.b.invalid", False),
        ("ann@x.example ann@x.localhost", False),
        ("git@github.com:acme/x.git", False),
        ("@pytest.fixture and @a.b", False),
        ("package@1.2.3, user@host, x @ y.de", False),
        ("a" * 100_000 + "@", False),
        ("a@" * 50_000, False),
        ("a@" + "b." * 50_000, False),
    ],
)
def test_addresses_of_the_example_domains_are_not_private(text, is_private):
    """The domains that RFC 2606 reserves are not reported, and no text takes long to search."""
    assert bool(find(make_entry("Hi", text))) is is_private


def test_a_report_names_lines_and_kinds_and_is_limited():
    findings = [Finding(number, "a table", "request") for number in range(2, 2002)]

    assert privacy.describe(findings[:1]) == "line 2 has a table in its request"
    assert privacy.describe(findings).endswith("line 6 has a table in its request; 1,995 more")
    assert privacy.describe([]) == ""
    assert privacy.describe(
        [Finding(2, "a table", "request"), Finding(2, "an e-mail address", "answer")]
    ) == ("line 2 has a table in its request and an e-mail address in its answer")


def run_hook(folder, *files):
    """Run the hook in a new process; return its exit code and its lines."""
    run = subprocess.run(
        [
            sys.executable, "-c",
            "import sys; from gatewayx_nb.cassettes.hook import main; sys.exit(main())", *files,
        ],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.stdout == ""
    return run.returncode, run.stderr.splitlines()


def test_the_hook_reports_one_line_for_each_file(tmp_path):
    """The hook names each file with its lines and kinds, and how to avoid private text."""
    lines = [make_line("Hi"), make_line(TABLE), make_line(f"{ADDRESS} {KEY}", ADDRESS)]
    (tmp_path / "a.jsonl").write_text(HEAD + "\n".join([*lines, ""]))
    (tmp_path / "clean.jsonl").write_text(HEAD + make_line("Write to ann@example.org") + "\n")
    code, (report, remedy) = run_hook(tmp_path, "a.jsonl", "clean.jsonl", "a.jsonl")

    assert code == 1
    assert report == (
        "a.jsonl: line 3 has a table in its request; line 4 has an e-mail address in its request"
        " and what looks like a key in its request and an e-mail address in its answer"
    )
    assert 'prompts = "digest"' in remedy
    assert run_hook(tmp_path, "clean.jsonl") == (0, [])
    assert run_hook(tmp_path) == (2, ["usage: gatewayx-cassettes [-h] [FILE ...]"])


def test_the_hook_ignores_what_is_not_a_cassette(tmp_path):
    """Other files, links and pipes are neither read nor reported; folders and missing files are."""
    not_run = ("secret", "folder")
    (tmp_path / "a.csv").write_text(f"{TABLE}{ADDRESS}{KEY}")
    (tmp_path / "a.jsonl").write_text(f'{{"format":"other"}}\n{{"a":"{ADDRESS}"}}\n')
    (tmp_path / "b.bin").write_bytes(bytes(range(256)))
    (tmp_path / "secret.jsonl").write_text(HEAD + make_line(ADDRESS) + "\n")
    (tmp_path / "link.jsonl").symlink_to("secret.jsonl")
    (tmp_path / "empty").touch()
    (tmp_path / "folder.jsonl").mkdir()
    with (tmp_path / "huge.jsonl").open("wb") as file:
        file.truncate(2**30)
    names = [path.name for path in tmp_path.iterdir() if path.name.partition(".")[0] not in not_run]

    assert run_hook(tmp_path, *names) == (0, [])
    assert run_hook(tmp_path, *names, "folder.jsonl", "missing.jsonl") == (
        1,
        ["folder.jsonl: is a folder; list its files.", "missing.jsonl: does not exist."],
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (CONFLICT, "a merge conflict marker on line 3"),
        (f"<<<<<<< HEAD\n{CONFLICT}", "a merge conflict marker on line 1"),
        (f"{HEAD}oops\n", "line 2 of the cassette"),
        (HEAD + make_line()[:30], "is incomplete and was skipped"),
        ('{"format":"gatewayx-cassette","version":99}\n', "supports at most 2"),
        ('\ufeff{ "format": "gatewayx-cassette", "version": 99}\r\n', "has format version 99"),
    ],
)
def test_the_hook_reports_a_cassette_that_cannot_be_searched(tmp_path, content, message):
    """A file that is only partly searched does not pass."""
    (tmp_path / "a\nb.jsonl").write_text(content)
    code, lines = run_hook(tmp_path, "a\nb.jsonl")

    assert code == 1
    assert message in lines[0]
    assert len(lines) == 1  # nothing private was found


def test_the_hook_is_declared_for_pre_commit():
    """The command of the hook's declaration is a console script of the package."""
    declaration = (ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8")
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "scripts"
    ]

    (command,) = re.findall(r"entry: (\S+)", declaration)
    assert scripts[command] == "gatewayx_nb.cassettes.hook:main"
    assert re.search(r"files: (\S+)", declaration)[1] == r"\.jsonl$"
