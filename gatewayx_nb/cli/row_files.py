"""Reads and writes files of rows without changing their values."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

from gatewayx_nb.commands import ROW_FORMATS
from gatewayx_nb.errors import ConfigError, UsageError
from gatewayx_nb.files import atomic_write, display_path, write_errors_as_config_error
from gatewayx_nb.hints import Hint
from gatewayx_nb.tabulation import check_density, import_data_package

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pandas as pd

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_SUFFIXES = (*_DELIMITERS, ".jsonl", ".parquet")
_STORED_HINT = "The answers are stored: the same command writes them without asking again."


def check_format(path: Path) -> None:
    """Check that a file has a known format.

    Raises:
        UsageError: If the suffix of the file is unknown.
    """
    if path.suffix not in _SUFFIXES:
        raise UsageError(
            f"the format of {display_path(path)!r} is unknown.",
            hint=f"Use a file whose name ends with {ROW_FORMATS}.",
        )


def read_rows_file(path: Path) -> pd.DataFrame:
    """Return the rows of a file.

    The cells of CSV and TSV files are read as strings, and empty cells as missing values. JSON
    lines are read without pandas, which would convert large integers and strings that look like
    dates.

    Raises:
        UsageError: If the file does not exist, has an unknown format or cannot be read.
        ConfigError: If a required package is not installed.
    """
    check_format(path)
    if not path.is_file():
        problem = "is not a regular file" if path.exists() else "does not exist"
        raise UsageError(f"the file {display_path(path)!r} {problem}.", hint="Check the path.")
    pd = import_data_package("pandas", "a file of rows requires")
    try:
        return _read_frame(pd, path)
    except ImportError:
        raise _missing_pyarrow_error() from None
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{display_path(path)!r} is not text in UTF-8: byte {error.start:,} is invalid.",
            hint="Convert it, for example with `iconv -t UTF-8`.",
        ) from None
    except (ValueError, TypeError, OSError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise UsageError(
            f"{display_path(path)!r} cannot be read: {reason}.", hint="Check the file."
        ) from None


def write_rows_file(frame: pd.DataFrame, path: Path) -> None:
    """Write the rows to a file that appears only when it is complete.

    Raises:
        ConfigError: If the file cannot be written. The answers are still stored as a job.
    """
    try:
        data = _encode_frame(frame, path)
    except ImportError:
        raise _missing_pyarrow_error() from None
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"the rows cannot be written as {path.suffix}: {str(error).splitlines()[0]}.",
            hint="The answers are stored: the same command with a .jsonl file writes them.",
        ) from None
    is_new = not path.exists()
    with write_errors_as_config_error(path, _STORED_HINT):
        atomic_write(path, data, keep_mode=True)
        if is_new:  # unlike files of this package, it is not restricted to its owner
            umask = os.umask(0)
            os.umask(umask)
            path.chmod(0o666 & ~umask)


def _read_frame(pd: Any, path: Path) -> pd.DataFrame:  # noqa: ANN401 - the module, which is optional
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    text = path.read_bytes().decode("utf-8-sig")
    if path.suffix == ".jsonl":
        values = list(_parse_json_lines(text))
        check_density(values)
        return pd.DataFrame(values, dtype=object)
    header, rows = _parse_table(text, _DELIMITERS[path.suffix])
    return pd.DataFrame(rows, columns=header, dtype=object)


def _encode_frame(frame: pd.DataFrame, path: Path) -> bytes:
    if path.suffix == ".parquet":
        data: bytes = frame.to_parquet(index=False)
        return data
    names = list(map(str, frame.columns))
    # Values are converted one by one, because a column with a missing value would become floats.
    rows = zip(*(frame[name].tolist() for name in frame.columns), strict=True)
    if path.suffix == ".jsonl":
        return "".join(f"{_json_line(names, row)}\n" for row in rows).encode()
    delimiter = _DELIMITERS[path.suffix]
    lines = [names, *([_cell_text(value) for value in row] for row in rows)]
    return "".join(f"{_table_line(line, delimiter)}\n" for line in lines).encode()


def _parse_table(text: str, delimiter: str) -> tuple[list[str], list[list[str | None]]]:
    """Return the header and the rows of a table in CSV or TSV.

    Raises:
        ValueError: If the text is empty, if a column name is missing or not unique, or if the
            length of a row differs from that of the header.
    """
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header = next(reader, [])
    _check_header(header)
    rows: list[list[str | None]] = []
    for row in reader:
        if not row and len(header) > 1:
            continue  # an empty line
        cells = row or [""]
        if len(cells) != len(header):
            raise ValueError(
                f"line {reader.line_num:,} has {len(cells)} fields, but the header has"
                f" {len(header)}"
            )
        rows.append([cell or None for cell in cells])
    return header, rows


def _check_header(header: list[str]) -> None:
    if not header:
        raise ValueError("it has no header")
    if "" in header:
        raise ValueError(f"column {header.index('') + 1} has no name in the header")
    for name, count in Counter(header).items():
        if count > 1:
            raise ValueError(f"{count} columns have the name {name!r}")


def _parse_json_lines(text: str) -> Iterator[dict[str, object]]:
    """Yield the JSON object in each line.

    Raises:
        ValueError: If a line is not JSON.
        TypeError: If a line is not a JSON object.
    """
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"line {number:,} is not JSON ({error})") from None
        if not isinstance(value, dict):
            raise TypeError(f"line {number:,} is not a JSON object")
        yield value


def _json_line(names: list[str], row: tuple[object, ...]) -> str:
    """Return a row as JSON: all columns of the map, and the other columns that have a value."""
    present_values = {
        name: None if _is_missing(value) else value
        for name, value in zip(names, row, strict=True)
        if name.startswith("gx_") or not _is_missing(value)
    }
    return json.dumps(present_values, ensure_ascii=False, default=str)


def _cell_text(value: object) -> str:
    return "" if value is None or _is_missing(value) else str(value)


def _is_missing(value: object) -> bool:
    is_nan = isinstance(value, float) and math.isnan(value)
    return is_nan or type(value).__name__ in (
        "NAType",
        "NaTType",
    )  # of pandas, for which `==` fails


def _table_line(cells: list[str], delimiter: str) -> str:
    """Return a line of a table; unlike `csv.writer`, put cells with a carriage return in quotes."""
    special_characters = {delimiter, '"', "\r", "\n"}
    quoted_cells = (
        '"' + cell.replace('"', '""') + '"' if special_characters.intersection(cell) else cell
        for cell in cells
    )
    return delimiter.join(quoted_cells)


def _missing_pyarrow_error() -> ConfigError:
    return ConfigError(
        "a Parquet file needs pyarrow, which is not installed.",
        hint=Hint("install_package", package="pyarrow"),
    )
