"""`new --package` writes a package that is built, installed, found and tested unmodified."""

import ast
import errno
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from gatewayx_nb.commands import run
from gatewayx_nb.errors import ConfigError, UsageError
from gatewayx_nb.testing import CHAT, Server
from tests.users import as_nobody

HOSTED = "https://api.acme.example/v1"


@pytest.fixture
def run_new(project, session_of):
    """Yield a function that runs `new --package` in a project and returns its output."""
    with project.pool() as pool:
        yield lambda line: repr(run(session_of(pool), f"new --package {line}"))


def paths_here():
    """Return the paths in the current folder, at any depth."""
    return sorted(str(path) for path in Path().rglob("*"))


def run_python(*arguments, **variables):
    """Run Python in the current folder, without a package index, and return its output."""
    process = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PIP_NO_INDEX": "1", **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


def install(name, site):
    """Install a package as the command's note says, but into a folder."""
    flags = ("--no-deps", "--no-build-isolation", "--quiet", "--disable-pip-version-check")
    run_python("-m", "pip", "install", *flags, "--target", str(site), f"./gatewayx-{name}")


def ask_installed(name, site):
    """Return the source of an installed engine and its answer, in a process of its own."""
    code = (
        f"import gatewayx_nb as gx; row = next(r for r in gx.status() if r.name == {name!r});"
        f"print(row.source, row.state, gx.ask('Hello', {name!r}), sep='|')"
    )
    return run_python("-c", code, PYTHONPATH=str(site)).strip().split("|")


@pytest.mark.parametrize("name", ["acme", "my__2nd_"])
def test_an_installed_package_answers_and_its_test_passes(run_new, tmp_path, name):
    """The engine is found by its entry point, also under a name that a distribution cannot have."""
    output = run_new(name)
    assert f"`%pip install --no-deps ./gatewayx-{name}`" in output
    assert f"`python -m pytest gatewayx-{name}`" in output

    install(name, tmp_path / "site")

    package = {"acme": "gatewayx-acme", "my__2nd_": "gatewayx-my-2nd"}[name]
    answer = ask_installed(name, tmp_path / "site")
    assert answer == [f"package: {package} 0.1.0", "ready", f"[{name}] Hello"]
    assert "1 passed" in run_python("-m", "pytest", f"gatewayx-{name}")


def test_an_installed_package_with_a_url_calls_the_server(run_new, tmp_path):
    """The engine of `--url` sends the call to the server, and its test sends it nothing."""
    with Server(CHAT.answer) as server:
        output = run_new(f"acme --url {server.url}/v1")
        install("acme", tmp_path / "site")
        answer = ask_installed("acme", tmp_path / "site")
        targets = [request.target for request in server.requests]
        assert "1 passed" in run_python("-m", "pytest", "gatewayx-acme")

        assert len(server.requests) == len(targets)
    assert "key set" not in output
    assert answer == ["package: gatewayx-acme 0.1.0", "ready", "Hello."]
    assert targets[-1] == "/v1/chat/completions"


def test_a_package_for_a_hosted_server_needs_a_key(run_new, tmp_path):
    """The note says how to set the key; the installed engine waits for it."""
    output = run_new(f"acme --url {HOSTED}")
    install("acme", tmp_path / "site")
    code = "import gatewayx_nb as gx; print([r.state for r in gx.status() if r.name == 'acme'])"

    assert "`gatewayx key set acme`" in output
    assert run_python("-c", code, PYTHONPATH=str(tmp_path / "site")) == "['no key']\n"
    assert "1 passed" in run_python("-m", "pytest", "gatewayx-acme")


def test_the_guide_shows_the_output(run_new):
    """The lines after the folder are those of the guide, with a notebook's prefix."""
    guide = Path(__file__).parents[2] / "docs" / "guides" / "your_own_engine.md"
    lines = run_new("zeta --url https://api.zeta.example/v1").splitlines()

    shown = "\n".join(lines[1:]).replace("`gatewayx", "`%gatewayx")
    assert shown in guide.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["a", "2nd", "my_2nd_engine", "end_", "class", "l_l_m", "a" * 63])
@pytest.mark.parametrize("option", ["", f" --url {HOSTED}"])
def test_all_names_in_a_package_are_valid(run_new, name, option):
    """The distribution, the module and the class have valid names, whatever the engine's name."""
    output = run_new(name + option)
    folder = Path(f"gatewayx-{name}")
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    ((engine, value),) = project["entry-points"]["gatewayx.engines"].items()
    module, title = value.split(":")
    tree = ast.parse((folder / f"{module}.py").read_text())

    assert engine == name
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", project["name"])
    assert module.isidentifier()
    assert title.isidentifier()
    assert [node.name for node in tree.body if isinstance(node, ast.ClassDef)] == [title]
    assert f"import {title}" in (folder / f"test_{name}.py").read_text()
    assert all(path.name in output for path in folder.iterdir())
    assert str(Path.cwd()) in output


def test_a_url_is_quoted(run_new):
    """A quotation mark or a backslash in a URL does not end the string in the module."""
    url = r"https://h/v1\x'"
    run_new(f'acme --url "{url}"')
    tree = ast.parse(Path("gatewayx-acme", "gatewayx_acme.py").read_text())
    strings = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]

    assert url in strings


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("da-sh", "not consist of 1 to 63 characters from a-z"),
        ("_mine", "are helper modules"),
        ("status", "reserved for the command"),
        ("mock", "an engine 'mock' already exists"),
        ("nb", "would replace gatewayx-nb"),
        ("nb_", "would replace gatewayx-nb"),
        ("a --url ftp://x/y", "base URL must be https://HOST/PATH"),
        ("a --url https://me:pw@h/v1", "base URL must be https://HOST/PATH"),
        ("a --url https://h/v1?key=1", "base URL must be https://HOST/PATH"),
    ],
)
def test_an_invalid_name_or_url_writes_no_package(project, run_new, line, message):
    """The checks of `new` apply, and their hints keep the option."""
    with pytest.raises(UsageError, match=message) as error:
        run_new(line)

    assert "pw" not in str(error.value)
    assert "--url" in line or "--package" in str(error.value.hint)
    assert paths_here() == []


@pytest.mark.parametrize("kind", ["empty folder", "folder with a file", "file"])
def test_an_existing_folder_is_left_unchanged(run_new, kind):
    """The package is written whole or not at all."""
    path = Path("gatewayx-acme")
    if kind == "file":
        path.write_text("mine")
    else:
        path.mkdir()
    if kind == "folder with a file":
        (path / "pyproject.toml").write_text("mine")
    before = paths_here()

    with pytest.raises(UsageError, match="gatewayx-acme already exists; nothing was written"):
        run_new("acme")
    assert paths_here() == before
    assert all(each.read_text() == "mine" for each in Path().rglob("*") if each.is_file())


def test_a_symlink_is_refused(run_new, tmp_path):
    """A symlink with the folder's name, as a clone may contain, is not followed."""
    outside = tmp_path / "outside"
    outside.mkdir()
    Path("gatewayx-acme").symlink_to(outside)

    with pytest.raises(ConfigError, match="'gatewayx-acme' is a symlink"):
        run_new("acme")
    assert list(outside.iterdir()) == []


def test_a_full_disk_leaves_nothing_behind(run_new, monkeypatch):
    """An error in the middle removes the files that were already written."""
    write_bytes = Path.write_bytes

    def write(path, data):
        if path.name == "README.md":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return write_bytes(path, data)

    monkeypatch.setattr(Path, "write_bytes", write)

    with pytest.raises(ConfigError, match=r"gatewayx-acme cannot be written: No space left"):
        run_new("acme")
    assert paths_here() == []


def test_a_folder_without_write_permission_is_named(run_new, unprivileged, monkeypatch):
    """The error names the package's folder, not a temporary one."""
    monkeypatch.chdir(unprivileged)
    unprivileged.chmod(0o555)

    with as_nobody(), pytest.raises(ConfigError, match="/gatewayx-acme cannot be written: Perm"):
        run_new("acme")


def test_a_deleted_current_folder_is_an_error_of_two_lines(run_new, tmp_path, monkeypatch):
    """A notebook may delete its own folder."""
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()

    with pytest.raises(ConfigError, match="the current folder has been deleted"):
        run_new("acme")


def test_only_the_owner_can_write_to_the_package(run_new):
    """The modes do not depend on the umask."""
    previous_umask = os.umask(0)
    try:
        run_new("acme")
    finally:
        os.umask(previous_umask)

    modes = {path.name: path.stat().st_mode & 0o777 for path in Path().rglob("*")}
    assert modes.pop("gatewayx-acme") == 0o755
    assert set(modes.values()) == {0o644}
