from pathlib import Path

import pytest

from gatewayx_nb.commands import COMMANDS
from gatewayx_nb.engine_pool import EnginePool
from gatewayx_nb.errors import TrustError
from gatewayx_nb.model_registry.engine_sources import EngineSources
from gatewayx_nb.model_registry.folders import RESERVED_NAMES, EngineFile
from gatewayx_nb.secure_config import Config


def _engine_files(project, **env):
    sources = EngineSources(Config(project.root, {"HOME": str(project.root.parent), **env}))
    sources.refresh()
    entries = [*sources.active.values(), *sources.shadowed]
    return [source for source in entries if isinstance(source, EngineFile)]


def _select_by_name(files, name):
    return [file for file in files if file.name == name]


def test_an_engine_is_found_by_its_file_name(project):
    """Files named `<name>_engine.py` are engines, unless the name begins with an underscore."""
    project.engine("mine")
    for file_name in ("_hidden_engine.py", "helper.py", "__init__.py"):
        (project.engines / file_name).write_text("raise SystemExit")

    names = [file.name for file in _engine_files(project) if file.origin == "project"]

    assert names == ["mine"]


def test_earlier_folders_override_later_ones_with_a_report(project, tmp_path):
    """`GATEWAYX_ENGINES_PATH` overrides the project, which overrides the shipped engines.

    Overridden files are reported.
    """
    project_file, path_folder = project.engine("mock", "project"), tmp_path / "named"
    path_folder.mkdir()
    (path_folder / "mock_engine.py").write_text("# another\n")

    files = _select_by_name(_engine_files(project, GATEWAYX_ENGINES_PATH=str(path_folder)), "mock")

    assert [file.origin for file in files] == ["path", "project", "shipped"]
    assert [file.shadowed_by for file in files] == ["", *[str(path_folder / "mock_engine.py")] * 2]
    assert files[1].path == project_file


def test_an_exact_copy_is_not_shadowed(project, tmp_path):
    """Identical files with the same name are one engine, and none is reported as shadowed."""
    path = project.engine("mine")
    path_folder = tmp_path / "named"
    path_folder.mkdir()
    (path_folder / path.name).write_bytes(path.read_bytes())

    assert (
        len(_select_by_name(_engine_files(project, GATEWAYX_ENGINES_PATH=str(path_folder)), "mine"))
        == 1
    )


def test_a_link_out_of_the_folder_is_refused(project, tmp_path):
    """A symlink that leaves the folder is refused; one within the folder is accepted."""
    outside = tmp_path / "outside.py"
    outside.touch()
    (project.engines / "out_engine.py").symlink_to(outside)
    (project.engines / "in_engine.py").symlink_to(project.engine("mine"))

    files = _engine_files(project)

    assert "outside its folder" in _select_by_name(files, "out")[0].refusal_reason
    assert _select_by_name(files, "in")[0].refusal_reason is None


@pytest.mark.parametrize("is_chosen", [False, True])
def test_a_link_in_place_of_the_folder_is_refused(project, tmp_path, is_chosen):
    """No code runs through a project's symlink `engines/`, unless the user chose its target."""
    project.engine("mine", "fine")
    outside = tmp_path / "outside"
    project.engines.rename(outside)
    project.engines.symlink_to(outside)
    chosen = {"GATEWAYX_ENGINES_PATH": str(outside)} if is_chosen else {}

    reasons = [
        file.refusal_reason for file in _select_by_name(_engine_files(project, **chosen), "mine")
    ]

    assert len(reasons) == 1
    assert reasons == [None] if is_chosen else "is in a folder that is a symlink" in reasons[0]


@pytest.mark.parametrize("path", ["engines", "./engines", ".", "../project/engines"])
def test_a_relative_folder_is_not_used(project, monkeypatch, path):
    """In a cloned project, it could be the project's own folder, whose engines need permission."""
    project.engine("openai", "not the shipped one")
    monkeypatch.chdir(project.root)
    env = {"GATEWAYX_ENGINES_PATH": path, "GATEWAYX_OPENAI_API_KEY": "made-up-key-123456"}
    with EnginePool(home=project.root, env=env) as pool:
        problems = [problem for problem in pool.problems if "ENGINES_PATH" in problem]
        with pytest.raises(TrustError):
            pool.ask("hi", "openai")

    (problem,) = problems
    assert (
        f"must contain only absolute paths, got {str(Path(path))!r}, which is ignored." in problem
    )


def test_the_home_folder_may_be_abbreviated(project, tmp_path, monkeypatch):
    """A folder that begins with a tilde is absolute."""
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / "mine"
    project.engines.rename(folder)
    project.engines.mkdir()
    (folder / "fine_engine.py").touch()

    (file,) = _select_by_name(_engine_files(project, GATEWAYX_ENGINES_PATH="~/mine"), "fine")

    assert (file.origin, file.refusal_reason) == ("path", None)


def test_every_command_is_reserved():
    """The names of commands are reserved, because an engine with such a name cannot be called."""
    assert set(COMMANDS) <= RESERVED_NAMES


def test_a_refused_file_runs_after_its_mode_is_corrected(project):
    """A corrected file mode is noticed, although it does not change the folder's timestamp."""
    path = project.engine("mine", "fine")
    path.chmod(0o666)
    pool = project.pool()
    assert {file.name: file.state for file in pool.status()}["mine"] == "refused"

    path.chmod(0o644)
    pool.refresh()

    assert pool.ask("x", model="mine").text == "fine"
