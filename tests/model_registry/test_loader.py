import py_compile
import sys
from importlib.machinery import EXTENSION_SUFFIXES

import pytest

from gatewayx_nb.errors import EngineLoadError
from gatewayx_nb.llm_engines import LLMEngine
from gatewayx_nb.model_registry import loader
from gatewayx_nb.model_registry.folders import EngineFile
from gatewayx_nb.model_registry.loader import load

IMPORT_LINE = "from ..llm_engines import LLMEngine\n"
ENGINE_TEXT = (
    IMPORT_LINE
    + "class Engine(LLMEngine):\n    async def generate(self, prompt, **kw): return 'answer'\n"
)


def _write_engine_file(folder, text, name="thing"):
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}_engine.py"
    path.write_text(text)
    return EngineFile(name, path, "project")


def test_loading_a_file_returns_its_class(tmp_path):
    """Loading a file returns its engine class.

    In any folder, `..llm_engines` in it means this package's module.
    """
    code = load(_write_engine_file(tmp_path / "a", ENGINE_TEXT))

    assert issubclass(code.engine, LLMEngine)
    assert code.engine.__module__.startswith("gatewayx_nb.engines_")


def test_each_folder_has_its_own_helpers(tmp_path):
    """Two projects with a `_shared.py` each import their own."""
    text = "from ._shared import NAME\n" + ENGINE_TEXT + "    model_name = NAME\n"
    files = []
    for folder in ("a", "b"):
        files.append(_write_engine_file(tmp_path / folder, text))
        (tmp_path / folder / "_shared.py").write_text(f"NAME = {folder!r}\n")

    assert [load(file).engine.model_name for file in files] == ["a", "b"]


def test_a_package_within_the_folder_can_be_imported(tmp_path):
    """An engine can import from a package inside its folder."""
    file = _write_engine_file(
        tmp_path / "a", "from .inner.deep import NAME\n" + ENGINE_TEXT + "    model_name = NAME\n"
    )
    package = file.path.parent / "inner"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "deep.py").write_text("NAME = 'deep'\n")

    assert load(file).engine.model_name == "deep"


def test_the_init_file_of_the_engines_folder_is_not_run(tmp_path):
    """`engines/__init__.py` is not run, because it may import every engine."""
    file = _write_engine_file(tmp_path / "a", ENGINE_TEXT)
    (file.path.parent / "__init__.py").write_text("raise SystemExit\n")

    assert load(file).engine


def test_a_changed_file_is_not_current(tmp_path):
    """Code is outdated if its file or a helper was edited, even if the size is the same."""
    file = _write_engine_file(
        tmp_path / "a", "from ._shared import NAME\n" + ENGINE_TEXT + "    model_name = NAME\n"
    )
    shared = file.path.parent / "_shared.py"
    shared.write_text("NAME = 'a'\n")
    old_code = load(file)
    assert old_code.is_current()

    shared.write_text("NAME = 'b'\n")

    assert not old_code.is_current()
    assert load(file).engine.model_name == "b"
    assert old_code.engine.model_name == "a"


def test_no_bytecode_is_written(tmp_path):
    """No bytecode is written, because it could hide an edit."""
    file = _write_engine_file(tmp_path / "a", ENGINE_TEXT)
    load(file)

    assert list(file.path.parent.iterdir()) == [file.path]


def test_retired_code_is_removed_from_sys_modules_after_its_last_use(tmp_path):
    """Retired modules stay in `sys.modules` until they are released; their classes still work."""
    code = load(_write_engine_file(tmp_path / "a", ENGINE_TEXT))
    package = code.engine.__module__.rpartition(".")[0]
    code.hold()
    code.retire()
    assert package in sys.modules

    code.release()

    assert not [name for name in sys.modules if name.startswith(package)]
    assert code.engine("").model_name == ""


def test_an_import_that_hangs_times_out(tmp_path, monkeypatch):
    """An import that takes longer than `IMPORT_TIMEOUT` raises an error."""
    file = _write_engine_file(tmp_path / "a", "import threading\nthreading.Event().wait(30)\n")

    monkeypatch.setattr(loader, "IMPORT_TIMEOUT", 0.1)  # the default is ten seconds

    with pytest.raises(EngineLoadError, match=r"import took longer than 0.1 s"):
        load(file)


@pytest.mark.parametrize("writable_file", ["engine", "helper"])
def test_a_world_writable_file_is_not_run(tmp_path, writable_file):
    """A world-writable engine or helper raises an error before it is run."""
    file = _write_engine_file(tmp_path / "a", "from . import _shared\n" + ENGINE_TEXT)
    shared = file.path.parent / "_shared.py"
    shared.write_text("raise RuntimeError('was run')\n")
    (file.path if writable_file == "engine" else shared).chmod(0o666)

    with pytest.raises(EngineLoadError, match="writable by everyone"):
        load(file)


def test_a_helper_that_leaves_its_folder_is_not_run(tmp_path):
    """A helper that is a symlink out of the folder is refused."""
    file = _write_engine_file(tmp_path / "a", "from . import _shared\n" + ENGINE_TEXT)
    outside = tmp_path / "outside.py"
    outside.write_text("raise RuntimeError('was run')\n")
    (file.path.parent / "_shared.py").symlink_to(outside)

    with pytest.raises(EngineLoadError, match="symlink to a file outside its folder"):
        load(file)


@pytest.mark.parametrize("suffix", [".pyc", EXTENSION_SUFFIXES[-1]])
@pytest.mark.parametrize("module", ["_shared", "inner._shared"])
def test_a_compiled_helper_is_not_run(tmp_path, module, suffix):
    """Only source files are imported from an engine's folder and from packages in it."""
    text = f"from .{module} import NAME\n" + ENGINE_TEXT
    file = _write_engine_file(tmp_path / "a", text)
    source = tmp_path / "source.py"
    source.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nNAME = 'compiled'\n")
    compiled = file.path.parent.joinpath(*module.split(".")).with_suffix(suffix)
    py_compile.compile(str(source), cfile=str(compiled))

    missing = f"{module.replace('.', '/')}.py"
    with pytest.raises(EngineLoadError, match=f"the engine's folder has no {missing}"):
        load(file)
    assert not (tmp_path / "ran").exists()


def test_a_package_without_an_init_file_can_be_imported(tmp_path):
    """A folder without `__init__.py` is a package, whose files are checked."""
    text = "from .inner import deep\n" + ENGINE_TEXT + "    model_name = deep.NAME\n"
    file = _write_engine_file(tmp_path / "a", text)
    deep = file.path.parent / "inner" / "deep.py"
    deep.parent.mkdir()
    deep.write_text("NAME = 'deep'\n")
    assert load(file).engine.model_name == "deep"

    deep.chmod(0o666)
    with pytest.raises(EngineLoadError, match="writable by everyone"):
        load(file)


def test_private_and_abstract_classes_are_not_the_engine(tmp_path):
    """Private and abstract classes, such as a base class, are ignored."""
    text = (
        "from abc import ABC, abstractmethod\n" + IMPORT_LINE + "class _Base(LLMEngine): pass\n"
        "class Abstract(_Base, ABC):\n    @abstractmethod\n    def what(self): ...\n"
        "class Engine(_Base):\n    async def generate(self, prompt, **kw): return 'answer'\n"
    )

    assert load(_write_engine_file(tmp_path / "a", text)).engine.__name__ == "Engine"


def test_a_stream_that_is_not_asynchronous_is_refused(tmp_path):
    """The error for a plain generator says that `stream` must be `async def`."""
    text = ENGINE_TEXT + "    def stream(self, request):\n        yield 'x'\n"

    with pytest.raises(EngineLoadError, match=r"\.stream must be `async def`\."):
        load(_write_engine_file(tmp_path / "a", text))


@pytest.mark.parametrize("name", ["sub", "sub/inner"])
def test_a_module_in_a_folder_that_everyone_can_change_is_not_run(tmp_path, name):
    """A module is not imported from a folder in which everyone can replace it."""
    file = _write_engine_file(tmp_path / "a", "from .sub.inner import helper\n" + ENGINE_TEXT)
    inner = tmp_path / "a" / "sub" / "inner"
    inner.mkdir(parents=True)
    (inner / "helper.py").write_text("raise ValueError('was run')\n")
    (tmp_path / "a" / name).chmod(0o777)

    with pytest.raises(EngineLoadError, match=r"helper\.py is in a folder that is writable by"):
        load(file)
