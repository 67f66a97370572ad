"""Loads an evaluation from the file that `Evaluation.save` wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gatewayx_nb.bounded_json import check_values
from gatewayx_nb.errors import ConfigError
from gatewayx_nb.evaluation.evaluation import Evaluation
from gatewayx_nb.evaluation.model_scorer import JudgeUsage
from gatewayx_nb.evaluation.records import FORMAT, checked_path, decode_cells, invalid_file
from gatewayx_nb.files import read_limited

if TYPE_CHECKING:
    from pathlib import Path

_MAX_BYTES = 512 * 1024**2
_MAX_VALUES = 20_000_000
"""Maximum number of JSON values: those of a million answers."""


def load_evaluation(path: str | Path) -> Evaluation:
    """Return an evaluation that `Evaluation.save` wrote to a ``.json`` file; nothing is sent.

    Args:
        path: The file.

    Raises:
        ConfigError: If the file cannot be read or is not an evaluation.
    """
    file = checked_path(path)
    try:
        return _decoded(read_limited(file, _MAX_BYTES))
    except FileNotFoundError:
        raise ConfigError(f"{str(file)!r} does not exist.") from None
    except OSError as error:
        raise ConfigError(f"{str(file)!r} cannot be read: {error.strerror or error}.") from None
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        problem = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise invalid_file(file, problem) from None


def _decoded(content: bytes) -> Evaluation:
    check_values(content, _MAX_VALUES)
    values = msgspec.json.decode(content)
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise ValueError(f"its format is not {FORMAT}")
    cells, rows, variants = decode_cells(values)
    return Evaluation(
        cells,
        rows,
        variants,
        name=values["name"],
        lower_is_better=values["lower_is_better"],
        judges=[JudgeUsage(**judge) for judge in values["judges"]],
        notes=values["notes"],
        is_stopped=values["is_stopped"],
    )
