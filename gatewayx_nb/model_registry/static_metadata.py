"""Reads an engine's static attributes from its source, without executing it."""

from __future__ import annotations

import ast
import functools
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatewayx_nb import llm_engines
from gatewayx_nb.files import read_limited
from gatewayx_nb.llm_engines import FEATURES, LLMEngine
from gatewayx_nb.secure_config import FileStamp

if TYPE_CHECKING:
    from pathlib import Path

_READ_SIZE = 1 << 14
"""Number of bytes in the first read; most engine files are smaller."""

_MAX_PARSED_BYTES = 1 << 18
"""Maximum size in bytes of a source to parse; parsing takes up to 700 times as much memory."""

# Only indented attributes match, because they must belong to a class.
_REQUIRES_NO_KEY = re.compile(rb"^[ \t]+requires_key\b[^=\n]*=[ \t]*False\b", re.MULTILINE)
_MODEL_NAME = re.compile(
    rb"""^[ \t]+(?:self\.)?model_name\b[^=\n]*=[ \t]*["']([^"'\n]+)["']""", re.MULTILINE
)
_NO_ENGINE = "it must define one subclass of LLMEngine, got none"

# The group is "(" for a class with bases, ":" for one without, and empty for any other line.
_CLASS = re.compile(rb"^[ \t]*class[ \t](?:[ \t]*\w+[ \t]*([(:]))?", re.MULTILINE)
_BASE_CLASS = re.compile(rb"^class[ \t]+\w+[ \t]*\(\s*(?:\w+\.)*(\w+)", re.MULTILINE)
_FEATURES = re.compile(rb"^[ \t]+features\b[^=\n]*=([^#\n]*(?:\n[ \t]+[\"'].*)*)", re.MULTILINE)
_WORD = re.compile(rb"""["'](\w+)["']""")


@dataclass(frozen=True, slots=True)
class StaticMetadata:
    """The literal attributes of an engine class.

    Attributes:
        requires_key: False if the source contains ``requires_key = False``.
        model_name: The value of the first ``model_name = "…"``; empty if there is none.
        problem: Why the file cannot define an engine; empty if it may define one.
        features: The features in ``features = …``, or those of the base class.
    """

    requires_key: bool = True
    model_name: str = ""
    problem: str = ""
    features: frozenset[str] = LLMEngine.features


class StaticMetadataReader:
    """Caches the metadata of each file until the file changes."""

    def __init__(self) -> None:
        self._cache: dict[str, tuple[FileStamp, StaticMetadata]] = {}

    def read(self, path: Path) -> StaticMetadata:
        """Return the metadata of an engine file; the defaults if it cannot be read."""
        name = str(path)  # hashing a path takes longer than reading its file
        cached_entry = self._cache.get(name)
        if cached_entry is None or cached_entry[0].has_changed():
            cached_entry = self._cache[name] = _read_metadata(path)
        return cached_entry[1]


def _read_file(path: Path) -> tuple[FileStamp, bytes]:
    """Read a file with `os.read`, which is faster than `open` for a thousand files.

    The stamp is taken first, so that a change made during the read is noticed.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If the file is too large.
    """
    file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        stamp = FileStamp(path, file)
        text = os.read(file, _READ_SIZE)
    finally:
        os.close(file)
    return stamp, text if len(text) < _READ_SIZE else read_limited(path)


def _read_metadata(path: Path) -> tuple[FileStamp, StaticMetadata]:
    try:
        stamp, text = _read_file(path)
    except (OSError, ValueError):
        # The stamp is taken before the next attempt, for the same reason as in `_read_file`.
        stamp = FileStamp(path)
        try:
            _, text = _read_file(path)
        except OSError:
            return stamp, StaticMetadata()
        except ValueError as error:
            return stamp, StaticMetadata(problem=str(error))
    model = _MODEL_NAME.search(text)
    return stamp, StaticMetadata(
        requires_key=b"requires_key" not in text or not _REQUIRES_NO_KEY.search(text),
        model_name=model.group(1).decode(errors="replace") if model else "",
        problem=_source_problem(text),
        features=_features(text),
    )


def file_problem(path: Path) -> str:
    """Return why a file with a class cannot define an engine; empty if it may define one.

    Without this check, such a file would be reported as an engine that needs a key.
    """
    try:
        _, text = _read_file(path)
    except (OSError, ValueError):  # reported when the file is loaded
        return ""
    classes, problem = _parse_classes(text)
    if classes is None:
        return problem
    may_be_engine = any(node.bases or node.decorator_list for node in classes)
    return "" if may_be_engine or b"type(" in text else _NO_ENGINE


def _source_problem(text: bytes) -> str:
    """Return why a file cannot define an engine, judging by its source."""
    # The source is parsed only if the number of subclasses is unusual: a folder may have a thousand
    # files.
    class_markers = _CLASS.findall(text)
    if class_markers.count(b"(") == 1 and b"" not in class_markers:
        return ""
    classes, problem = _parse_classes(text)
    if classes is None:
        return problem
    engines = [node.name for node in classes if _is_engine(node)]
    # A call to `type` may also create a class, which only an import reveals.
    if not classes and b"type(" not in text:
        return _NO_ENGINE
    if len(engines) > 1 and b"abstract" not in text:
        return f"it must define one subclass of LLMEngine, got {', '.join(engines)}"
    return ""


def _parse_classes(text: bytes) -> tuple[list[ast.ClassDef] | None, str]:
    """Return the classes in a source, or ``None`` and the reason, which may be empty."""
    if len(text) > _MAX_PARSED_BYTES:
        return None, ""
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        return None, f"SyntaxError in line {error.lineno}: {error.msg}"
    except ValueError as error:  # a null byte, before Python 3.12
        return None, f"SyntaxError: {error}"
    except (RecursionError, MemoryError):
        return None, "its code is nested too deeply"
    except SystemError:  # in Python 3.11, if another thread parses at the same time
        return None, ""
    return [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)], ""


def _is_engine(node: ast.ClassDef) -> bool:
    """Return whether a class is public and has a base class of `llm_engines`."""
    bases = (base.id for base in node.bases if isinstance(base, ast.Name))
    return not node.name.startswith("_") and any(base.endswith("Engine") for base in bases)


def _features(text: bytes) -> frozenset[str]:
    """Return the features that the last engine class in a source declares or inherits."""
    bases = [_base_features(name) for name in _BASE_CLASS.findall(text)]
    known_features = [features for features in bases if features is not None]
    inherited_features = known_features[-1] if known_features else LLMEngine.features
    assignment = _FEATURES.search(text) if b"features" in text else None
    if assignment is None:
        return inherited_features
    words = frozenset(word.decode() for word in _WORD.findall(assignment[1])) & FEATURES
    return inherited_features | words if b".features" in assignment[1] else words


@functools.lru_cache(64)
def _base_features(name: bytes) -> frozenset[str] | None:
    """Return the features of a base class of `llm_engines`, or ``None`` if there is no such class.

    Cached, because the classes of a thousand files have few base classes.
    """
    base = getattr(llm_engines, name.decode(), None)
    return base.features if isinstance(base, type) and issubclass(base, LLMEngine) else None
