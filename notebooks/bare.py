"""Runs a command as on a machine that has nothing: no network, no key, no model, an empty home.

    python notebooks/bare.py COMMAND …

The network is cut by a namespace of its own, in which there is loopback alone, which notebooks and
their kernels talk over. Where the system gives none, that is said, and the rest holds.
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

_PASSED_ON = ("PATH", "LANG", "TMPDIR", "VIRTUAL_ENV", "SYSTEMROOT")
_CUT = ("unshare", "--map-root-user", "--net")
_INSIDE = "--inside"
_SET_FLAGS = 0x8914  # SIOCSIFFLAGS of linux/sockios.h
_UP = 0x1  # IFF_UP of linux/if.h


def environment(home: Path) -> dict[str, str]:
    """Give the variables of a process with this home, without keys and settings of anybody's."""
    own = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
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
    """Run a command and give its exit code."""
    if words[0] == _INSIDE:
        _raise_loopback()
        os.execvp(words[1], words[1:])  # noqa: S606 - what the caller names
    refused = why_not_cut()
    if refused:
        print(f"The network is not cut, as the system refuses it: {refused}", flush=True)
    inside = () if refused else (*_CUT, sys.executable, __file__, _INSIDE)
    with tempfile.TemporaryDirectory() as home:
        env = environment(Path(home))
        return subprocess.run([*inside, *words], env=env, check=False).returncode  # noqa: S603


def why_not_cut() -> str:
    """Tell why the network cannot be cut; empty where it can."""
    if not shutil.which(_CUT[0]):
        return f"there is no {_CUT[0]}."
    tried = subprocess.run([*_CUT, "true"], capture_output=True, text=True, check=False)  # noqa: S603
    return tried.stderr


def _raise_loopback() -> None:
    """Let 127.0.0.1 answer, which in a new namespace is down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sH22x", b"lo", _UP))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
