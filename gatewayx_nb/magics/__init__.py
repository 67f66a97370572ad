"""The magics: each parses its input, calls one function and shows the result."""

from gatewayx_nb.magics.extension import load_ipython_extension, unload_ipython_extension

__all__ = ["load_ipython_extension", "unload_ipython_extension"]
