"""Engines of installed packages, found by entry point."""

import sys

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
def site(tmp_path, monkeypatch):
    """Yield a folder of installed packages and a function that installs one in it."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    before = set(sys.modules)

    def install(points, text=ENGINE, module="plugin_of_a_test", dist="plugin-of-a-test"):
        (folder / f"{module}.py").write_text(text)
        info = folder / f"{dist.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[gatewayx.engines]\n{points}\n")
        return info

    yield install
    for name in set(sys.modules) - before:
        if name.endswith("_of_a_test"):
            del sys.modules[name]


def _row(pool, name):
    return next(row for row in pool.status() if row.name == name)


@pytest.mark.parametrize("value", ["plugin_of_a_test:Engine", "plugin_of_a_test"])
def test_an_installed_engine_answers_and_is_imported_on_first_use(project, site, value):
    """An installed engine has the entry point's name and is imported on its first call.

    Before that, its properties are read from the source text.
    """
    site(f"packed = {value}")
    with project.pool() as pool:
        row = _row(pool, "packed")
        assert (row.state, row.model, row.loaded) == ("ready", "packed", False)
        assert row.source == "package: plugin-of-a-test 1.0"
        assert "plugin_of_a_test" not in sys.modules

        assert pool.ask("x", model="packed").text == "from a package"
        assert _row(pool, "packed").loaded


def test_a_package_installed_while_the_kernel_runs_is_there_in_the_next_cell(project, site):
    """A package installed or removed while the kernel runs is noticed by the next cell."""
    with project.pool() as pool:
        assert "packed" not in {row.name for row in pool.status()}
        info = site("packed = plugin_of_a_test:Engine")
        assert _row(pool, "packed").state == "ready"
        (info / "entry_points.txt").unlink()
        info.rename(info.with_suffix(".gone"))
        assert "packed" not in {row.name for row in pool.status()}


def test_a_package_ranks_between_user_files_and_shipped_files(project, site):
    """A package overrides shipped engines and is overridden by the project's files.

    Both overridden engines are reported with their locations.
    """
    site("mine = plugin_of_a_test:Engine\nmock = plugin_of_a_test:Engine")
    mine = project.engine("mine", "from the project")
    with project.pool() as pool:
        losers = {row.name: row.error for row in pool.status() if row.state == "shadowed"}
        assert pool.ask("x", model="mine").text == "from the project"
        assert pool.ask("x", model="mock").text == "from a package"

    place = "plugin_of_a_test:Engine in package plugin-of-a-test 1.0"
    assert losers["mine"] == f"{place} is not used: {mine} has the same name"
    assert losers["mock"].endswith(f"mock_engine.py is not used: {place} has the same name")


@pytest.mark.parametrize(
    ("points", "text", "expected_message"),
    [
        ("bad = plugin_of_a_test:Nope", ENGINE, "it has no attribute 'Nope'"),
        ("bad = plugin_of_a_test:LLMEngine.generate", ENGINE, "is not a subclass of LLMEngine"),
        ("bad = plugin_of_a_test", "raise SystemExit(3)", "SystemExit: 3"),
        ("bad = plugin_of_a_test", "x = 1", "got none"),
        ("bad = gone_of_a_test:Engine", ENGINE, "No module named 'gone_of_a_test'"),
        ("bad = gone_of_a_test.deep", ENGINE, "No module named 'gone_of_a_test'"),
    ],
)
def test_an_unusable_package_has_a_status_row(project, site, points, text, expected_message):
    """A package that fails is one row with the error and what to reinstall.

    Other engines are unaffected.
    """
    site(points, text)
    project.set_keys("GATEWAYX_BAD_API_KEY=k\n")
    with project.pool() as pool:
        with pytest.raises(EngineLoadError, match=expected_message) as caught:
            pool.ask("x", model="bad")
        assert "pip install --force-reinstall plugin-of-a-test" in str(caught.value.hint)
        row = _row(pool, "bad")
        assert (row.state, expected_message in row.error, "\n" in row.error) == (
            "failed",
            True,
            False,
        )
        assert pool.ask("x", model="mock").text == "[mock] x"


@pytest.mark.parametrize("points", ["Bad-Name = plugin_of_a_test", "status = plugin_of_a_test"])
def test_a_name_that_cannot_be_called_is_refused(project, site, points):
    """A package with an invalid engine name is refused without an import."""
    site(points, "raise SystemExit")
    with project.pool() as pool:
        row = _row(pool, points.split()[0])

    assert row.state == "refused"
    assert "has a name" in row.error


def test_an_engine_whose_source_cannot_be_found_is_asked_itself(project, site, monkeypatch):
    """Without source, as with an import hook, only the class tells whether a key is needed."""
    site("packed = plugin_of_a_test:Engine")
    monkeypatch.setattr(EnginePackage, "source", lambda self: None)  # simulates an import hook
    with project.pool() as pool:
        assert pool.ask("x", model="packed").text == "from a package"
        assert _row(pool, "packed").state == "ready"


def test_the_source_of_a_module_is_found_without_importing_it(site, tmp_path):
    """The source of a package or module is found without an import, or not at all."""
    site("", "raise SystemExit")
    inner = tmp_path / "site" / "packed_of_a_test"
    inner.mkdir()
    (inner / "__init__.py").write_text("raise SystemExit")
    (inner / "deep.py").write_text("raise SystemExit")

    def source(module):
        return EnginePackage("x", module, "", "x").source()

    assert source("packed_of_a_test") == inner / "__init__.py"
    assert source("packed_of_a_test.deep") == inner / "deep.py"
    assert source("packed_of_a_test.none") is None
    assert source("none_of_a_test.deep") is None
