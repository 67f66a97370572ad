"""MCP servers in a real kernel: questions, Stop and the end of the kernel."""

import contextlib
import os
import re
import signal
import time

import pytest

from tests.conftest import Project
from tests.kernels import Kernel
from tests.mcp_client.conftest import CALC, RAW, is_alive, wait_for_end, wait_for_file

pytestmark = pytest.mark.kernel

STOP_SECONDS = 15.0
"""Maximum seconds from Stop to the end of a cell, generous because the machine may be busy."""

SETUP = f"""
%load_ext gatewayx_nb
import gatewayx_nb as gx
server = gx.mcp({list(CALC)!r})
"""

PROCESS = 'print(gx.ask("call calc__process {}", "mock", tools=server, approve="always"))'


@contextlib.contextmanager
def _kernel(folder):
    project = Project(folder / "project")
    home = folder / "home"
    settings = home / "config" / "gatewayx" / "config" / "gatewayx.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text(f"[mcp.sums]\ncommand = {list(CALC)}\n")
    with Kernel(project.root, home) as kernel:
        assert not kernel.run(SETUP).error
        yield kernel


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    """Yield a kernel with the extension loaded and a server defined."""
    with _kernel(tmp_path_factory.mktemp("mcp")) as kernel:
        yield kernel


CELLS = {
    "variable": '%%gatewayx mock --tools server\ncall calc__add {"a": 2, "b": 3}',
    "settings": '%%gatewayx mock --tools mcp:sums\ncall sums__add {"a": 2, "b": 3}',
    "ask": """gx.ask('call calc__add {"a": 2, "b": 3}', "mock", tools=server)""",
    "aask": """await gx.aask('call calc__add {"a": 2, "b": 3}', "mock", tools=server)""",
}


@pytest.mark.parametrize("cell", CELLS)
def test_each_call_is_asked_for(kernel, cell):
    """The question shows the arguments, and the step is displayed."""
    outcome = kernel.run(CELLS[cell], ("y",))
    assert not outcome.error
    assert re.search(r"__add\(a=2, b=3\)\. Allow it\?", kernel.input_request["prompt"])
    shown = outcome.result + str(outcome.last_display)
    assert "__add" in shown


def test_no_is_no(kernel):
    """If the user answers no, the model learns that the call was refused."""
    outcome = kernel.run(CELLS["ask"], ("n",))
    assert not outcome.error
    assert "the user refused the call" in outcome.result + str(outcome.contents("execute_result"))


STOPPED = {
    "cell": '%%gatewayx mock --tools server\ncall calc__slow {"seconds": 60, "file": "FILE"}',
    "ask": """gx.ask('call calc__slow {"seconds": 60, "file": "FILE"}', "mock", tools=server)""",
    "aask": """await gx.aask(
    'call calc__slow {"seconds": 60, "file": "FILE"}', "mock", tools=server)""",
}


@pytest.mark.parametrize("syntax", STOPPED)
def test_stop_ends_a_call_at_once(kernel, syntax, report_metric, tmp_path):
    """Stop ends the call of a tool, and the next cell works."""
    started = tmp_path / "started"
    cell = kernel.start(STOPPED[syntax].replace("FILE", str(started)), allow_input=True)
    kernel.client.get_stdin_msg(timeout=60)
    kernel.client.input("y")
    wait_for_file(started)
    interrupted_at = kernel.interrupt()
    outcome = kernel.finish(cell, timeout=60)
    seconds = time.monotonic() - interrupted_at
    report_metric(f"seconds from Stop to the end of the cell ({syntax})", seconds)
    assert outcome.error in ("KeyboardInterrupt", "CancelledError")
    assert seconds < STOP_SECONDS
    assert not kernel.run(PROCESS).error


def test_the_list_of_tools_starts_a_server_only_by_name(kernel):
    """The list says that descriptions are the server's own words."""
    listed = kernel.run("%gatewayx tools")
    assert "sums" in listed.result + str(listed.last_display)
    shown = kernel.run("%gatewayx tools sums")
    text = shown.result + str(shown.last_display)
    assert "Add two numbers." in text
    assert "read-only" in text
    assert "the server's own words" in text


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_server_ends_with_its_kernel(tmp_path, end):
    """A server ends even if the kernel is killed and the server ignores SIGTERM."""
    stubborn = f"""
server = gx.mcp({[*RAW, "stubborn"]!r}, name="raw")
print(gx.ask('call raw__echo {{"text": "process"}}', "mock", tools=server, approve="always"))
"""
    with _kernel(tmp_path) as kernel:
        process = int(kernel.run(stubborn).text.split()[-1])
        assert is_alive(process)
        os.kill(int(kernel.run("import os; print(os.getpid())").text), end)
        assert wait_for_end(process)


def test_a_server_ends_with_a_script(tmp_path):
    """A server ends with the process, even if the pool is not closed."""
    with _kernel(tmp_path) as kernel:
        process = int(kernel.run(PROCESS).text.split()[-1])
        kernel.client.shutdown()
        assert wait_for_end(process)
