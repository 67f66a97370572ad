import pytest
from IPython.core.interactiveshell import InteractiveShell


@pytest.fixture
def shell(project, monkeypatch):
    """Yield a shell in a project with the extension loaded; `ask` returns a value or raises."""
    monkeypatch.chdir(project.root)
    monkeypatch.setenv("GATEWAYX_HOME", str(project.root))
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "gatewayx_nb")

    def run(cell):
        outcome = shell.run_cell(cell, store_history=True)
        outcome.raise_error()
        return outcome.result

    shell.ask = run
    yield shell
    shell.run_line_magic("unload_ext", "gatewayx_nb")
    getattr(shell, "_atexit_once", shell.atexit_operations)()  # now, while its folder exists
    InteractiveShell.clear_instance()
