import pytest
from IPython.core.interactiveshell import InteractiveShell


@pytest.fixture
def shell(project, monkeypatch):
    """Yield a shell in a project, with the extension loaded.

    Its method `ask` runs a cell and returns the value or raises the exception.
    """
    monkeypatch.chdir(project.root)
    monkeypatch.setenv("GATEWAYX_HOME", str(project.root))
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "gatewayx_nb")

    def run_and_raise(cell):
        outcome = shell.run_cell(cell, store_history=True)
        outcome.raise_error()
        return outcome.result

    shell.ask = run_and_raise
    yield shell
    shell.run_line_magic("unload_ext", "gatewayx_nb")
    getattr(shell, "_atexit_once", shell.atexit_operations)()  # before its folder is deleted
    InteractiveShell.clear_instance()
