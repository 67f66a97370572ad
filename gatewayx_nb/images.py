"""Images for a prompt: from a path, bytes, a URL, a matplotlib figure or a PIL image."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable
from urllib.parse import urlsplit

from gatewayx_nb.errors import UsageError
from gatewayx_nb.messages import Image

LIMIT = 20 * 1024 * 1024
"""Maximum bytes of an image; providers accept 5 MB (Anthropic) to 50 MB (OpenAI) encoded."""

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
    """Structural type of a matplotlib figure, so that matplotlib need not be imported."""

    def savefig(self, file: object, *, format: str) -> object:  # noqa: A002 - matplotlib's name
        """Write the figure to a file."""


@runtime_checkable
class Picture(Protocol):
    """Structural type of a PIL image."""

    def tobytes(self) -> bytes:
        """Return the pixels."""

    def save(self, file: object, format: str) -> object:  # noqa: A002 - PIL's name
        """Write the figure to a file."""


@runtime_checkable
class Drawing(Protocol):
    """An object within a figure, such as matplotlib axes or a seaborn grid."""

    @property
    def figure(self) -> object:
        """The figure that contains it."""


def shows(value: object) -> bool:
    """Return whether a value is a figure, axes or an image, as opposed to text or bytes.

    The value may be any notebook object, whose own code may raise anything.
    """
    try:
        return _is_picture(value) or (isinstance(value, Drawing) and _is_picture(value.figure))
    except Exception:  # noqa: BLE001 - what raises is not an image
        return False


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
        hint='For instance `images=["plot.png"]`.',
    )


def sniff(data: bytes) -> str | None:
    """Return the media type of the first bytes, or ``None`` if providers do not accept it.

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
            f"{address!r} is no https address.", hint="Download it, and give its path instead."
        )
    return Image("", url=address)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(LIMIT + 1)
    except OSError as error:
        raise UsageError(
            f"the image {str(path)!r} cannot be read: {error.strerror}.",
            hint="Check the path: `%ls`.",
        ) from None


def _written(write: Callable[[io.BytesIO], object]) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def _checked(data: bytes, name: str) -> Image:
    if len(data) > LIMIT:
        raise UsageError(
            f"{name} is longer than {LIMIT // 1024**2} MiB.", hint="Make it smaller first."
        )
    mime = sniff(data)
    if mime is None:
        raise UsageError(
            f"{name} is no PNG, JPEG, GIF or WebP: it begins with {data[:8]!r}.",
            hint="Convert it to PNG first.",
        )
    return Image(mime, data)
