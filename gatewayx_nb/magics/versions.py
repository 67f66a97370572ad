"""Features limited by an older IPython or ipykernel, as ``%gatewayx status`` shows them."""

from __future__ import annotations

_SWALLOWS, _NO_TAB, _CLICKS_WAIT = (8, 0), (8, 6), (7, 0)


def lacking(ipython: str, ipykernel: str | None) -> str:
    """Describe the limitations in one line; return an empty string if there are none.

    >>> lacking("8.31.0", "6.29.5")
    'Less works on ipykernel 6.29.5: clicks on widgets wait while a cell streams.'

    Args:
        ipython: IPython's version.
        ipykernel: The kernel's version, ``None`` in a terminal.
    """
    named, less = [], []
    if _parts(ipython) < _NO_TAB:
        named.append(f"IPython {ipython}")
        less.append("Tab offers nothing of gatewayx")
    if _parts(ipython) < _SWALLOWS:
        less.append("`%%time` goes on after a failed or stopped cell within it")
    if ipykernel is not None and _parts(ipykernel) < _CLICKS_WAIT:
        named.append(f"ipykernel {ipykernel}")
        less.append("clicks on widgets wait while a cell streams")
    return f"Less works on {' and '.join(named)}: {'; '.join(less)}." if less else ""


def _parts(version: str) -> tuple[int, ...]:
    """Return the major and minor version."""
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
