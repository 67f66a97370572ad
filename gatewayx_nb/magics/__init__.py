"""The magics: each parses its input, calls one function and shows the result.

Names are imported on first use, so that loading the extension is fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayx_nb._lazy import attach

if TYPE_CHECKING:
    from gatewayx_nb.magics.cell import flags
    from gatewayx_nb.magics.extension import load_ipython_extension, unload_ipython_extension
    from gatewayx_nb.magics.shell_magics import ShellMagics

__all__ = ["ShellMagics", "flags", "load_ipython_extension", "unload_ipython_extension"]

__getattr__, __dir__ = attach(
    __name__,
    {
        "ShellMagics": f"{__name__}.shell_magics",
        "flags": f"{__name__}.cell",
        "load_ipython_extension": f"{__name__}.extension",
        "unload_ipython_extension": f"{__name__}.extension",
    },
)
