"""Pictures for a prompt: from a path, bytes, an address, a figure or a PIL image."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable
from urllib.parse import urlsplit

from gatewayx_nb.errors import UsageError
from gatewayx_nb.messages import Image

LIMIT = 20 * 1024 * 1024
"""Most bytes of one image; the providers take 5 MB (Anthropic) to 50 MB (OpenAI) encoded."""

if TYPE_CHECKING:
    from collections.abc import Callable

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
_KINDS = "a path, bytes, an https address, a matplotlib figure or a PIL image"


@runtime_checkable
class Figure(Protocol):
    """A matplotlib figure, told by what it can do, so that matplotlib is not needed."""

    def savefig(self, file: object, *, format: str) -> object:  # noqa: A002 - matplotlib's name
        """Write itself."""


@runtime_checkable
class Picture(Protocol):
    """A PIL image, told likewise."""

    def tobytes(self) -> bytes:
        """Give its pixels."""

    def save(self, file: object, format: str) -> object:  # noqa: A002 - PIL's name
        """Write itself."""


@runtime_checkable
class Drawing(Protocol):
    """What lies in a figure, as matplotlib's axes and seaborn's grids do."""

    @property
    def figure(self) -> object:
        """The figure."""


def shows(value: object) -> bool:
    """Tell whether a value is a figure, axes or a picture, and not a text or bytes.

    Whatever a notebook holds may be asked, and its own code may raise anything.
    """
    try:
        return _is_picture(value) or (isinstance(value, Drawing) and _is_picture(value.figure))
    except Exception:  # noqa: BLE001 - what raises is no picture
        return False


def load(source: object) -> Image:
    """Make an image of whatever shows one; its media type is read from its bytes.

    Args:
        source: A path, the bytes of a file, an ``https`` address (which the provider fetches), a
            matplotlib figure, a PIL image, or an `Image`.

    Raises:
        UsageError: It is none of these, no PNG, JPEG, GIF or WebP, or longer than 20 MiB.
    """
    if isinstance(source, Image):
        return source
    if not _is_picture(source) and shows(source):
        source = cast("Drawing", source).figure
    if isinstance(source, str) and urlsplit(source).scheme in ("http", "https"):
        return _remote(source)
    if isinstance(source, (str, Path)):
        return _checked(_read(Path(source).expanduser()), str(source))
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _checked(bytes(source), "the image")
    if isinstance(source, Figure):
        return _checked(_written(lambda file: source.savefig(file, format="png")), "the figure")
    if isinstance(source, Picture):
        return _checked(_written(lambda file: source.save(file, "PNG")), "the picture")
    raise UsageError(
        f"{type(source).__name__} is no image; expected {_KINDS}.",
        mend='For instance `images=["plot.png"]`.',
    )


def sniff(data: bytes) -> str | None:
    """Give the media type that the first bytes tell, ``None`` for what providers do not take.

    >>> sniff(b"GIF89a...")
    'image/gif'
    """
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((mime for magic, mime in _MAGIC if data.startswith(magic)), None)


def _is_picture(value: object) -> bool:
    return not isinstance(value, type) and isinstance(value, (Image, Figure, Picture))


def _remote(address: str) -> Image:
    if not address.startswith("https://"):
        raise UsageError(
            f"{address!r} is no https address.", mend="Download it, and give its path instead."
        )
    return Image("", url=address)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(LIMIT + 1)
    except OSError as error:
        raise UsageError(
            f"the image {str(path)!r} cannot be read: {error.strerror}.",
            mend="Check the path: `%ls`.",
        ) from None


def _written(write: Callable[[io.BytesIO], object]) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def _checked(data: bytes, name: str) -> Image:
    if len(data) > LIMIT:
        raise UsageError(
            f"{name} is longer than {LIMIT // 1024**2} MiB.", mend="Make it smaller first."
        )
    mime = sniff(data)
    if mime is None:
        raise UsageError(
            f"{name} is no PNG, JPEG, GIF or WebP: it begins with {data[:8]!r}.",
            mend="Convert it to PNG first.",
        )
    return Image(mime, data)
