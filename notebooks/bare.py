"""Runs a command as on a bare machine: no network, no key, no model and an empty home.

    python notebooks/bare.py COMMAND …

The command runs in a network namespace with only the loopback interface, which notebooks and
kernels need. If the system refuses the namespace, a message says so, and the command runs with the
network.
"""

import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

_INHERITED_VARIABLES = ("PATH", "LANG", "TMPDIR", "VIRTUAL_ENV", "SYSTEMROOT")
_UNSHARE = ("unshare", "--map-root-user", "--net")
_INSIDE = "--inside"
_SET_FLAGS = 0x8914  # SIOCSIFFLAGS from linux/sockios.h
_UP = 0x1  # IFF_UP from linux/if.h


def environment(home: Path) -> dict[str, str]:
    """Return the environment of a process with this home, without any keys and settings."""
    own = {name: os.environ[name] for name in _INHERITED_VARIABLES if name in os.environ}
    own |= {
        f"XDG_{name}_HOME": str(home / name.lower())
        for name in ("CONFIG", "CACHE", "DATA", "STATE")
    }
    return own | {
        "HOME": str(home),
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTER_RUNTIME_DIR": str(home / "jupyter"),
    }


def main(words: list[str]) -> int:
    """Run a command and return its exit code."""
    if words[0] == _INSIDE:
        _raise_loopback()
        os.execvp(words[1], words[1:])  # noqa: S606 - the command comes from the caller
    refused = why_not_isolated()
    if refused:
        print(
            f"The network is available, because the system refuses a namespace: {refused}",
            flush=True,
        )
    inside = () if refused else (*_UNSHARE, sys.executable, __file__, _INSIDE)
    with tempfile.TemporaryDirectory() as home:
        env = environment(Path(home))
        return subprocess.run([*inside, *words], env=env, check=False).returncode  # noqa: S603


def why_not_isolated() -> str:
    """Return why the network cannot be disabled, or an empty str if it can."""
    if not shutil.which(_UNSHARE[0]):
        return f"{_UNSHARE[0]} is not installed."
    process = subprocess.run([*_UNSHARE, "true"], capture_output=True, text=True, check=False)  # noqa: S603
    return process.stderr


def _raise_loopback() -> None:
    """Bring up the loopback interface, which is down in a new namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sH22x", b"lo", _UP))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
