"""Images for a prompt: from a path, bytes, a URL, a matplotlib figure or a PIL image."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol, cast, runtime_checkable
from urllib.parse import urlsplit

from gatewayx_nb.errors import UsageError
from gatewayx_nb.hints import Hint
from gatewayx_nb.messages import Image

LIMIT = 20 * 1024 * 1024
"""Maximum image size in bytes; providers accept 5 MB (Anthropic) to 50 MB (OpenAI) encoded."""

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
_SOURCES = "a path, bytes, an https URL, a matplotlib figure or a PIL image"


@runtime_checkable
class MatplotlibFigure(Protocol):
    """Structural type of a matplotlib figure, so that matplotlib need not be imported."""

    def savefig(self, file: object, *, format: str) -> object:  # noqa: A002 - matplotlib's name
        """Write the figure to a file."""


@runtime_checkable
class PILImage(Protocol):
    """Structural type of a PIL image."""

    def tobytes(self) -> bytes:
        """Return the pixels."""

    def save(self, file: object, format: str) -> object:  # noqa: A002 - PIL's name
        """Write the image to a file."""


@runtime_checkable
class FigurePart(Protocol):
    """An object within a figure, such as matplotlib axes or a seaborn grid."""

    @property
    def figure(self) -> object:
        """The figure that contains it."""


def is_drawable(value: object) -> bool:
    """Return whether a value is a figure, axes or an image, as opposed to text or bytes.

    The value may be any notebook object, whose own code may raise anything.
    """
    try:
        return _is_image(value) or (isinstance(value, FigurePart) and _is_image(value.figure))
    except Exception:  # noqa: BLE001 - an object that raises is not an image
        return False


def listed(sources: object) -> list[object]:
    """Return one source or several as a list; see `load`."""
    # These are iterable too, but each is one source.
    is_one = isinstance(sources, str | bytes | bytearray | memoryview | Path)
    return list(sources) if isinstance(sources, Iterable) and not is_one else [sources]


def load(source: object) -> Image:
    """Create an image from any supported source, with the media type detected from its bytes.

    Args:
        source: A path, the bytes of a file, an ``https`` URL (which the provider fetches), a
            matplotlib figure, a PIL image, or an `Image`.

    Raises:
        UsageError: If it is none of these, not PNG, JPEG, GIF or WebP, or larger than 20 MiB.
    """
    if isinstance(source, Image):
        return source
    # Axes and seaborn grids are drawn with the whole figure that contains them.
    if not _is_image(source) and is_drawable(source):
        source = cast("FigurePart", source).figure
    # The provider fetches the image; this machine sends no request for it.
    if isinstance(source, str) and urlsplit(source).scheme in ("http", "https"):
        return _remote(source)
    if isinstance(source, (str, Path)):
        return _checked_image(_read(Path(source).expanduser()), str(source))
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _checked_image(bytes(source), "the image")
    buffer = io.BytesIO()
    if isinstance(source, MatplotlibFigure):
        source.savefig(buffer, format="png")
        return _checked_image(buffer.getvalue(), "the figure")
    if isinstance(source, PILImage):
        source.save(buffer, "PNG")
        return _checked_image(buffer.getvalue(), "the image")
    raise UsageError(
        f"image must be {_SOURCES}, got {type(source).__name__}.",
        hint=Hint("set_option", option="images", value=["plot.png"]),
    )


def sniff(data: bytes) -> str | None:
    """Return the image type that the first bytes show, or ``None`` if providers do not accept it.

    >>> sniff(b"GIF89a...")
    'image/gif'
    """
    # Between the two names is the length of the file.
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((mime for signature, mime in _SIGNATURES if data.startswith(signature)), None)


def _is_image(value: object) -> bool:
    # A class has these methods too, but cannot be drawn.
    return not isinstance(value, type) and isinstance(value, (Image, MatplotlibFigure, PILImage))


def _remote(url: str) -> Image:
    if not url.startswith("https://"):
        raise UsageError(
            f"image URL must begin with https://, got {url!r}.",
            hint="Download the image and pass its path.",
        )
    return Image("", url=url)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(LIMIT + 1)  # one byte more shows that it is too large
    except OSError as error:
        raise UsageError(
            f"The image {str(path)!r} cannot be read: {error.strerror}.", hint="Check the path."
        ) from None


def _checked_image(data: bytes, name: str) -> Image:
    if len(data) > LIMIT:
        raise UsageError(
            f"An image must be at most {LIMIT // 1024**2} MiB; {name} is larger.",
            hint="Reduce its size.",
        )
    mime = sniff(data)
    if mime is None:
        raise UsageError(
            f"An image must be PNG, JPEG, GIF or WebP; {name} begins with {data[:8]!r}.",
            hint="Convert it to PNG.",
        )
    return Image(mime, data)
