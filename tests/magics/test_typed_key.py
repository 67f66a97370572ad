"""A key typed in a command is removed from everywhere IPython stores input."""

import linecache
import sqlite3
from pathlib import Path

import pytest

from gatewayx_nb.errors import UsageError
from gatewayx_nb.magics.cell_history import STUB
from tests.kernels import Kernel

CANARY = "sk-canary-7Hq2pVxN4mTzK9wB"

CELLS_WITH_KEY = [
    f"%gatewayx key set grok {CANARY}",
    f"%gatewayx key set grok={CANARY}",
    f"%gatewayx key set {CANARY}",
    f"%gatewayx key {CANARY}",
    f"%gatewayx key set grok '{CANARY}",
    f"%gatewayx key set grok --{CANARY}",
    f"%gatewayx key remove grok {CANARY}",
    f"%gatewayx key import {CANARY}",
    "%gatewayx key set gsk_canary0123456789abcdef",
    f"%gx  key set grok {CANARY}  # mine",
    f"%gatewayx {CANARY}",
    f"%gatewayx kye set grok {CANARY}",
    f"x = 1\nif x:\n    %gatewayx key set grok {CANARY}",
    f"get_ipython().run_line_magic('gatewayx', 'key set grok {CANARY}')",
    f"get_ipython().run_cell('%gatewayx key set grok {CANARY}').raise_error()",
    f"%%gatewayx key set grok\n{CANARY}",
    f"%%gatewayx key set grok {CANARY}",
    f"%%gx key set grok {CANARY}\n\n{CANARY}",
]


def stored_input(shell):
    """Yield all input that a shell stores, including the database file and its journals."""
    history = shell.history_manager
    history.writeout_cache()
    yield from (repr(value) for name, value in shell.user_ns.items() if name[:2] in ("_i", "In"))
    yield repr([history.input_hist_raw, history.input_hist_parsed, history.db_input_cache])
    yield repr([history._i00, history._i, history._ii, history._iii])
    lines = {**linecache.cache, **getattr(linecache, "_ipython_cache", {})}
    yield repr([entry for name, entry in lines.items() if not Path(name).exists()])
    file = Path(history.hist_file)
    yield from (path.read_bytes().decode("latin-1") for path in file.parent.glob(f"{file.name}*"))


@pytest.mark.parametrize("cell", CELLS_WITH_KEY)
def test_a_typed_key_is_refused_and_removed_from_the_history(shell, cell, capsys, project):
    """A key typed on a command line is refused and removed from the history every time.

    The error says to delete the cell's text and renew the key, and does not contain the key.
    """
    for _ in range(2):
        shell.ask("'before'")
        with pytest.raises(
            UsageError, match=r"the cell still contains it.*renew that key"
        ) as error:
            shell.ask(cell)
        shell.ask("'after'")

    output = capsys.readouterr()
    assert "canary" not in f"{output.out}{output.err}{error.value!r}{error.value.__context__}"
    assert not project.keys.exists()
    assert "canary" not in "".join(stored_input(shell))
    assert "'before'" in shell.history_manager.input_hist_raw
    assert STUB in shell.history_manager.input_hist_raw
    shell.run_line_magic("history", "-g")
    assert "canary" not in capsys.readouterr().out


def test_other_cells_are_kept_in_the_history(shell, monkeypatch):
    """Only the cell that holds the key is removed from the history."""
    monkeypatch.setattr("getpass.getpass", lambda _: CANARY)
    shell.ask("%gatewayx key set grok")
    with pytest.raises(UsageError):
        shell.ask(f"%gatewayx key set grok {CANARY}")

    assert shell.history_manager.input_hist_raw[1:] == ["%gatewayx key set grok", STUB]
    assert CANARY not in "".join(stored_input(shell))


def test_a_key_that_cannot_be_removed_is_reported(shell):
    """If another program locks the database, the error reports that the key is still in it."""
    history = shell.history_manager
    history.writeout_cache()
    history.db.execute("PRAGMA busy_timeout = 0")
    locking_connection = sqlite3.connect(history.hist_file, isolation_level=None)
    locking_connection.execute("BEGIN EXCLUSIVE")

    with pytest.raises(UsageError, match="could not be removed from the history database"):
        shell.ask(f"%gatewayx key set grok {CANARY}")

    locking_connection.close()
    assert CANARY not in "".join(stored_input(shell))


SEARCH_CELL = """
import linecache
_key = {key!r}[::-1]
_history = get_ipython().history_manager
_stored = [*In, *_history.input_hist_raw, *_ih, _i, _ii, _iii, _history._i00]
_stored += [value for name, value in list(globals().items()) if name.startswith("_i")]
_stored += [*linecache.cache.values(), *getattr(linecache, "_ipython_cache", dict()).values()]
print("found", sum(_key in repr(text) for text in _stored), "of", len(_stored))
"""


@pytest.mark.kernel
@pytest.mark.parametrize(
    "cell",
    [
        f"%gatewayx key set grok {CANARY}",
        f"%gatewayx key set grok={CANARY}",
        f"%%gatewayx key set grok\n{CANARY}",
    ],
)
def test_a_kernel_removes_a_typed_key_from_its_history(project, tmp_path, cell):
    """A kernel removes a typed key from its history database, while it runs and when it ends."""
    (home := tmp_path / "home").mkdir()
    with Kernel(project.root, home) as kernel:
        kernel.run("%load_ext gatewayx_nb")
        for _ in range(2):
            outcome = kernel.run(cell)
            assert "it was removed from the history" in "".join(outcome.traceback)
            assert CANARY not in repr(outcome.contents("error", "stream", "display_data"))
        search = kernel.run(SEARCH_CELL.format(key="canary"[::-1]))
        history = kernel.run("%history\n%history -g")
        assert search.text.startswith("found 0 of ")
        assert "%load_ext gatewayx_nb" in history.text
        assert CANARY not in history.text
        database = Path(kernel.run("print(_history.hist_file)").text.strip())
        assert CANARY.encode() not in database.read_bytes()
    assert b"%load_ext gatewayx_nb" in database.read_bytes()
    assert CANARY.encode() not in b"".join(
        path.read_bytes() for path in database.parent.glob(f"{database.name}*")
    )
