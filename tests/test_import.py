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
from gatewayx_nb import engine_pool
from gatewayx_nb.errors import ConfigError

HEAVY = ("IPython", "ipywidgets", "httpx", "aiohttp", "xllamacpp", "markdown_it", "nh3", "pandas")


def _loaded(code):
    """Run code in a new interpreter; return the heavy modules that it loaded."""
    script = f"{code}\nimport sys\nprint(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(Path(gatewayx_nb.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    "code",
    [
        "import gatewayx_nb",
        "import gatewayx_nb.engine_pool",
        "import gatewayx_nb as gx; gx.EnginePool(env={}).status()",
        "import gatewayx_nb as gx; gx.ask('x', model='mock')",
    ],
)
def test_nothing_heavy_is_loaded_before_it_is_needed(code):
    """Neither the import nor a call to an engine without dependencies loads heavy modules."""
    assert _loaded(code) == []


def test_the_import_reads_and_opens_nothing(tmp_path):
    """Under an audit hook, the import opens no socket and reads only Python modules."""
    script = """
import sys
own = (sys.prefix, sys.base_prefix, sys.argv[1])
seen = []
def watch(event, args):
    if event.startswith("socket") or event == "os.mkdir":
        seen.append((event, *args))
    if event == "open" and not str(args[0]).startswith(own):
        seen.append((event, args[0]))
sys.addaudithook(watch)
import gatewayx_nb
print(seen)
"""
    done = subprocess.run(
        [sys.executable, "-B", "-c", script, str(Path(gatewayx_nb.__file__).parent)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(gatewayx_nb.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"
    assert not list(tmp_path.iterdir())


def test_every_public_name_can_be_imported():
    """`__all__` lists the names that `__getattr__` and `dir` return."""
    for name in gatewayx_nb.__all__:
        assert getattr(gatewayx_nb, name) is not None
    assert dir(gatewayx_nb) == sorted(gatewayx_nb.__all__)
    assert gatewayx_nb.__version__
    assert gatewayx_nb.ask.__doc__ == engine_pool.EnginePool.ask.__doc__
    assert list(inspect.signature(gatewayx_nb.use).parameters) == ["reference", "save"]
    with pytest.raises(AttributeError, match="nope"):
        _ = gatewayx_nb.nope


def test_a_coroutine_function_is_recognized_as_one():
    """Frameworks tell `aask` from `ask` by `inspect.iscoroutinefunction`."""
    functions = {name: getattr(gatewayx_nb, name) for name in gatewayx_nb.__all__}
    found = {name for name, function in functions.items() if inspect.iscoroutinefunction(function)}
    assert found == {"aask", "acompare", "aembed", "ahealth"}


def test_importing_a_name_builds_no_pool(project, monkeypatch):
    """A broken settings file is an error of the call, not of `from gatewayx_nb import ask`."""
    project.settings("default_model = [")
    monkeypatch.chdir(project.root)

    assert hasattr(gatewayx_nb, "ask")
    assert "prompt" in pydoc.render_doc(gatewayx_nb.ask)
    with pytest.raises(ConfigError, match=r"gatewayx\.toml"):
        gatewayx_nb.ask("Hello", model="mock")


def test_no_public_name_becomes_a_module():
    """Importing a submodule sets an attribute of its package, which must not hide a function."""
    packages = [gatewayx_nb]
    path, prefix = gatewayx_nb.__path__, "gatewayx_nb."
    for module in pkgutil.walk_packages(path, prefix, onerror=lambda _: None):
        if module.name.startswith("gatewayx_nb.server"):  # it needs the extra of its name
            continue
        imported = importlib.import_module(module.name)
        if module.ispkg:
            packages.append(imported)

    hidden = [
        f"{package.__name__}.{name}"
        for package in packages
        for name in getattr(package, "__all__", ())
        if isinstance(getattr(package, name), ModuleType)
    ]
    assert hidden == []
    assert len(packages) > 15
