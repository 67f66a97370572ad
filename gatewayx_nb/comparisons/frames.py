"""Conversion of rows to a pandas DataFrame."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayx_nb.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd


def frame(rows: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    """Return a DataFrame of these rows.

    Raises:
        ConfigError: If pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError:
        raise ConfigError(
            "a frame needs pandas, which is not installed.",
            hint='`pip install "gatewayx-nb[data]"`',
        ) from None
    return pd.DataFrame(rows)
