import importlib
import inspect
import os
import pkgutil
import pydoc
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import gatewayx_nb
from gatewayx_nb import engine_pool, errors
from gatewayx_nb.errors import ConfigError

HEAVY_MODULES = (
    "IPython",
    "ipywidgets",
    "httpx",
    "aiohttp",
    "xllamacpp",
    "markdown_it",
    "nh3",
    "pandas",
)


def _loaded_heavy_modules(code):
    """Run code in a new interpreter; return the heavy modules that it loaded."""
    script = (
        f"{code}\nimport sys\nprint(*[name for name in {HEAVY_MODULES} if name in sys.modules])"
    )
    process = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(Path(gatewayx_nb.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    return process.stdout.split()


@pytest.mark.parametrize(
    "code",
    [
        "import gatewayx_nb",
        "import gatewayx_nb.engine_pool",
        "import gatewayx_nb as gx; gx.EnginePool(env={}).status()",
        "import gatewayx_nb as gx; gx.ask('x', model='mock')",
        "import gatewayx_nb.cassettes.hook",
        "import gatewayx_nb.cassettes.__main__",
    ],
)
def test_heavy_modules_are_loaded_on_demand(code):
    """Neither the import of the package nor a call of a simple engine loads heavy modules."""
    assert _loaded_heavy_modules(code) == []


def test_the_import_opens_no_files_or_sockets(tmp_path):
    """The import opens no socket, and no files except Python modules."""
    script = """
import sys
allowed_folders = (sys.prefix, sys.base_prefix, sys.argv[1])
accesses = []
def record_access(event, args):
    if event.startswith("socket") or event == "os.mkdir":
        accesses.append((event, *args))
    if event == "open" and not str(args[0]).startswith(allowed_folders):
        accesses.append((event, args[0]))
sys.addaudithook(record_access)
import gatewayx_nb
print(accesses)
"""
    process = subprocess.run(
        [sys.executable, "-B", "-c", script, str(Path(gatewayx_nb.__file__).parent)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(gatewayx_nb.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert process.stdout == "[]\n"
    assert not list(tmp_path.iterdir())


def test_every_public_name_can_be_imported():
    """Every name in `__all__` can be imported and is listed by `dir`."""
    for name in gatewayx_nb.__all__:
        assert getattr(gatewayx_nb, name) is not None
    assert dir(gatewayx_nb) == sorted(gatewayx_nb.__all__)
    assert gatewayx_nb.__version__
    assert gatewayx_nb.ask.__doc__ == engine_pool.EnginePool.ask.__doc__
    assert list(inspect.signature(gatewayx_nb.use).parameters) == ["reference", "save"]
    with pytest.raises(AttributeError, match="nope"):
        _ = gatewayx_nb.nope


def test_coroutine_functions_are_recognized():
    """`inspect.iscoroutinefunction` is true for public coroutine functions, and only for them."""
    functions = {name: getattr(gatewayx_nb, name) for name in gatewayx_nb.__all__}
    coroutine_functions = {
        name for name, function in functions.items() if inspect.iscoroutinefunction(function)
    }
    assert coroutine_functions == {
        "aask",
        "aresume",
        "asubmit",
        "acompare",
        "aembed",
        "aevaluate",
        "ahealth",
        "amap",
        "apreview",
        "apreview_map",
    }


def test_importing_a_name_builds_no_pool(project, monkeypatch):
    """An invalid settings file raises an error on the first call, not on import."""
    project.settings("default_model = [")
    monkeypatch.chdir(project.root)

    assert hasattr(gatewayx_nb, "ask")
    assert "prompt" in pydoc.render_doc(gatewayx_nb.ask)
    assert "compare_view" in pydoc.plain(pydoc.render_doc(gatewayx_nb))
    with pytest.raises(ConfigError, match=r"gatewayx\.toml"):
        gatewayx_nb.ask("Hello", model="mock")


def test_every_error_and_every_returned_class_is_public():
    """`except gx.RateLimitError` needs no other import, nor does an annotation of a result."""
    error_classes = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.GatewayError)
    }
    assert error_classes <= set(gatewayx_nb.__all__)
    with gatewayx_nb.EnginePool(env={}) as pool:
        tables = pool.status(), pool.models(), pool.health("mock")
        replies = pool.ask("hi", "mock"), pool.compare("hi", "mock"), pool.preview("hi", "mock")
        rows = [table[0] for table in (*tables, pool.usage())]
        results = (*replies, *tables, *rows, pool.chat("mock"))
    for result in results:
        assert getattr(gatewayx_nb, type(result).__name__) is type(result)


def test_no_public_name_becomes_a_module():
    """No submodule, which is set as an attribute of its package, hides a public name."""
    packages = [gatewayx_nb]
    path, prefix = gatewayx_nb.__path__, "gatewayx_nb."
    for module in pkgutil.walk_packages(path, prefix, onerror=lambda _: None):
        if module.name.startswith("gatewayx_nb.server"):  # needs the extra `server`
            continue
        imported_module = importlib.import_module(module.name)
        if module.ispkg:
            packages.append(imported_module)

    hidden_names = [
        f"{package.__name__}.{name}"
        for package in packages
        for name in getattr(package, "__all__", ())
        if isinstance(getattr(package, name), ModuleType)
    ]
    # `gx.scorers` is meant to be a module: its functions are called `gx.scorers.equals()`.
    assert hidden_names == ["gatewayx_nb.scorers", "gatewayx_nb.evaluation.scorers"]
    assert len(packages) > 15
