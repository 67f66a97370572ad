"""The documentation: its code is run, its links lead somewhere, and its lists are complete."""

import ast
import doctest
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import nbformat
import pytest
import yaml
from IPython.core.interactiveshell import InteractiveShell

import gatewayx_nb as gx
from gatewayx_nb import commands, errors, hints
from gatewayx_nb.cassettes import codec, entry, request_body
from gatewayx_nb.cli.static_files import shell_parser
from gatewayx_nb.commands.guides import guide_names, trouble_names
from gatewayx_nb.secure_config import ENGINE_SETTINGS, MCP_SETTINGS, SETTINGS
from gatewayx_nb.testing import CHAT, Server

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def _reference_pages():
    spec = spec_from_file_location("reference_pages", DOCS / "reference_pages.py")
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


REFERENCE = _reference_pages()
GENERATED = ("notebooks", *REFERENCE.COPIED)
"""Names in `docs` that exist only after `make docs`."""

PAGES = sorted(
    path for path in DOCS.rglob("*.md") if path.relative_to(DOCS).parts[0] not in GENERATED
)
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")

BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
NOT_RUN = ("console", "text", "yaml", "json", "markdown")
"""Languages of blocks that are shown only: shell sessions, output and files of other programs."""

each_page = pytest.mark.parametrize(
    "path", PAGES, ids=lambda path: str(path.relative_to(DOCS).with_suffix(""))
)


def blocks(path):
    """Return the language and the source of each block of code in a page."""
    text = path.read_text(encoding="utf-8")
    return [
        (language, "\n".join(line.removeprefix(indent) for line in source.splitlines()))
        for indent, language, source in BLOCK.findall(text)
    ]


@pytest.fixture
def shell(project, monkeypatch):
    """Yield a notebook's shell in a project whose engines answer from this machine."""
    monkeypatch.chdir(project.root)
    monkeypatch.setenv("GATEWAYX_HOME", str(project.root))
    with Server(CHAT.answer) as server:
        lines = [
            f"GATEWAYX_{name}_{suffix}"
            for name in ("GROK", "OPENAI", "GROQ")
            for suffix in ("API_KEY=canary-0123456789-key", f"BASE_URL={server.url}/v1")
        ]
        project.set_keys("\n".join(lines) + "\n")
        InteractiveShell.clear_instance()
        shell = InteractiveShell.instance()
        shell.run_line_magic("load_ext", "gatewayx_nb")
        yield shell
        shell.run_line_magic("unload_ext", "gatewayx_nb")
        getattr(shell, "_atexit_once", shell.atexit_operations)()
        InteractiveShell.clear_instance()


@each_page
def test_the_code_of_a_page_runs(path, shell, project):
    """Each block runs, in order, in one notebook; sessions have the output shown.

    A block that begins with the name of a file, as in ``# engines/acme_engine.py``, is that file.
    """
    for number, (language, source) in enumerate(blocks(path)):
        name = f"block {number} of {path.name}: {source.splitlines()[0] if source else ''}"
        file = re.match(r"# ([\w./-]+\.(?:py|toml|txt))\n", source)
        if file:
            target = project.root / file[1]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(source + "\n", encoding="utf-8")
            gx.reload()
        elif language == "toml":
            tomllib.loads(source)
        elif language == "python" and source.startswith(">>>"):
            test = doctest.DocTestParser().get_doctest(source, shell.user_ns, name, name, 0)
            test.globs = shell.user_ns  # the parser copies it
            flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
            runner = doctest.DocTestRunner(optionflags=flags)
            assert runner.run(test, clear_globs=False).failed == 0, name
        elif language in ("python", "ipython"):
            shell.run_cell(source).raise_error()
        else:
            assert language in NOT_RUN, name
            if language == "yaml":
                yaml.safe_load(source)


@each_page
def test_the_links_of_a_page_lead_to_files_and_pages(path):
    """Each relative link names a file that exists in a clone and is shown on the site."""
    for link in LINK.findall(path.read_text(encoding="utf-8")):
        target = (path.parent / link).resolve()

        assert target.exists(), link
        assert not target.is_relative_to(DOCS) or (
            target.relative_to(DOCS).parts[0] not in GENERATED
        ), f"{link} exists only after `make docs`"
        assert REFERENCE.page_of(target.relative_to(ROOT).as_posix()), link


def test_the_links_of_other_files_lead_to_files():
    """Each relative link of the notebooks and of the files at the top names a file of a clone."""
    paths = [*ROOT.glob("*.md"), *(ROOT / "notebooks").glob("[0-9]*.ipynb")]
    links = [
        (path.name, link)
        for path in paths
        for link in LINK.findall(_markdown_of(path))
        if not (path.parent / link).exists()
    ]

    assert links == []


def _markdown_of(path):
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return text
    cells = nbformat.reads(text, as_version=4).cells
    return "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def test_the_reference_is_up_to_date():
    """The committed pages equal those that the code describes; `make docs` writes them."""
    folder = DOCS / "reference"
    committed = {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}

    assert committed == REFERENCE.reference()


@pytest.mark.parametrize(
    ("source", "link", "expected"),
    [
        ("docs/guides/a.md", "../../SECURITY.md", "[x](../security.md)"),
        ("docs/guides/a.md", "b.md#c", "[x](b.md#c)"),
        ("docs/versions.md", "../CHANGELOG.md", "[x](changelog.md)"),
        ("docs/guides/a.md", "../../notebooks/01.ipynb", "[x](../notebooks/01.ipynb)"),
        ("docs/guides/a.md", "../../pyproject.toml", "x"),
        ("CHANGELOG.md", "docs/guides/a.md", "[x](guides/a.md)"),
        ("notebooks/01.ipynb", "../docs/guides/a.md", "[x](../guides/a.md)"),
        ("notebooks/01.ipynb", "../README.md", "[x](../get_started.md)"),
        ("notebooks/01.ipynb", "02.ipynb", "[x](02.ipynb)"),
        ("docs/index.md", "https://a.example/b.md", "[x](https://a.example/b.md)"),
    ],
)
def test_links_between_files_become_links_between_pages(source, link, expected):
    """A link leads to the page that shows the file; without a page, its text remains."""
    assert REFERENCE.linked(f"[x]({link})", source) == expected


@pytest.mark.parametrize("name", guide_names())
def test_a_guide_is_read_in_a_few_minutes(name):
    """A guide has 300 to 800 words; a longer one is two tasks, and a shorter one part of another.

    Words are separated by whitespace, as `wc -w` counts them: code, tables and markup count, too.
    """
    path = DOCS / "guides" / f"{name.replace('-', '_')}.md"
    words = len(path.read_text(encoding="utf-8").split())

    assert 300 <= words <= 800


def test_every_public_name_is_in_the_reference():
    """A new public name needs a place in the reference."""
    listed = [name for names in REFERENCE.GROUPS.values() for name in names]

    assert sorted([*listed, *REFERENCE.WHAT_TO_DO]) == sorted(gx.__all__)


def test_every_error_says_what_to_do():
    """The page on the errors lists each class."""
    kinds = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.GatewayError)
    }

    assert set(REFERENCE.WHAT_TO_DO) == kinds


def test_every_command_and_option_is_in_the_reference():
    """The page on the magics lists each command, and each option with its help."""
    page = "\n".join(REFERENCE.PAGES["magics"]())

    for name, command in commands.COMMANDS.items():
        assert f"### `{name}`" in page
        for action in command.parser("%gatewayx").actions:
            assert not action.option_strings or action.option_strings[-1] in page


def test_every_command_of_a_shell_is_in_the_reference():
    """The page on the command line lists each command, and each option with its help."""
    page = "\n".join(REFERENCE.PAGES["shell"]())

    for name in commands.SHELL_COMMANDS:
        assert f"### `gatewayx {name}`" in page
        for action in shell_parser(name).actions:
            assert not action.option_strings or action.option_strings[-1] in page


def test_every_variable_is_in_the_reference():
    """The page on environment variables lists each variable that the code reads."""
    sources = (ROOT / "gatewayx_nb").rglob("*.py")
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    read = set(re.findall(r"GATEWAYX_[A-Z_]*[A-Z]", text))
    own = {name for name in read if not re.search(r"_(API_KEY|BASE_URL|MODEL)$", name)}

    assert own <= set(REFERENCE.VARIABLES)


def test_every_field_of_a_cassette_is_described():
    """The page on the format lists the fields of an entry in their order, and all others."""
    page = (DOCS / "explanation" / "cassette_format.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    structs = (
        entry.RecordedToolCall,
        entry.RecordedAnswerImage,
        entry.RecordedVectors,
        entry.RecordedMetadata,
        request_body.RequestBody,
        request_body.RecordedMessage,
        request_body.RecordedImage,
        request_body.RecordedPart,
    )
    fields = entry.CassetteEntry.__struct_fields__

    assert tuple(rows[: len(fields)]) == fields
    assert f"version {codec.VERSION} of" in page
    for struct in structs:
        assert not [name for name in struct.__struct_fields__ if f"`{name}`" not in page], struct


def test_the_digest_in_the_description_of_a_cassette_is_that_of_the_code():
    """Whoever follows the page finds the same digest as the package."""
    page = (DOCS / "explanation" / "cassette_format.md").read_text(encoding="utf-8")
    message = request_body.RecordedMessage("user", "Say this.")
    body = request_body.RequestBody((message,), temperature=0.0)

    assert body.digest.decode() in page


def _nodes():
    """Return the nodes of the syntax trees of the package and the built-in engines."""
    paths = [*(ROOT / "gatewayx_nb").rglob("*.py"), *(ROOT / "engines").glob("*.py")]
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in paths)
    return (node for tree in trees for node in ast.walk(tree))


def _literals():
    """Return the text of every string in the code, and of the parts of every f-string."""
    return "\n".join(
        node.value
        for node in _nodes()
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


FOREIGN_MESSAGES = (
    "Line magic function",
    "ModuleNotFoundError",
    "This event loop is already running",
    "certificate verify failed",
    "RuntimeError",
    "%gatewayx",
)
"""The beginnings of messages of Python, IPython and OpenSSL."""


def test_troubleshooting_quotes_messages_of_the_code():
    """An entry is found only if its title has the words of the message."""
    page = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    titles = re.findall(r"^### (.*)$", page, re.MULTILINE)
    quotes = [quote for title in titles for quote in re.findall(r"`([^`]+)`", title)]
    code = _literals()

    assert len(titles) >= 40
    for quote in quotes:
        if not quote.startswith(FOREIGN_MESSAGES):
            parts = re.split(r"…|'[^']*'|\d[\d,]*|[A-Z_]{8,}|\{\{.*?\}\}", quote)
            assert not [part for part in parts if part.strip(" .,:") not in code], quote


def test_every_error_has_an_entry_in_troubleshooting():
    """The name after `More:` leads to an entry, whichever statement raises the error."""
    names = set(trouble_names())
    classes = [getattr(errors, name) for name in REFERENCE.WHAT_TO_DO if name != "GatewayError"]
    keywords = [node for node in _nodes() if isinstance(node, ast.keyword) and node.arg == "topic"]
    stated = [word.value.value for word in keywords if isinstance(word.value, ast.Constant)]
    tables = (errors._TOPIC_BY_CODE, errors._TOPIC_BY_ACTION)
    topics = {*stated, *(error("").help for error in classes)}.union(*(t.values() for t in tables))

    assert len(stated) >= 20
    assert topics <= names
    assert set(errors._TOPIC_BY_ACTION) <= set(hints.SCRIPT_WORDING)
    assert not names & set(guide_names())


def test_every_setting_is_in_the_reference():
    """The page on the settings has each name with its valid values."""
    page = "\n".join(REFERENCE.PAGES["settings"]())

    for setting in (*SETTINGS, *ENGINE_SETTINGS, *MCP_SETTINGS):
        assert f"| `{setting.path}` | {setting.kind.expected} |" in page


@pytest.mark.kernel
def test_the_site_is_built_without_warnings(tmp_path):
    """Sphinx checks the links and the markup; the pages load nothing from elsewhere."""
    site = tmp_path / "site"
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet"]
    process = subprocess.run(
        [*command, "-d", str(tmp_path / "trees"), str(DOCS), str(site)],
        capture_output=True,
        text=True,
        check=False,
    )
    pages = [path.read_text(encoding="utf-8") for path in site.rglob("*.html")]

    assert (process.returncode, process.stderr) == (0, "")
    assert len(pages) > 40
    loaded = re.compile(
        r'<(?:script|img|iframe)[^>]*src="https?:|<link[^>]*href="https?:[^>]*stylesheet'
    )
    assert not [page[:80] for page in pages if loaded.search(page)]
    # The search ignores numbers, except those of the index.
    index = (site / "searchindex.js").read_text(encoding="utf-8")
    entries = json.loads(re.search(r'"indexentries":(\{.*?\})', index)[1])
    assert {"401", "402", "403", "404", "429", "500", "503"} <= set(entries)


@pytest.mark.kernel
def test_a_repository_made_from_the_guide_passes_without_network(tmp_path):
    """The notebook and the test of the guide are recorded, then tested as its CI files say."""
    page = (DOCS / "guides" / "testing_notebooks.md").read_text(encoding="utf-8")
    (test,) = re.findall(r"```python\n(# test_story\.py\n.*?)```", page, re.DOTALL)
    (tmp_path / "test_story.py").write_text(test)
    cells = re.findall(r"```ipython\n(.*?)```", page, re.DOTALL)
    # Outputs that differ between a recording and its replay in other words.
    cells.append("import gatewayx_nb as gx\ngx.map(['a', 'b'], 'Q {{input}}', 'mock')")
    cells.append("%%gatewayx mock -n 2\nThis answer is truncated.")
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell.strip()) for cell in cells]
    )
    nbformat.write(notebook, tmp_path / "story.ipynb")
    run(re.search(r"pytest --gatewayx-record test_story\.py", page)[0], tmp_path)
    run(re.search(r"jupyter nbconvert .*--inplace story\.ipynb", page)[0], tmp_path)
    commands_of_ci = set(re.findall(r"- (?:run: )?(pytest --nbval .*)", page))

    (command,) = commands_of_ci
    bare = f"{sys.executable} {ROOT / 'notebooks' / 'bare.py'}"
    assert "5 passed in" in run(f"{bare} env CI=true {command}", tmp_path)


@pytest.mark.parametrize(
    ("file", "schema"),
    [(".github/workflows/test.yml", "github-workflows"), (".gitlab-ci.yml", "gitlab-ci")],
)
def test_the_ci_files_of_the_guide_match_their_schemas(tmp_path, file, schema):
    """The files to paste are what the services accept, by the schemas of check-jsonschema."""
    page = blocks(DOCS / "guides" / "testing_notebooks.md")
    (source,) = [source for _, source in page if source.startswith(f"# {file}\n")]
    (tmp_path / "ci.yml").write_text(source)

    run(f"check-jsonschema --builtin-schema vendor.{schema} ci.yml", tmp_path)


def run(command, folder):
    """Run a command of a guide in a folder, check that it succeeds, and return its output."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    process = subprocess.run(
        shlex.split(command, comments=True),
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


def test_docstrings_name_guides_that_exist():
    """The line "See also" of a docstring names guides as `help` takes them."""
    docs = [getattr(gx, name).__doc__ or "" for name in gx.__all__]
    lines = re.findall(r"See also: the guides? (.*)\.", "\n".join(docs))
    names = {name for line in lines for name in re.findall(r"``([\w-]+)``", line)}

    assert len(lines) >= 6
    assert names <= set(guide_names())
