r"""A real IPython kernel, controlled over the Jupyter protocol.

with Kernel(folder, home) as kernel:
    outcome = kernel.run("1 + 1")            # waits for the end
    cell = kernel.start("%%gatewayx mock -p rate=5\na long answer")
    kernel.read_until(lambda outcome: outcome.last_display, cell)
    kernel.interrupt()
    outcome = kernel.finish(cell)
"""

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty
from typing import Self

from jupyter_client.manager import KernelManager

REPOSITORY = Path(__file__).parents[1]

_INHERITED_VARIABLES = ("PATH", "LANG", "TMPDIR", "VIRTUAL_ENV", "SYSTEMROOT")
_DISPLAY_TYPES = ("display_data", "update_display_data")


def environment(home: Path, **overrides: str) -> dict[str, str]:
    """Return the environment of a process with its own home and none of the machine's keys.

    Jupyter and IPython write their files to a folder beside the home, so that the home contains
    only what this package writes.
    """
    env = {name: os.environ[name] for name in _INHERITED_VARIABLES if name in os.environ}
    env |= {f"XDG_{name}_HOME": str(home / name.lower()) for name in ("CONFIG", "CACHE", "DATA")}
    jupyter_folder = home.with_name(f"{home.name}-jupyter")
    env |= {name: str(jupyter_folder) for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR")}
    return env | {"HOME": str(home), "PYTHONPATH": str(REPOSITORY)} | overrides


@dataclass
class Outcome:
    """The messages that one cell sent.

    Attributes:
        messages: The iopub messages whose parent is the cell.
        reply: The content of the shell's reply.
    """

    messages: list[dict] = field(default_factory=list)
    reply: dict = field(default_factory=dict)

    def contents(self, *message_types: str) -> list[dict]:
        """Return the contents of the messages with these types."""
        return [
            message["content"]
            for message in self.messages
            if message["header"]["msg_type"] in message_types
        ]

    def sent_at(self, *message_types: str) -> list[float]:
        """Return the Unix times at which the kernel sent the messages of these types."""
        headers = [
            message["header"]
            for message in self.messages
            if message["header"]["msg_type"] in message_types
        ]
        return [header["date"].timestamp() for header in headers]

    @property
    def text(self) -> str:
        """The printed text."""
        return "".join(content["text"] for content in self.contents("stream"))

    @property
    def result(self) -> str:
        """The plain text of the cell's value."""
        return "".join(content["data"]["text/plain"] for content in self.contents("execute_result"))

    @property
    def displays(self) -> list[dict]:
        """The contents of all display messages, including updates, in order."""
        return self.contents(*_DISPLAY_TYPES)

    @property
    def last_display(self) -> dict:
        """The latest content of the cell's display, as a MIME bundle."""
        return self.displays[-1]["data"] if self.displays else {}

    @property
    def error(self) -> str:
        """The name of the exception that ended the cell."""
        return "".join(content["ename"] for content in self.contents("error"))

    @property
    def traceback(self) -> list[str]:
        """The lines of the traceback that the cell displayed."""
        return [
            line
            for content in self.contents("error")
            for text in content["traceback"]
            for line in text.splitlines()
        ]

    @property
    def has_ended(self) -> bool:
        """Whether the kernel has finished the cell."""
        return any(content["execution_state"] == "idle" for content in self.contents("status"))


class Kernel:
    """A kernel process, as a context manager.

    Args:
        folder: The working folder.
        home: The home folder.
        **env: Further environment variables.
    """

    def __init__(self, folder: Path, home: Path, **env: str) -> None:
        self._folder, self._env = folder, environment(home, **env)
        runtime_folder = Path(self._env["JUPYTER_RUNTIME_DIR"])
        runtime_folder.mkdir(exist_ok=True)
        self._manager = KernelManager(
            kernel_name="python3", connection_file=str(runtime_folder / "kernel.json")
        )
        self._outcomes: dict[str, Outcome] = {}
        self._displays: dict[str | None, str | None] = {}
        self.messages: list[dict] = []

    def __enter__(self) -> Self:
        self._manager.start_kernel(cwd=str(self._folder), env=self._env)
        self.client = self._manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.stop_channels()
        self._manager.shutdown_kernel(now=True)

    def run(self, code: str, answers: tuple[str, ...] = (), timeout: float = 60) -> Outcome:
        """Run a cell to its end and answer its input requests in order.

        ipykernel before 7 aborts a request that follows a failed cell, so it is sent again.
        """
        outcome = self.finish(self.start(code, allow_input=bool(answers)), answers, timeout)
        deadline = time.monotonic() + timeout
        while outcome.reply["status"] == "aborted" and time.monotonic() < deadline:
            outcome = self.finish(self.start(code), timeout=timeout)
        return outcome

    def start(self, code: str, *, allow_input: bool = False) -> str:
        """Start a cell; return its ID, for `read_until` and `finish`."""
        cell = self.client.execute(code, allow_stdin=allow_input)
        self._outcomes[cell] = Outcome()
        return cell

    def read_until(self, condition, cell: str, timeout: float = 30) -> Outcome:
        """Read messages until those of a cell satisfy a condition; return its outcome so far."""
        outcome = self._outcomes[cell]
        self.wait(lambda: condition(outcome), timeout)
        return outcome

    def wait(self, condition, timeout: float = 30) -> None:
        """Read messages of all cells until a condition holds."""
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"the condition was not met; the last messages are {self.messages[-5:]}"
                )
            self._read(0.05)

    def finish(self, cell: str, answers: tuple[str, ...] = (), timeout: float = 60) -> Outcome:
        """Read a cell's messages to its end, answering its input requests."""
        for answer in answers:
            self.input_request = self.client.get_stdin_msg(timeout=timeout)["content"]
            self.client.input(answer)
        outcome = self.read_until(lambda outcome: outcome.has_ended, cell, timeout)
        while not outcome.reply:
            message = self.client.get_shell_msg(timeout=timeout)
            replied_outcome = self._outcomes.get(message["parent_header"]["msg_id"])
            if replied_outcome is not None:  # replies to the client's own requests have no outcome
                replied_outcome.reply = message["content"]
        return outcome

    def interrupt(self) -> float:
        """Interrupt the kernel; return the time before it, on the monotonic clock."""
        interrupted_at = time.monotonic()
        self._manager.interrupt_kernel()
        return interrupted_at

    def click(self, button: str) -> None:
        """Click the ipywidgets button with this model ID by a comm message, as a browser does."""
        data = {"method": "custom", "content": {"event": "click"}, "buffers": []}
        message = self.client.session.msg("comm_msg", {"comm_id": button, "data": data})
        self.client.shell_channel.send(message)

    def _read(self, timeout: float) -> None:
        try:
            message = self.client.get_iopub_msg(timeout=timeout)
        except Empty:
            return
        self.messages.append(message)
        cell = self._cell_of(message)
        if cell in self._outcomes:
            self._outcomes[cell].messages.append(message)

    def _cell_of(self, message: dict) -> str | None:
        """Return the ID of the cell to whose output a message belongs.

        As in a front end, the update of a display belongs to the cell of that display, although
        ipykernel before 7 sends it with the running cell as its parent.
        """
        parent = message["parent_header"].get("msg_id")
        message_type = message["header"]["msg_type"]
        if message_type not in _DISPLAY_TYPES:
            return parent
        display = message["content"]["transient"].get("display_id")
        if message_type == "display_data":
            self._displays[display] = parent
        return self._displays.get(display, parent)
