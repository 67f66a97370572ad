"""Loads images for a prompt from paths, bytes, URLs, matplotlib figures and PIL images."""

from __future__ import annotations

import binascii
import io
from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeGuard, cast, runtime_checkable
from urllib.parse import unquote_to_bytes, urlsplit

from typing_extensions import override

from gatewayx_nb.errors import UsageError
from gatewayx_nb.hints import Hint
from gatewayx_nb.text import plain, shorten

MAX_IMAGE_BYTES = 20 * 1024 * 1024
"""Maximum image size in bytes; providers' own limits are between 5 MB (Anthropic) and 50 MB
(OpenAI) of encoded data."""

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
_PNG_MODES = {mode: mode for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")} | {
    "F": "L",
    "I": "L",
    "PA": "RGBA",
    "RGBa": "RGBA",
    "La": "LA",
}
"""The colour mode of the PNG for each of PIL's modes; all others become RGB.

https://pillow.readthedocs.io/en/stable/handbook/concepts.html#modes
"""

_SOURCE_KINDS = "a path, bytes, an https URL, a matplotlib figure or a PIL image"


@dataclass(frozen=True, slots=True)
class Image:
    """An image in a prompt: its bytes, or a URL that the provider fetches.

    Attributes:
        mime: The media type, such as ``image/png``.
        data: The bytes of the file; empty if ``url`` is set.
        url: An ``https`` URL that the provider fetches; empty if ``data`` is set.
        detail: Resolution at which OpenAI's and Cohere's models process the image, such as
            ``"low"``; the model's default if empty.
    """

    mime: str
    data: bytes = b""
    url: str = ""
    detail: str = ""

    def __post_init__(self) -> None:
        """Check that there is an image.

        Raises:
            UsageError: If neither bytes nor a URL is set.
        """
        if not self.data and not self.url:
            raise UsageError(
                f"an Image must have data or a URL; this one, of type {self.mime!r}, has neither.",
                hint='A path alone is enough: `images="plot.png"`.',
            )

    @property
    def base64(self) -> str:
        """The bytes, encoded as Base64."""
        return b64encode(self.data).decode("ascii")

    @property
    def address(self) -> str:
        """The ``url``, or a ``data:`` URL of the bytes (RFC 2397)."""
        return self.url or f"data:{self.mime};base64,{self.base64}"

    @override
    def __repr__(self) -> str:
        detail = f", detail={self.detail!r}" if self.detail else ""
        return f"Image({self.mime!r}, {plain(self.url) or f'{len(self.data)} bytes'}{detail})"


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
        """The figure that contains the object."""


ImageSource = Image | Path | bytes | MatplotlibFigure | PILImage | FigurePart
"""What `load` accepts besides a str, which is a path or a URL."""


def is_source(value: object) -> TypeGuard[ImageSource]:
    """Return whether `load` accepts a value that is not a str."""
    return isinstance(value, Path | bytes | bytearray | memoryview) or is_drawable(value)


def is_drawable(value: object) -> bool:
    """Return whether a value is a figure, axes or an image, as opposed to text or bytes.

    The value may be any notebook object, whose own code may raise any exception.
    """
    if isinstance(value, str | int | float | None):  # checking the protocols takes 0.1 ms
        return False
    try:
        return _is_image(value) or (isinstance(value, FigurePart) and _is_image(value.figure))
    except Exception:  # noqa: BLE001 - an object that raises is not an image
        return False


def as_list(sources: object) -> list[object]:
    """Return one or more sources as a list; see `load`."""
    # These types are iterable, but each object is one source.
    is_one = isinstance(sources, str | bytes | bytearray | memoryview | Path)
    return list(sources) if isinstance(sources, Iterable) and not is_one else [sources]


def load(source: object) -> Image:
    """Create an image from any supported source, with the media type detected from its bytes.

    Args:
        source: A path, the bytes of a file, an ``https`` URL (which the provider fetches), a
            ``data:`` URL, a matplotlib figure, a PIL image, or an `Image`.

    Raises:
        UsageError: If the source is none of these, is not a PNG, JPEG, GIF or WebP image, or is
            larger than 20 MiB.
    """
    if isinstance(source, Image):
        return source
    # For axes and seaborn grids, draw the whole figure that contains them.
    if not _is_image(source) and is_drawable(source):
        source = cast("FigurePart", source).figure
    if isinstance(source, str) and ":" in source:
        scheme = _scheme(source)
        # The provider fetches the image; this machine sends no request for it.
        if scheme in ("http", "https"):
            return _url_image(source)
        if scheme == "data":
            source = _decode_data_url(source)
    if isinstance(source, (str, Path)):
        return _checked_image(_read_file(Path(source)), str(source))
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _checked_image(bytes(source), "the image")
    buffer = io.BytesIO()
    if isinstance(source, MatplotlibFigure):
        source.savefig(buffer, format="png")
        return _checked_image(buffer.getvalue(), "the figure")
    if isinstance(source, PILImage):
        return _checked_image(_to_png(source), "the image")
    raise UsageError(
        f"an image must be {_SOURCE_KINDS}, got {type(source).__name__}.",
        hint=Hint("set_option", option="images", value=["plot.png"]),
    )


def _scheme(source: str) -> str:
    try:
        # Also read `hostname`, because only this raises an error for an invalid host.
        scheme, _ = urlsplit(source).scheme, urlsplit(source).hostname
    except ValueError:
        raise UsageError(
            f"an image URL must be valid, got {shorten(source, 60)!r}.",
            hint="For example, `https://example.com/plot.png`.",
        ) from None
    return scheme


def _to_png(image: PILImage) -> bytes:
    """Return a PIL image as PNG, upright and in a colour mode that every viewer supports.

    Raises:
        UsageError: If PIL cannot convert it.
    """
    mode, buffer = getattr(image, "mode", None), io.BytesIO()
    try:
        if mode is None:  # another library's image, which has only PIL's methods
            image.save(buffer, "PNG")
            return buffer.getvalue()
        # Because there is a PIL image, PIL is installed.
        from PIL import ImageOps

        # A camera stores its orientation in EXIF data, which PNG and PIL's own `save` omit.
        upright_image = ImageOps.exif_transpose(cast("Any", image))
        if mode in ("I", "F"):
            upright_image = _stretch_to_gray(upright_image)
        upright_image.convert(_PNG_MODES.get(mode, "RGB")).save(buffer, "PNG")
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(
            f"an image must have a mode that PIL can convert to PNG, got {mode!r}: {error}.",
            hint="Convert it with `image.convert('RGB')`.",
        ) from None
    return buffer.getvalue()


def _stretch_to_gray(image: Any) -> Any:  # noqa: ANN401 - PIL is optional
    """Convert an image of numbers to grey values, from black (lowest) to white (highest)."""
    low, high = image.getextrema()
    scale = 255 / (high - low) if high > low else 0
    return image.point(lambda value: value * scale - low * scale).convert("L")


def sniff(data: bytes) -> str | None:
    """Return the image type that the first bytes identify; ``None`` if providers do not accept it.

    >>> sniff(b"GIF89a...")
    'image/gif'
    """
    # The four bytes between these two are the length of the file.
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((mime for signature, mime in _SIGNATURES if data.startswith(signature)), None)


def _is_image(value: object) -> bool:
    # A class also has these methods, but cannot be drawn.
    return not isinstance(value, type) and isinstance(value, (Image, MatplotlibFigure, PILImage))


def _url_image(url: str) -> Image:
    if not url.startswith("https://"):
        raise UsageError(
            f"an image URL must begin with https://, got {url!r}.",
            hint="Download the image and pass its path.",
        )
    return Image("", url=url)


def _decode_data_url(url: str) -> bytes:
    """Return the data of a ``data:`` URL (RFC 2397)."""
    header, _, encoded_data = url.partition(",")
    unquoted_data = unquote_to_bytes(encoded_data.encode(errors="replace"))
    if not header.endswith(";base64"):
        return unquoted_data
    try:
        return b64decode(unquoted_data, validate=True)
    except binascii.Error:
        raise UsageError(
            "an image's data URL must be valid base64; this one is not.",
            hint="Pass the image's path instead.",
        ) from None


def _read_file(path: Path) -> bytes:
    try:
        path = path.expanduser()
        # Opening a pipe would wait for its other end.
        if not path.is_file() and path.exists():
            reason = "it is a folder" if path.is_dir() else "it is not a regular file"
        else:
            with path.open("rb") as file:
                # One byte more is read, to detect a file that is too large.
                return file.read(MAX_IMAGE_BYTES + 1)
    except OSError as error:
        reason = str(error.strerror)
    except RuntimeError:
        reason = "there is no such user"
    except ValueError:
        reason = "its path has invalid characters"
    raise UsageError(
        f"the image {shorten(str(path), 200)!r} cannot be read: {reason}.", hint="Check the path."
    )


def _checked_image(data: bytes, name: str) -> Image:
    if len(data) > MAX_IMAGE_BYTES:
        raise UsageError(
            f"an image must be at most {MAX_IMAGE_BYTES // 1024**2} MiB; {name} is larger.",
            hint="Reduce its size.",
        )
    mime = sniff(data)
    if mime is None:
        raise UsageError(
            f"an image must be PNG, JPEG, GIF or WebP; {name} begins with {data[:8]!r}.",
            hint="Convert it to PNG.",
        )
    return Image(mime, data)
