"""Engines from installed packages, which are found by their entry points."""

import sys
import zipfile
from importlib.metadata import DistributionFinder, PathDistribution

import pytest

from gatewayx_nb.errors import EngineLoadError
from gatewayx_nb.model_registry.packages import EnginePackage

ENGINE = """\
from gatewayx_nb.llm_engines import LLMEngine
class Engine(LLMEngine):
    requires_key = False
    model_name = "packed"
    async def generate(self, prompt, **kwargs):
        return "from a package"
"""


@pytest.fixture
def install_package(tmp_path, monkeypatch):
    """Yield a function that installs a package with entry points in a temporary folder."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    modules_before = set(sys.modules)

    def install(entry_points, text=ENGINE, module="plugin_of_a_test", dist="plugin-of-a-test"):
        (folder / f"{module}.py").write_text(text)
        dist_info = folder / f"{dist.replace('-', '_')}-1.0.dist-info"
        dist_info.mkdir()
        (dist_info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1.0\n")
        (dist_info / "entry_points.txt").write_text(f"[gatewayx.engines]\n{entry_points}\n")
        return dist_info

    yield install
    for name in set(sys.modules) - modules_before:
        if name.endswith("_of_a_test"):
            del sys.modules[name]


def _find_row(pool, name):
    return next(row for row in pool.status() if row.name == name)


@pytest.mark.parametrize("value", ["plugin_of_a_test:Engine", "plugin_of_a_test"])
def test_an_installed_engine_is_imported_on_its_first_call(project, install_package, value):
    """An installed engine is named by its entry point and imported on its first call.

    Before that, its status is read from the source text.
    """
    install_package(f"packed = {value}")
    with project.pool() as pool:
        row = _find_row(pool, "packed")
        assert (row.state, row.model, row.loaded) == ("ready", "packed", False)
        assert row.source == "package: plugin-of-a-test 1.0"
        assert "plugin_of_a_test" not in sys.modules

        assert pool.ask("x", model="packed").text == "from a package"
        assert _find_row(pool, "packed").loaded


def test_a_package_can_be_installed_while_the_kernel_runs(project, install_package):
    """A package that is installed or removed while the kernel runs is noticed immediately."""
    with project.pool() as pool:
        assert "packed" not in {row.name for row in pool.status()}
        dist_info = install_package("packed = plugin_of_a_test:Engine")
        assert _find_row(pool, "packed").state == "ready"
        (dist_info / "entry_points.txt").unlink()
        dist_info.rename(dist_info.with_suffix(".gone"))
        assert "packed" not in {row.name for row in pool.status()}


def test_a_package_in_an_archive_is_found(project, install_package, tmp_path, monkeypatch):
    """Python imports from archives, too."""
    dist_info = install_package("packed = plugin_of_a_test:Engine")
    archive = tmp_path / "packages.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in dist_info.iterdir():
            file.write(path, f"{dist_info.name}/{path.name}")
            path.unlink()
    monkeypatch.syspath_prepend(str(archive))
    with project.pool() as pool:
        assert _find_row(pool, "packed").source == "package: plugin-of-a-test 1.0"


def test_a_package_of_another_finder_is_found(project, install_package, tmp_path, monkeypatch):
    """A program may find its packages anywhere, such as in its own executable."""
    hidden = install_package("packed = plugin_of_a_test:Engine").rename(
        tmp_path / "p-1.0.dist-info"
    )

    class Finder(DistributionFinder):
        def find_spec(self, *_, **__):
            return None

        def find_distributions(self, *_, **__):
            return [PathDistribution(hidden)]

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder()])
    with project.pool() as pool:
        assert _find_row(pool, "packed").source == "package: plugin-of-a-test 1.0"


def test_a_package_ranks_between_user_files_and_shipped_files(project, install_package):
    """A package overrides shipped engines and is overridden by the project's files.

    Both overridden engines are reported with their locations.
    """
    install_package("mine = plugin_of_a_test:Engine\nmock = plugin_of_a_test:Engine")
    project_file = project.engine("mine", "from the project")
    with project.pool() as pool:
        shadowed_errors = {row.name: row.error for row in pool.status() if row.state == "shadowed"}
        assert pool.ask("x", model="mine").text == "from the project"
        assert pool.ask("x", model="mock").text == "from a package"

    package = "plugin_of_a_test:Engine in package plugin-of-a-test 1.0"
    assert shadowed_errors["mine"] == f"{package} is not used: {project_file} has the same name"
    assert shadowed_errors["mock"].endswith(
        f"mock_engine.py is not used: {package} has the same name"
    )


@pytest.mark.parametrize(
    ("entry_points", "text", "expected_message"),
    [
        ("bad = plugin_of_a_test:Nope", ENGINE, "it has no attribute 'Nope'"),
        ("bad = plugin_of_a_test:LLMEngine.generate", ENGINE, "is not a subclass of LLMEngine"),
        ("bad = plugin_of_a_test", "raise SystemExit(3)", "SystemExit: 3"),
        ("bad = plugin_of_a_test", "x = 1", "got none"),
        ("bad = gone_of_a_test:Engine", ENGINE, "No module named 'gone_of_a_test'"),
        ("bad = gone_of_a_test.deep", ENGINE, "No module named 'gone_of_a_test'"),
    ],
)
def test_a_package_that_cannot_be_imported_is_reported(
    project, install_package, entry_points, text, expected_message
):
    """The status of a package that fails shows its error; the hint says what to reinstall.

    Other engines are unaffected.
    """
    install_package(entry_points, text)
    project.set_keys("GATEWAYX_BAD_API_KEY=k\n")
    with project.pool() as pool:
        with pytest.raises(EngineLoadError, match=expected_message) as error:
            pool.ask("x", model="bad")
        assert "pip install --force-reinstall plugin-of-a-test" in str(error.value.hint)
        row = _find_row(pool, "bad")
        assert (row.state, expected_message in row.error, "\n" in row.error) == (
            "failed",
            True,
            False,
        )
        assert pool.ask("x", model="mock").text == "[mock] x"


@pytest.mark.parametrize(
    "entry_points", ["Bad-Name = plugin_of_a_test", "status = plugin_of_a_test"]
)
def test_an_invalid_engine_name_is_refused(project, install_package, entry_points):
    """A package with an invalid engine name is refused without an import."""
    install_package(entry_points, "raise SystemExit")
    with project.pool() as pool:
        row = _find_row(pool, entry_points.split()[0])

    assert row.state == "refused"
    assert "has a name" in row.error


def test_an_engine_without_source_is_imported_for_its_metadata(
    project, install_package, monkeypatch
):
    """If the source cannot be found, as with an import hook, the class is imported."""
    install_package("packed = plugin_of_a_test:Engine")
    monkeypatch.setattr(EnginePackage, "source", lambda self: None)  # simulates an import hook
    with project.pool() as pool:
        assert pool.ask("x", model="packed").text == "from a package"
        assert _find_row(pool, "packed").state == "ready"


def test_the_source_of_a_module_is_found_without_importing_it(install_package, tmp_path):
    """The source of a package or module is found without importing it; if missing, it is `None`."""
    install_package("", "raise SystemExit")
    package = tmp_path / "site" / "packed_of_a_test"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit")
    (package / "deep.py").write_text("raise SystemExit")

    def find_source(module):
        return EnginePackage("x", module, "", "x").source()

    assert find_source("packed_of_a_test") == package / "__init__.py"
    assert find_source("packed_of_a_test.deep") == package / "deep.py"
    assert find_source("packed_of_a_test.none") is None
    assert find_source("none_of_a_test.deep") is None


def test_metadata_in_the_current_folder_is_not_a_package(project, tmp_path, monkeypatch):
    """A clone's metadata would otherwise decide which of its modules gets the user's key."""
    (tmp_path / "evil_of_a_test.py").write_text(ENGINE)
    info = tmp_path / "evil-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[gatewayx.engines]\nopenai = evil_of_a_test:Engine\n")
    monkeypatch.chdir(tmp_path)
    for folder in ("", str(tmp_path)):
        monkeypatch.setattr(sys, "path", [folder, *sys.path])
        with project.pool() as pool:
            assert _find_row(pool, "openai").source != "evil 1.0"
            assert "evil" not in repr(list(pool.status()))
    assert "evil_of_a_test" not in sys.modules
