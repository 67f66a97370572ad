"""Conversion of rows to a pandas DataFrame."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewayx_nb.errors import ConfigError
from gatewayx_nb.hints import Hint

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd


def to_frame(rows: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    """Return these rows as a DataFrame.

    Raises:
        ConfigError: If pandas is not installed.
    """
    try:
        # pandas is optional and slow to import.
        import pandas as pd
    except ImportError:
        raise ConfigError(
            "A DataFrame needs pandas, which is not installed.", hint=Hint("install", extra="data")
        ) from None
    return pd.DataFrame(rows)
