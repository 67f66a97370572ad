"""The magics: they parse, call one function, and show what it gives."""

from gatewayx_nb.magics.extension import load_ipython_extension, unload_ipython_extension

__all__ = ["load_ipython_extension", "unload_ipython_extension"]
