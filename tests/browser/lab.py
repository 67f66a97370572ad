r"""JupyterLab on loopback, and a notebook page in headless Chromium.

with Lab(folder, home) as lab, chromium() as browser:
    page = Page(browser, lab, ["%load_ext gatewayx_nb", "%%gatewayx mock\nHi"])
    page.run(0)
    page.output(1).inner_text()
"""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import nbformat
from playwright.sync_api import expect, sync_playwright

from tests.kernels import environment

WAIT = 30_000
"""Timeout of each action on the page, in milliseconds."""

expect.set_options(timeout=WAIT)  # the default of five seconds is too short on a busy machine

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Requests to other hosts fail, but the page reports them.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
_SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"windowingMode": "none"},
    "docmanager-extension/plugin": {"autosave": False},
}
_EXECUTION_NUMBER = re.compile(r"\[\d+\]")
_ACTIVATE_SCRIPT = """index => {
    const notebook = window.jupyterapp.shell.currentWidget.content;
    notebook.activeCellIndex = index;
    notebook.deselectAll();
}"""
_COMMAND_SCRIPT = "([name, args]) => { window.jupyterapp.commands.execute(name, args); }"
_IDLE_SCRIPT = """() => {
    const panel = window.jupyterapp?.shell.currentWidget;
    return panel?.sessionContext?.session?.kernel?.status === "idle";
}"""


def executable() -> str | None:
    """Return the path of Chromium, or None if it is not installed."""
    return next(filter(None, map(shutil.which, _BROWSERS)), None)


@contextlib.contextmanager
def chromium():
    """Yield a headless Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=_FLAGS)
        yield browser
        browser.close()


class Lab:
    """A JupyterLab process without a token, on loopback, as a context manager.

    Args:
        folder: The folder of the notebooks.
        home: The home folder; Jupyter's own data is in a folder beside it.
        **env: Further environment variables.
    """

    def __init__(self, folder: Path, home: Path, **env: str) -> None:
        self.folder = folder
        self._data_folder = home.with_name("lab")
        self._env = environment(
            home,
            JUPYTER_CONFIG_DIR=str(self._data_folder / "config"),
            JUPYTER_DATA_DIR=str(self._data_folder / "data"),
            JUPYTERLAB_SETTINGS_DIR=str(self._data_folder / "settings"),
            JUPYTERLAB_WORKSPACES_DIR=str(self._data_folder / "workspaces"),
            **env,
        )
        self.url = f"http://127.0.0.1:{_free_port()}"

    def __enter__(self) -> Self:
        for name, setting in _SETTINGS.items():
            path = self._data_folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(setting))
        with (self._data_folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                self._command(),
                cwd=self.folder,
                env=self._env,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait()
        return self

    def __exit__(self, *_: object) -> None:
        # The kernels are in the same process group.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def write_notebook(self, name: str, cells: list[str]) -> None:
        """Write a notebook; its metadata names the kernel, so that no dialog opens."""
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
            metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
        )
        nbformat.write(notebook, self.folder / name)

    def _command(self) -> list[str]:
        options = {
            "ServerApp.port": urlsplit(self.url).port,
            "ServerApp.port_retries": 0,
            "ServerApp.ip": "127.0.0.1",
            "ServerApp.allow_root": True,
            "ServerApp.open_browser": False,
            "ServerApp.root_dir": self.folder,
            "IdentityProvider.token": "",
            "LabApp.expose_app_in_browser": True,
        }
        arguments = [f"--{name}={value}" for name, value in options.items()]
        # JupyterLab ends if pytest is killed; kernels end with JupyterLab.
        wrapper = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        return [*wrapper, sys.executable, "-m", "jupyterlab", *arguments]

    def _wait(self) -> None:
        deadline = time.monotonic() + WAIT / 1000
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/api"):
                return
            time.sleep(0.1)
        raise TimeoutError((self._data_folder / "log").read_text())


class Page:
    """A notebook page in its own browser tab.

    Attributes:
        foreign_urls: The requested URLs outside of JupyterLab.
        dialogs: The messages of the dialogs that the page opened.
    """

    def __init__(self, browser, lab: Lab, cells: list[str], name: str = "page.ipynb") -> None:
        lab.write_notebook(name, cells)
        self._name = name
        self.foreign_urls: list[str] = []
        self.dialogs: list[str] = []
        self.tab = browser.new_page(viewport={"width": 1200, "height": 1400})
        self.tab.set_default_timeout(WAIT)
        self.tab.on("request", lambda request: self._record_request(request.url, lab.url))
        self.tab.on("dialog", self._dismiss)
        self.open(lab)

    def open(self, lab: Lab) -> None:
        """Load or reload the page."""
        self.tab.goto(f"{lab.url}/lab/tree/{self._name}?reset")
        self.wait_for_idle()

    def wait_for_idle(self) -> None:
        """Wait until the kernel is idle."""
        self.tab.wait_for_function(_IDLE_SCRIPT)

    def run(self, index: int) -> None:
        """Run a cell and wait until it has finished."""
        self.start(index)
        self.wait_for_end(index)

    def start(self, index: int) -> None:
        """Start a cell."""
        self.tab.evaluate(_ACTIVATE_SCRIPT, index)
        self.command("notebook:run-cell")

    def wait_for_end(self, index: int) -> None:
        """Wait until a cell has an execution number."""
        prompt = self.cell(index).locator(".jp-InputPrompt")
        expect(prompt).to_have_text(_EXECUTION_NUMBER, timeout=WAIT)

    def stop(self) -> None:
        """Press the toolbar's Stop button."""
        self.tab.locator("[data-jp-item-name=interrupt]").click()

    def restart(self) -> None:
        """Restart the kernel and confirm the dialog."""
        self.command("notebook:restart-kernel")
        self.tab.get_by_role("button", name="Confirm Kernel Restart").click()
        self.wait_for_idle()

    def command(self, name: str, **arguments: object) -> None:
        """Run a JupyterLab command."""
        self.tab.evaluate(_COMMAND_SCRIPT, [name, arguments])

    def cell(self, index: int):
        """Return the locator of a cell."""
        return self.tab.locator(".jp-Notebook .jp-Cell").nth(index)

    def output(self, index: int):
        """Return the locator of a cell's outputs."""
        return self.cell(index).locator(".jp-OutputArea-output")

    def _record_request(self, url: str, lab: str) -> None:
        if not url.startswith((lab, "data:", "blob:")):
            self.foreign_urls.append(url)

    def _dismiss(self, dialog) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()


def _free_port() -> int:
    with socket.socket() as unused_socket:
        unused_socket.bind(("127.0.0.1", 0))
        return unused_socket.getsockname()[1]
