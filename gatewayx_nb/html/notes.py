"""Formats the content below an answer: its sources as numbered notes, and its images."""

from __future__ import annotations

import itertools
import re
from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatewayx_nb.html.components import MUTED, NO_MATH_CLASSES, escape
from gatewayx_nb.text import plain, shorten

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_MAX_NOTES = 50
_MAX_PASSAGE_LENGTH, _MAX_NAME_LENGTH = 200, 120
_WEB_URL = re.compile(r"https?://[^\s\"'<>\\^`{|}]+", re.IGNORECASE)
_RASTER_TYPES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
"""The types of images that are shown. SVG is excluded, because it could contain scripts."""

MAX_SHOWN_IMAGES = 10 * 1024 * 1024
"""Maximum total size in bytes of the images below an answer, which a notebook saves as text."""

_NUMBERS_STYLE = "list-style:decimal;padding-left:2.5em;margin:.3em 0 0"
_IMAGE_STYLE = "display:block;max-width:100%;margin:.5em 0"


@dataclass(frozen=True, slots=True)
class SourceNote:
    """A source of an answer.

    Attributes:
        name: The name of the source, with the page number if it has one.
        url: The source's URL; empty if there is none.
        passage: The cited passage; empty if unknown.
    """

    name: str
    url: str = ""
    passage: str = ""

    @property
    def label(self) -> str:
        """The name in one line; for a source without a name, the URL."""
        return shorten(plain(self.name or self.url), _MAX_NAME_LENGTH) or "a source"


@dataclass(frozen=True, slots=True)
class Picture:
    """An image of an answer: either its bytes or a URL, which is not loaded."""

    mime: str
    data: bytes = b""
    url: str = ""


def notes_text(notes: Sequence[SourceNote]) -> str:
    """Return the notes as lines of text; an empty string if there are none."""
    lines = [f"[{number}] {_note_text(note)}" for number, note in enumerate(notes, start=1)]
    return "\n".join(_limit_rows(lines))


def notes_html(notes: Sequence[SourceNote]) -> str:
    """Return the notes as a numbered list in HTML; only http and https URLs become links."""
    if not notes:
        return ""
    items = "".join(
        _limit_rows([f"<li>{_note_html(note)}</li>" for note in notes], "<div>", "</div>")
    )
    style = f"{MUTED};{_NUMBERS_STYLE}"
    return f'<ol class="gatewayx-notes {NO_MATH_CLASSES}" style="{style}">{items}</ol>'


def _limit_rows(rows: list[str], opening_html: str = "", closing_html: str = "") -> list[str]:
    hidden_count = len(rows) - _MAX_NOTES
    return (
        rows
        if hidden_count <= 0
        else [*rows[:_MAX_NOTES], f"{opening_html}… and {hidden_count} more{closing_html}"]
    )


def _note_text(note: SourceNote) -> str:
    address = f" ({plain(note.url)})" if note.name and note.url else ""
    passage = shorten(plain(note.passage), _MAX_PASSAGE_LENGTH)
    return f"{note.label}{address}" + (f": “{passage}”" if passage else "")


def _note_html(note: SourceNote) -> str:
    name, passage = escape(note.label), escape(shorten(plain(note.passage), _MAX_PASSAGE_LENGTH))
    if _WEB_URL.fullmatch(note.url):
        link = f'href="{escape(note.url)}" target="_blank" rel="noopener noreferrer nofollow"'
        name = f"<a {link}>{name}</a>"
    return name + (f": “{passage}”" if passage else "")


def pictures_text(pictures: Iterable[Picture]) -> str:
    """Return a line of text for each image; an empty string if there are none."""
    lines = (f"[image {n}: {_size_text(picture)}]" for n, picture in enumerate(pictures, start=1))
    return "\n".join(lines)


def pictures_html(pictures: Sequence[Picture]) -> str:
    """Return the images as HTML; an image that is too large or has another type becomes a line."""
    total_sizes = itertools.accumulate(len(picture.data) for picture in pictures)
    return "".join(
        _picture_html(number, picture, has_room=total_size <= MAX_SHOWN_IMAGES)
        for number, (picture, total_size) in enumerate(
            zip(pictures, total_sizes, strict=True), start=1
        )
    )


def _picture_html(number: int, picture: Picture, *, has_room: bool) -> str:
    if picture.data and has_room and picture.mime in _RASTER_TYPES:
        source = f"data:{picture.mime};base64,{b64encode(picture.data).decode('ascii')}"
        return f'<img src="{source}" alt="image {number} of the answer" style="{_IMAGE_STYLE}">'
    line = f"image {number}: {_size_text(picture)}, not shown; `reply.images[{number - 1}]` has it"
    return f'<div class="{NO_MATH_CLASSES}" style="{MUTED}">{escape(line)}</div>'


def _size_text(picture: Picture) -> str:
    if picture.url:
        return shorten(plain(picture.url), _MAX_NAME_LENGTH)
    return f"{shorten(plain(picture.mime), 40) or 'unknown type'}, {len(picture.data):,} bytes"
