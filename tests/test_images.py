import base64
import struct
import zlib
from pathlib import Path
from urllib.parse import quote

import pytest

from gatewayx_nb import images
from gatewayx_nb.errors import UsageError
from gatewayx_nb.images import Image

PNG = b"\x89PNG\r\n\x1a\n" + b"".join(
    struct.pack(">I", len(data))
    + chunk_type
    + data
    + struct.pack(">I", zlib.crc32(chunk_type + data))
    for chunk_type, data in (
        (b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"\0\0")),
        (b"IEND", b""),
    )
)


class FakeFigure:
    """A class with the methods of a matplotlib figure."""

    def savefig(self, file, *, format):  # noqa: A002 - matplotlib's name
        assert format == "png"
        file.write(PNG)


class FakePicture:
    """A class with the methods of a PIL image."""

    def tobytes(self):
        return b""

    def save(self, file, format):  # noqa: A002 - PIL's name
        assert format == "PNG"
        file.write(PNG)


@pytest.mark.parametrize("convert", [str, Path, Path.read_bytes], ids=["text", "path", "bytes"])
def test_an_image_is_loaded_from_a_path_or_bytes(tmp_path, convert):
    """The type of an image is detected by its content, not by the name of the file."""
    path = tmp_path / "plot.jpg"
    path.write_bytes(PNG)

    image = images.load(convert(path))

    assert image == Image("image/png", PNG)
    assert base64.b64decode(image.address.removeprefix("data:image/png;base64,")) == PNG


@pytest.mark.parametrize(
    "url",
    [
        f"data:image/png;base64,{base64.b64encode(PNG).decode()}",
        f"DATA:;base64,{base64.b64encode(PNG).decode()}",
        f"data:image/jpeg,{quote(PNG)}",
    ],
)
def test_an_image_is_loaded_from_a_data_url(url):
    """A data URL is decoded here; its type is that of its bytes."""
    assert images.load(url) == Image("image/png", PNG)


def test_a_damaged_data_url_is_refused_without_its_data():
    """A data URL that is not base64 raises an error that does not repeat it."""
    with pytest.raises(UsageError, match="data URL of an image must be valid base64") as caught:
        images.load("data:image/png;base64,secret!")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("source", [FakeFigure(), FakePicture()], ids=["figure", "picture"])
def test_a_figure_is_converted_to_png(source):
    """A matplotlib figure or PIL image is converted to PNG."""
    assert images.load(source) == Image("image/png", PNG)


def test_a_url_is_passed_to_the_provider():
    """A URL is passed to the provider and not fetched."""
    image = images.load("https://example.com/a.png")

    assert (image.address, image.data) == ("https://example.com/a.png", b"")
    assert images.load(image) is image


@pytest.mark.parametrize(
    ("data", "mime"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF87a", "image/gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (b"RIFF\0\0\0\0WAVE", None),
        (b"<svg>", None),
        (b"", None),
    ],
)
def test_the_first_bytes_determine_the_type(data, mime):
    """The type of each supported image is detected by its first bytes."""
    assert images.sniff(data) == mime


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (b"invalid", r"must be PNG, JPEG, GIF or WebP; the image begins with b'invalid'"),
        (b"\x89PNG\r\n\x1a\n" + bytes(images.LIMIT), "at most 20 MiB; the image is larger"),
        ("missing.png", "cannot be read: No such file"),
        ("http://example.com/a.png", "must begin with https://, got 'http://example.com/a.png'"),
        (3, "must be a path, bytes, .* or a PIL image, got int"),
        (None, "or a PIL image, got NoneType"),
    ],
)
def test_an_invalid_image_is_refused(source, message):
    """The error of an invalid image says which images are valid."""
    with pytest.raises(UsageError, match=message):
        images.load(source)


def test_the_repr_of_an_image_contains_no_bytes():
    """The repr of an image is short and does not contain its bytes."""
    assert repr(Image("image/png", PNG)) == f"Image('image/png', {len(PNG)} bytes)"
