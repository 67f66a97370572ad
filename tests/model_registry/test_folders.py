from gatewayx_nb.commands import COMMANDS
from gatewayx_nb.model_registry.engine_sources import EngineSources
from gatewayx_nb.model_registry.folders import RESERVED, EngineFile
from gatewayx_nb.secure_config import Config


def _rows(project, **env):
    sources = EngineSources(Config(project.root, {"HOME": str(project.root.parent), **env}))
    sources.refresh()
    found = [*sources.active.values(), *sources.shadowed]
    return [source for source in found if isinstance(source, EngineFile)]


def _of(rows, name):
    return [row for row in rows if row.name == name]


def test_a_file_is_found_by_its_name(project):
    """Only public files named `<name>_engine.py` are engines."""
    project.engine("mine")
    for other in ("_hidden_engine.py", "helper.py", "__init__.py"):
        (project.engines / other).write_text("raise SystemExit")

    mine = [row.name for row in _rows(project) if row.origin == "project"]

    assert mine == ["mine"]


def test_the_first_folder_wins_and_the_loser_is_reported(project, tmp_path):
    """`GATEWAYX_ENGINES_PATH` overrides the project, which overrides the shipped engines.

    Overridden files are reported.
    """
    ours, named = project.engine("mock", "project"), tmp_path / "named"
    named.mkdir()
    (named / "mock_engine.py").write_text("# another\n")

    rows = _of(_rows(project, GATEWAYX_ENGINES_PATH=str(named)), "mock")

    assert [row.origin for row in rows] == ["path", "project", "shipped"]
    assert [row.shadowed_by for row in rows] == ["", *[str(named / "mock_engine.py")] * 2]
    assert rows[1].path == ours


def test_an_exact_copy_is_not_shadowed(project, tmp_path):
    """Identical files of one name are one engine, without a report."""
    path = project.engine("mine")
    named = tmp_path / "named"
    named.mkdir()
    (named / path.name).write_bytes(path.read_bytes())

    assert len(_of(_rows(project, GATEWAYX_ENGINES_PATH=str(named)), "mine")) == 1


def test_a_link_out_of_the_folder_is_refused(project, tmp_path):
    """A symlink that leaves the folder is refused; one within the folder is accepted."""
    outside = tmp_path / "outside.py"
    outside.touch()
    (project.engines / "out_engine.py").symlink_to(outside)
    (project.engines / "in_engine.py").symlink_to(project.engine("mine"))

    rows = _rows(project)

    assert "leaves its folder" in _of(rows, "out")[0].refusal_reason
    assert _of(rows, "in")[0].refusal_reason is None


def test_every_command_is_reserved():
    """The names of commands are reserved, because such an engine could not be called."""
    assert set(COMMANDS) <= RESERVED


def test_a_refused_file_runs_once_it_is_fixed(project):
    """A fixed file mode is noticed, although it does not change the folder's timestamp."""
    path = project.engine("mine", "fine")
    path.chmod(0o666)
    pool = project.pool()
    assert {row.name: row.state for row in pool.status()}["mine"] == "refused"

    path.chmod(0o644)
    pool.refresh()

    assert pool.ask("x", model="mine").text == "fine"
