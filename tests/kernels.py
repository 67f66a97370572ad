"""A real IPython kernel, driven over its own protocol."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty
from typing import Self

from jupyter_client.manager import KernelManager

REPOSITORY = Path(__file__).parents[1]


@dataclass
class Outcome:
    """What one cell sent: messages of the iopub channel, by type, and the shell's reply."""

    messages: list[dict] = field(default_factory=list)
    reply: dict = field(default_factory=dict)

    def of(self, kind: str) -> list[dict]:
        """Give the contents of the messages of one type."""
        return [m["content"] for m in self.messages if m["header"]["msg_type"] == kind]

    @property
    def text(self) -> str:
        """What was printed."""
        return "".join(content["text"] for content in self.of("stream"))

    @property
    def result(self) -> str:
        """The plain text of the cell's value."""
        return "".join(content["data"]["text/plain"] for content in self.of("execute_result"))

    @property
    def shown(self) -> dict:
        """The last state of the cell's display, as mime bundle."""
        kinds = ("display_data", "update_display_data")
        sent = [m["content"] for m in self.messages if m["header"]["msg_type"] in kinds]
        return sent[-1]["data"] if sent else {}

    @property
    def traceback(self) -> list[str]:
        """The error's lines."""
        return [line for content in self.of("error") for line in content["traceback"]]


class Kernel:
    """A kernel process in a folder of its own; use it as a context manager."""

    def __init__(self, folder: Path, **env: str) -> None:
        self.manager = KernelManager(kernel_name="python3")
        path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
        self.manager.start_kernel(cwd=str(folder), env={**os.environ, "PYTHONPATH": path, **env})
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)

    def run(self, code: str, timeout: float = 60) -> Outcome:
        """Run a cell to its end."""
        return self.finish(self.start(code), timeout)

    def start(self, code: str) -> str:
        """Start a cell; give its id for `finish`."""
        return self.client.execute(code, allow_stdin=False)

    def until(self, condition, outcome: Outcome, cell: str, timeout: float = 30) -> Outcome:
        """Collect a running cell's messages until they satisfy a condition."""
        end = time.monotonic() + timeout
        while not condition(outcome):
            self._collect(outcome, cell, end - time.monotonic())
        return outcome

    def finish(self, cell: str, timeout: float = 60, outcome: Outcome | None = None) -> Outcome:
        """Collect a running cell's messages to its end."""
        outcome = outcome or Outcome()
        self.until(_idle, outcome, cell, timeout)
        while outcome.reply.get("parent_header", {}).get("msg_id") != cell:
            outcome.reply = self.client.get_shell_msg(timeout=timeout)
        return outcome

    def interrupt(self) -> None:
        """Press Stop."""
        self.manager.interrupt_kernel()

    def _collect(self, outcome: Outcome, cell: str, left: float) -> None:
        if left <= 0:
            raise TimeoutError(f"the cell has not come so far; it sent {outcome}")
        try:
            message = self.client.get_iopub_msg(timeout=left)
        except Empty:
            return
        if message["parent_header"].get("msg_id") == cell:
            outcome.messages.append(message)


def _idle(outcome: Outcome) -> bool:
    return any(content["execution_state"] == "idle" for content in outcome.of("status"))
