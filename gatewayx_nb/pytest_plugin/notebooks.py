"""Reports the cassette usage of notebooks that nbval and nbmake run.

A notebook's kernel is another process. It reads the notebook's path from an environment variable,
and appends the usage of its cassettes to a file.
"""

from __future__ import annotations

import queue
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gatewayx_nb.pytest_plugin.unused import report_unused

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from gatewayx_nb.cassettes import CassetteUsage

_FINISH_CODE = """
if "gatewayx_nb.cassettes" in __import__("sys").modules:
    __import__("sys").modules["gatewayx_nb.cassettes"].finish_all()
"""

_FINISH_TIMEOUT = 30
"""Maximum seconds for the kernel to write its cassettes."""


class NotebookCassettes:
    """Passes each notebook's path to its kernel, and reports entries that the notebook did not use.

    Args:
        config: pytest's configuration.
        read_usage: Reads a kernel's report.
    """

    def __init__(
        self,
        config: pytest.Config,
        read_usage: Callable[[Path], Mapping[Path, CassetteUsage]],
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="gatewayx-")
        config.add_cleanup(self._folder.cleanup)
        self._read_usage = read_usage
        self._passed_counts: Counter[pytest.Collector | None] = Counter()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Set the variables for the kernel, which the notebook's first item starts."""
        if item.path.suffix != ".ipynb":
            return (yield)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("GATEWAYX_CASSETTE_REPORT", str(self._report_path(item)))
            # JupyterLab sets this, too; `cassette` without a path then opens the notebook's
            # cassette.
            patch.setenv("JPY_SESSION_NAME", str(item.path))
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Count the notebook's passed items."""
        report = yield
        if item.path.suffix == ".ipynb" and call.when == "call" and report.passed:
            self._passed_counts[item.parent] += 1
        return report

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_teardown(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Generator[None, None, None]:
        """Report the unused entries after the last item, if the whole notebook has passed."""
        is_last = nextitem is None or nextitem.parent is not item.parent
        if item.path.suffix != ".ipynb" or not is_last:
            return (yield)
        has_passed = self._passed_counts[item.parent] == _count_items(item)
        is_complete = has_passed and _finish_cassettes(item)
        result = yield  # nbval kills the kernel
        path = self._report_path(item)
        if is_complete and path.exists():  # otherwise, no cassette was opened
            for cassette, usage in self._read_usage(path).items():
                remedy = (
                    "After Run All, prune the cassette in the notebook, and do not save that cell."
                )
                unused_count = len(usage.unused)
                report_unused(item, cassette, unused_count, usage.entries, "the notebook", remedy)
        return result

    def _report_path(self, item: pytest.Item) -> Path:
        return Path(self._folder.name, f"{hash(item.path):x}.jsonl")


def _count_items(item: pytest.Item) -> int:
    """Return the number of a notebook's items: nbval has one per cell, nbmake one in total."""
    notebook = getattr(item.parent, "nb", None)
    return sum(cell.cell_type == "code" for cell in notebook.cells) if notebook else 1


def _finish_cassettes(item: pytest.Item) -> bool:
    """Make nbval's kernel finish its cassettes before nbval kills it; return whether it did."""
    kernel: Any = getattr(item.parent, "kernel", None)
    if kernel is None:
        return True  # nbmake's kernel has ended
    if not kernel.is_alive() or kernel.language != "python":
        return False
    try:
        kernel.await_reply(kernel.kc.execute(_FINISH_CODE, silent=True), timeout=_FINISH_TIMEOUT)
    except (queue.Empty, RuntimeError):
        return False
    return True
