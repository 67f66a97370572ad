"""Shows the progress of a long transfer: a bar if possible, otherwise a few lines."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_MAX_LINES = 4


@contextmanager
def progress_bar(
    label: str, total_bytes: int, *, enabled: bool
) -> Iterator[Callable[[int], object]]:
    """Show progress on stderr; yield a function that takes the number of bytes done so far.

    The bar is tqdm's text bar even in notebooks, because its widget is lost in a saved notebook.
    """
    stream = sys.stderr
    if not enabled:
        yield lambda _done: None
    # A carriage return overwrites the line only in terminals and notebooks.
    elif stream.isatty() or type(stream).__module__.startswith("ipykernel."):
        from tqdm import tqdm  # imported on first use, because most calls need no bar

        with tqdm(desc=label, total=total_bytes, unit="B", unit_scale=True, file=stream) as bar:
            yield lambda done: bar.update(min(done, total_bytes) - bar.n)
    else:
        yield _line_reporter(label, total_bytes, stream)


def _line_reporter(label: str, total_bytes: int, stream: TextIO) -> Callable[[int], None]:
    last_step = 0

    def report(done_bytes: int) -> None:
        nonlocal last_step
        step = min(_MAX_LINES, done_bytes * _MAX_LINES // max(total_bytes, 1))
        if step > last_step:
            last_step = step
            stream.write(f"{label}: {100 * step // _MAX_LINES} % of {total_bytes / 1e6:.0f} MB\n")

    return report
