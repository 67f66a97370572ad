"""Queries to git: what they return, and the configurations that must not run a command."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from gatewayx_nb.secure_config import git, may_be_tracked, tracked_by_git

pytestmark = pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")

KEYS = "config/secrets/.env.local"


def run_git(folder, *arguments):
    identity = ("-c", "user.name=x", "-c", "user.email=x@example.invalid")
    run = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return run.stdout.strip()


@pytest.fixture
def project_folder(tmp_path):
    """Return a folder with a key file."""
    keys = tmp_path / "project" / KEYS
    keys.parent.mkdir(parents=True)
    keys.touch()
    return tmp_path / "project"


def make_repository_that_fetches(folder, flag):
    """Create a repository whose index can be read only after a fetch that runs a command."""
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        (folder / name / "file").write_text(name)
    run_git(folder, "init", "-q")
    run_git(folder, "add", ".")
    run_git(folder, "commit", "-qm", "x")
    run_git(folder, "sparse-checkout", "set", "--cone", "--sparse-index", "a")
    tree = run_git(folder, "rev-parse", "HEAD:b")
    (folder / ".git" / "objects" / tree[:2] / tree[2:]).unlink()
    (folder / ".git" / "more").write_text(
        f'[core]\n\tsshCommand = "touch {flag}"\n\tgitProxy = "touch {flag}"\n'
        f'\tfsmonitor = "touch {flag}"\n[pager]\n\tls-files = "touch {flag}"\n'
        f'[credential]\n\thelper = "!touch {flag}"\n'
    )
    (folder / ".git" / "config").write_text(
        "[core]\n\trepositoryformatversion = 1\n\tbare = false\n\tworktree = .\n"
        "\tsparseCheckout = true\n\tsparseCheckoutCone = true\n[index]\n\tsparse = true\n"
        "[include]\n\tpath = more\n[extensions]\n\tpartialClone = origin\n"
        f'[remote "origin"]\n\turl = .\n\tpromisor = true\n\tuploadpack = "touch {flag}; false"\n'
    )
    return folder / ".git"


def test_a_bare_repository_below_a_clone_runs_no_command(project_folder, tmp_path):
    """A clone can contain the files of a bare repository, whose configuration is not read."""
    flag = tmp_path / "ran"
    repository = make_repository_that_fetches(tmp_path / "source", flag)
    secrets = project_folder / "config" / "secrets"
    shutil.copytree(repository, secrets, dirs_exist_ok=True)
    run_git(project_folder, "init", "-q")

    assert git.is_tracked(project_folder / KEYS) is False
    assert git.is_ignored(project_folder / KEYS) is False
    assert not flag.exists()
    with pytest.raises(subprocess.CalledProcessError):  # the trap works
        run_git(secrets, "ls-files", "--error-unmatch", "x")
    assert flag.exists()


def test_the_configuration_of_an_archive_runs_no_command(project_folder, tmp_path):
    """An archive can contain `.git`, whose configuration is not read."""
    flag = tmp_path / "ran"
    repository = make_repository_that_fetches(tmp_path / "source", flag)
    shutil.copytree(repository, project_folder / ".git")

    assert not tracked_by_git(project_folder / KEYS)
    assert git.is_ignored(project_folder / KEYS) is False
    assert not flag.exists()


def test_a_repository_without_commands_is_left_unchanged(project_folder):
    """A query writes nothing into the repository."""
    run_git(project_folder, "init", "-q")
    run_git(project_folder, "add", "-f", KEYS)
    before = {path: path.stat().st_mtime_ns for path in project_folder.rglob("*")}

    assert git.is_tracked(project_folder / KEYS)
    assert {path: path.stat().st_mtime_ns for path in project_folder.rglob("*")} == before


@pytest.mark.parametrize("kind", ["worktree", "submodule"])
def test_a_repository_that_a_file_names_is_found(project_folder, tmp_path, kind):
    """In a linked worktree and in a submodule, `.git` is a file."""
    run_git(project_folder, "init", "-q")
    run_git(project_folder, "add", "-f", KEYS)
    run_git(project_folder, "commit", "-qm", "x")
    if kind == "worktree":
        root = tmp_path / "linked"
        run_git(project_folder, "worktree", "add", "-q", str(root))
        (project_folder / ".git" / "info" / "exclude").write_text("other\n")
    else:
        root = tmp_path / "outer" / "inner"
        root.parent.mkdir()
        run_git(root.parent, "init", "-q")
        local = ("-c", "protocol.file.allow=always")
        run_git(root.parent, *local, "submodule", "add", "-q", str(project_folder), "inner")
        exclude = root.parent / ".git" / "modules" / "inner" / "info" / "exclude"
        exclude.write_text("other\n")

    assert (root / ".git").is_file()
    assert (git.is_tracked(root / KEYS), git.is_ignored(root / KEYS)) == (True, False)
    assert (git.is_tracked(root / "other"), git.is_ignored(root / "other")) == (False, True)


def test_a_file_in_a_sparse_index_is_tracked(project_folder):
    """The index names only the file's folder, whose content is among the objects."""
    run_git(project_folder, "init", "-q")
    (project_folder / "other").mkdir()
    (project_folder / "other" / "file").touch()
    run_git(project_folder, "add", "-f", ".")
    run_git(project_folder, "commit", "-qm", "x")
    run_git(project_folder, "sparse-checkout", "set", "--cone", "--sparse-index", "other")

    assert "config/\n" in run_git(project_folder, "ls-files", "--sparse") + "\n"
    assert git.is_tracked(project_folder / KEYS) is True


def test_a_repository_with_other_hashes_is_read(project_folder):
    """The index of a repository with SHA-256 hashes is read like any other."""
    run_git(project_folder, "init", "-q", "--object-format=sha256")
    run_git(project_folder, "add", "-f", KEYS)

    assert git.is_tracked(project_folder / KEYS) is True
    assert git.is_tracked(project_folder / "other") is False
    assert git.is_ignored(project_folder / KEYS) is False


def test_another_spelling_of_a_tracked_file_is_tracked(project_folder):
    """On file systems that ignore case, another spelling names the same file."""
    other = project_folder / "config" / "Secrets" / ".env.local"
    other.parent.mkdir(exist_ok=True)
    other.touch()
    run_git(project_folder, "init", "-q")
    run_git(project_folder, "add", "-f", str(other.relative_to(project_folder)))

    assert git.is_tracked(project_folder / KEYS) is True


@pytest.mark.parametrize("problem", ["no git", "slow git", "unreadable index", "no repository"])
def test_a_file_may_be_tracked_if_git_does_not_answer(project_folder, monkeypatch, problem):
    """For a permission, an unknown status counts as tracked wherever there is a repository."""
    if problem != "no repository":
        run_git(project_folder, "init", "-q")
    if problem == "no git":
        monkeypatch.setenv("PATH", str(project_folder))
    elif problem == "slow git":
        program = project_folder / "git"
        program.write_text("#!/bin/sh\nexec sleep 9\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(project_folder), prepend=os.pathsep)
        monkeypatch.setattr(git, "_LONG_TIMEOUT", 0.01)
    elif problem == "unreadable index":
        (project_folder / ".git" / "index").write_text("made by a newer git")

    assert git.is_tracked(project_folder / KEYS) is None
    assert may_be_tracked(project_folder / KEYS) is (problem != "no repository")


def test_an_untracked_file_is_known_not_to_be_tracked(project_folder):
    """An ordinary project, whose key file is ignored, needs no permission."""
    run_git(project_folder, "init", "-q")

    assert may_be_tracked(project_folder / KEYS) is False


def test_rules_for_ignored_files_are_found_where_git_reads_them(project_folder):
    """The exclude file, a `.gitignore` and the user's own rules apply."""
    run_git(project_folder, "init", "-q")
    (project_folder / ".git" / "info" / "exclude").write_text("excluded\n")
    (project_folder / "config" / ".gitignore").write_text("by_folder\n")
    run_git(project_folder, "config", "--global", "core.excludesFile", str(project_folder / "mine"))
    (project_folder / "mine").write_text("by_user\n")

    names = ("excluded", "config/by_folder", "by_user", "config/other")
    assert [git.is_ignored(project_folder / name) for name in names] == [True, True, True, False]


@pytest.mark.parametrize("folder", [".", "", "bin"])
def test_a_projects_program_is_not_run(project_folder, monkeypatch, folder):
    """The search path may contain the current folder, in which a project may have its own git."""
    run_git(project_folder, "init", "-q")
    (project_folder / "bin").mkdir()
    for program in (project_folder / "git", project_folder / "bin" / "git"):
        program.write_text(f"#!/bin/sh\ntouch {project_folder}/ran\n")
        program.chmod(0o755)
    monkeypatch.chdir(project_folder)
    monkeypatch.setenv("PATH", folder, prepend=os.pathsep)

    assert git.is_tracked(project_folder / KEYS) is False
    assert not (project_folder / "ran").exists()
    monkeypatch.setenv("PATH", folder)
    assert git.is_tracked(project_folder / KEYS) is None


@pytest.mark.parametrize("content", ["", "gitdir: nowhere\n", "gitdir: \0\n"])
def test_a_folder_without_a_repository_has_no_status(project_folder, content):
    """Outside a repository, and if `.git` names none, the status is unknown."""
    assert git.is_tracked(project_folder / KEYS) is None
    (project_folder / ".git").write_text(content)
    assert git.is_ignored(project_folder / KEYS) is None


def test_a_path_with_a_nul_has_no_status(project_folder):
    """Git cannot be asked about a repository whose `.git` file names a path with a NUL."""
    run_git(project_folder, "init", "-q")
    (project_folder / ".git" / "commondir").write_bytes(b"a\0b")
    assert git.is_tracked(project_folder / KEYS) is None


def test_a_file_that_git_knows_by_another_spelling_may_be_tracked(project_folder, monkeypatch):
    """On some file systems, a folder opens under a name that its parent does not list."""
    run_git(project_folder, "init", "-q")
    assert not may_be_tracked(project_folder / KEYS)

    listed = Path.iterdir
    monkeypatch.setattr(
        Path,
        "iterdir",
        lambda folder: (
            each.with_name(each.name.replace("fi", "\ufb01")) for each in listed(folder)
        ),
    )
    assert may_be_tracked(project_folder / KEYS)
