r"""A real IPython kernel, driven over its own protocol.

with Kernel(folder, home) as kernel:
    outcome = kernel.run("1 + 1")            # waits for the end
    cell = kernel.start("%%gatewayx mock -p rate=5\na long answer")
    kernel.until(lambda seen: seen.shown, cell)
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

_PASSED_ON = ("PATH", "LANG", "TMPDIR", "VIRTUAL_ENV", "SYSTEMROOT")
_DISPLAYS = ("display_data", "update_display_data")


def environment(home: Path, **more: str) -> dict[str, str]:
    """Return the environment of a process with an empty home and none of the machine's keys.

    Files of the front end and IPython go to a folder beside the home, so that the home shows only
    what this package writes.
    """
    own = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    own |= {f"XDG_{name}_HOME": str(home / name.lower()) for name in ("CONFIG", "CACHE", "DATA")}
    beside = home.with_name(f"{home.name}-jupyter")
    own |= {name: str(beside) for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR")}
    return own | {"HOME": str(home), "PYTHONPATH": str(REPOSITORY)} | more


@dataclass
class Outcome:
    """The messages that one cell sent.

    Attributes:
        messages: The iopub messages whose parent is the cell.
        reply: The content of the shell's reply.
    """

    messages: list[dict] = field(default_factory=list)
    reply: dict = field(default_factory=dict)

    def of(self, *kinds: str) -> list[dict]:
        """Return the contents of the messages of these types."""
        return [m["content"] for m in self.messages if m["header"]["msg_type"] in kinds]

    def sent_at(self, *kinds: str) -> list[float]:
        """Return when the kernel sent the messages of these types, in seconds of its wall clock."""
        sent = [m["header"] for m in self.messages if m["header"]["msg_type"] in kinds]
        return [header["date"].timestamp() for header in sent]

    @property
    def text(self) -> str:
        """The printed text."""
        return "".join(content["text"] for content in self.of("stream"))

    @property
    def result(self) -> str:
        """The plain text of the cell's value."""
        return "".join(content["data"]["text/plain"] for content in self.of("execute_result"))

    @property
    def displays(self) -> list[dict]:
        """Everything displayed, including updates, in order."""
        return self.of(*_DISPLAYS)

    @property
    def shown(self) -> dict:
        """The last state of the cell's display, as a MIME bundle."""
        return self.displays[-1]["data"] if self.displays else {}

    @property
    def error(self) -> str:
        """The name of the exception that ended the cell."""
        return "".join(content["ename"] for content in self.of("error"))

    @property
    def traceback(self) -> list[str]:
        """The lines of the error."""
        return [
            line
            for content in self.of("error")
            for part in content["traceback"]
            for line in part.splitlines()
        ]

    @property
    def ended(self) -> bool:
        """Whether the kernel has finished the cell."""
        return any(content["execution_state"] == "idle" for content in self.of("status"))


class Kernel:
    """A kernel process; use it as a context manager.

    Args:
        folder: Its working folder.
        home: The home folder.
        **env: Further environment variables.
    """

    def __init__(self, folder: Path, home: Path, **env: str) -> None:
        self._folder, self._env = folder, environment(home, **env)
        runtime = Path(self._env["JUPYTER_RUNTIME_DIR"])
        runtime.mkdir(exist_ok=True)
        self._manager = KernelManager(
            kernel_name="python3", connection_file=str(runtime / "kernel.json")
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
        """Run a cell to its end; each input request gets the next answer.

        ipykernel before 7 aborts a request right after a failed cell, so it is sent again.
        """
        outcome = self.finish(self.start(code, asks=bool(answers)), answers, timeout)
        end = time.monotonic() + timeout
        while outcome.reply["status"] == "aborted" and time.monotonic() < end:
            outcome = self.finish(self.start(code), timeout=timeout)
        return outcome

    def start(self, code: str, *, asks: bool = False) -> str:
        """Start a cell; return its id for `until` and `finish`."""
        cell = self.client.execute(code, allow_stdin=asks)
        self._outcomes[cell] = Outcome()
        return cell

    def until(self, condition, cell: str, timeout: float = 30) -> Outcome:
        """Read messages until those of a cell satisfy a condition; return its messages so far."""
        outcome = self._outcomes[cell]
        self.wait(lambda: condition(outcome), timeout)
        return outcome

    def wait(self, condition, timeout: float = 30) -> None:
        """Read messages of any parent until a condition holds."""
        end = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"the kernel has not come so far; it sent {self.messages[-5:]}")
            self._read(0.05)

    def finish(self, cell: str, answers: tuple[str, ...] = (), timeout: float = 60) -> Outcome:
        """Read a cell's messages to its end, answering its input requests."""
        for answer in answers:
            self.asked = self.client.get_stdin_msg(timeout=timeout)["content"]
            self.client.input(answer)
        outcome = self.until(lambda seen: seen.ended, cell, timeout)
        while not outcome.reply:
            message = self.client.get_shell_msg(timeout=timeout)
            replied = self._outcomes.get(message["parent_header"]["msg_id"])
            if replied is not None:  # the client's own requests are answered here too
                replied.reply = message["content"]
        return outcome

    def interrupt(self) -> float:
        """Interrupt the kernel; return the monotonic clock at that moment."""
        pressed = time.monotonic()
        self._manager.interrupt_kernel()
        return pressed

    def click(self, button: str) -> None:
        """Click the ipywidgets button of this model id with a comm message, as a page does."""
        data = {"method": "custom", "content": {"event": "click"}, "buffers": []}
        message = self.client.session.msg("comm_msg", {"comm_id": button, "data": data})
        self.client.shell_channel.send(message)

    def _read(self, timeout: float) -> None:
        try:
            message = self.client.get_iopub_msg(timeout=timeout)
        except Empty:
            return
        self.messages.append(message)
        parent = self._place(message)
        if parent in self._outcomes:
            self._outcomes[parent].messages.append(message)

    def _place(self, message: dict) -> str | None:
        """Return the cell whose output a message belongs to.

        As on a page, an update goes to the cell of its display; ipykernel before 7 names the cell
        that runs now as its parent.
        """
        parent = message["parent_header"].get("msg_id")
        kind = message["header"]["msg_type"]
        if kind not in _DISPLAYS:
            return parent
        display = message["content"]["transient"].get("display_id")
        if kind == "display_data":
            self._displays[display] = parent
        return self._displays.get(display, parent)
