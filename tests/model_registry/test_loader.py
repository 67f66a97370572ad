import sys

import pytest

from gatewayx_nb.errors import EngineLoadError
from gatewayx_nb.llm_engines import LLMEngine
from gatewayx_nb.model_registry import loader
from gatewayx_nb.model_registry.folders import EngineFile
from gatewayx_nb.model_registry.loader import load

ENGINE = "from ..llm_engines import LLMEngine\n"
ONE = ENGINE + "class One(LLMEngine):\n    async def generate(self, prompt, **kw): return 'one'\n"


def _file(folder, text, name="thing"):
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}_engine.py"
    path.write_text(text)
    return EngineFile(name, path, "project")


def test_an_engine_file_gives_its_class(tmp_path):
    """Loading a file returns its class; `..llm_engines` is this package's, in any folder."""
    loaded = load(_file(tmp_path / "a", ONE))

    assert issubclass(loaded.engine, LLMEngine)
    assert loaded.engine.__module__.startswith("gatewayx_nb.engines_")


def test_helpers_stay_in_their_folder(tmp_path):
    """Two projects with a `_shared.py` each import their own."""
    text = "from ._shared import NAME\n" + ONE + "    model_name = NAME\n"
    files = []
    for folder in ("a", "b"):
        files.append(_file(tmp_path / folder, text))
        (tmp_path / folder / "_shared.py").write_text(f"NAME = {folder!r}\n")

    assert [load(file).engine.model_name for file in files] == ["a", "b"]


def test_packages_inside_the_folder_are_helpers_too(tmp_path):
    """A folder with `__init__.py` below `engines/` is imported as usual."""
    file = _file(tmp_path / "a", "from .parts.deep import NAME\n" + ONE + "    model_name = NAME\n")
    parts = file.path.parent / "parts"
    parts.mkdir()
    (parts / "__init__.py").touch()
    (parts / "deep.py").write_text("NAME = 'deep'\n")

    assert load(file).engine.model_name == "deep"


def test_the_folders_own_init_is_never_run(tmp_path):
    """`engines/__init__.py`, which imports every engine in the seed document, is never run."""
    file = _file(tmp_path / "a", ONE)
    (file.path.parent / "__init__.py").write_text("raise SystemExit\n")

    assert load(file).engine


def test_a_changed_file_is_not_current(tmp_path):
    """A file is outdated if it or a helper was edited, even without a change of size."""
    file = _file(tmp_path / "a", "from ._shared import NAME\n" + ONE + "    model_name = NAME\n")
    shared = file.path.parent / "_shared.py"
    shared.write_text("NAME = 'a'\n")
    first = load(file)
    assert first.is_current()

    shared.write_text("NAME = 'b'\n")

    assert not first.is_current()
    assert load(file).engine.model_name == "b"
    assert first.engine.model_name == "a"


def test_no_bytecode_is_written(tmp_path):
    """No bytecode is written, because a cache could run the code before an edit."""
    file = _file(tmp_path / "a", ONE)
    load(file)

    assert list(file.path.parent.iterdir()) == [file.path]


def test_retired_code_leaves_no_module_once_nobody_holds_it(tmp_path):
    """Replaced modules leave `sys.modules` with their last instance, and work until then."""
    loaded = load(_file(tmp_path / "a", ONE))
    package = loaded.engine.__module__.rpartition(".")[0]
    loaded.hold()
    loaded.retire()
    assert package in sys.modules

    loaded.release()

    assert not [name for name in sys.modules if name.startswith(package)]
    assert loaded.engine("").model_name == ""


def test_an_import_that_hangs_is_cut_off(tmp_path, monkeypatch):
    """An import that hangs blocks a call no longer than its deadline."""
    file = _file(tmp_path / "a", "import threading\nthreading.Event().wait(30)\n")

    monkeypatch.setattr(loader, "IMPORT_TIMEOUT", 0.1)  # the default is ten seconds

    with pytest.raises(EngineLoadError, match=r"import took longer than 0.1 s"):
        load(file)


@pytest.mark.parametrize("what", ["engine", "helper"])
def test_a_file_that_everyone_may_change_is_not_run(tmp_path, what):
    """A world-writable engine or helper is not run at all."""
    file = _file(tmp_path / "a", "from . import _shared\n" + ONE)
    shared = file.path.parent / "_shared.py"
    shared.write_text("raise RuntimeError('was run')\n")
    (file.path if what == "engine" else shared).chmod(0o666)

    with pytest.raises(EngineLoadError, match="writable by everyone"):
        load(file)


def test_a_helper_that_leaves_its_folder_is_not_run(tmp_path):
    """A helper that is a symlink out of the folder is refused."""
    file = _file(tmp_path / "a", "from . import _shared\n" + ONE)
    outside = tmp_path / "outside.py"
    outside.write_text("raise RuntimeError('was run')\n")
    (file.path.parent / "_shared.py").symlink_to(outside)

    with pytest.raises(EngineLoadError, match="symlink that leaves its folder"):
        load(file)


def test_private_and_abstract_classes_are_helpers(tmp_path):
    """Private and abstract classes, such as a base class, are not taken for the engine."""
    text = (
        "from abc import ABC, abstractmethod\n" + ENGINE + "class _Base(LLMEngine): pass\n"
        "class Abstract(_Base, ABC):\n    @abstractmethod\n    def what(self): ...\n"
        "class One(_Base):\n    async def generate(self, prompt, **kw): return 'one'\n"
    )

    assert load(_file(tmp_path / "a", text)).engine.__name__ == "One"
