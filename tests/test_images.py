import base64
import io
import os
import struct
import zlib
from pathlib import Path
from urllib.parse import quote

import pytest
from PIL import Image as pil  # noqa: N813 - a module

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
    """A data URL is decoded locally; its type is detected from its bytes."""
    assert images.load(url) == Image("image/png", PNG)


def test_a_damaged_data_url_is_refused_without_its_data():
    """A data URL that is not base64 raises an error that does not repeat it."""
    with pytest.raises(UsageError, match="image's data URL must be valid base64") as caught:
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
        (
            b"\x89PNG\r\n\x1a\n" + bytes(images.MAX_IMAGE_BYTES),
            "at most 20 MiB; the image is larger",
        ),
        ("missing.png", "cannot be read: No such file"),
        ("a\0.png", "cannot be read: its path has invalid characters"),
        ("~nobody-here/a.png", "cannot be read: there is no such user"),
        (".", "cannot be read: it is a folder"),
        ("data:image/png;base64,\ud800", "must be valid base64"),
        ("http://example.com/a.png", "must begin with https://, got 'http://example.com/a.png'"),
        (3, "must be a path, bytes, .* or a PIL image, got int"),
        (None, "or a PIL image, got NoneType"),
    ],
)
def test_an_invalid_image_is_refused(source, message):
    """The error of an invalid image says which images are valid."""
    with pytest.raises(UsageError, match=message):
        images.load(source)


def test_a_pipe_is_not_opened(tmp_path):
    """Opening it would wait for a writer."""
    path = tmp_path / "a.png"
    os.mkfifo(path)
    with pytest.raises(UsageError, match="not a regular file"):
        images.load(path)


def test_the_repr_of_an_image_contains_no_bytes():
    """The repr of an image is short and does not contain its bytes."""
    assert repr(Image("image/png", PNG)) == f"Image('image/png', {len(PNG)} bytes)"


PIL_MODES = ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX"]
PIL_MODES += ["CMYK", "YCbCr", "LAB", "HSV", "I", "F", "I;16", "I;16B", "I;16L"]


@pytest.mark.parametrize("mode", PIL_MODES)
def test_every_mode_of_pil_is_converted(mode):
    """An image in any colour mode becomes a PNG, although PNG supports only a few modes."""
    loaded = images.load(pil.new(mode, (4, 6)))

    assert loaded.mime == "image/png"
    assert pil.open(io.BytesIO(loaded.data)).size == (4, 6)


def test_an_image_of_numbers_uses_the_whole_range_of_grey():
    """The lowest number is black and the highest is white, whatever their unit."""
    image = pil.new("F", (2, 1))
    image.putdata([0.25, 0.75])

    grey = pil.open(io.BytesIO(images.load(image).data))

    assert [grey.getpixel((x, 0)) for x in (0, 1)] == [0, 255]


def test_a_photo_is_sent_upright():
    """The orientation in a photo's EXIF data is applied, as a viewer applies it."""
    photo = pil.new("RGB", (40, 20), "red")
    exif = photo.getexif()
    exif[0x0112] = 6  # rotate by 90 degrees
    file = io.BytesIO()
    photo.save(file, "JPEG", exif=exif)

    sent = pil.open(io.BytesIO(images.load(pil.open(file)).data))

    assert sent.size == (20, 40)


def test_an_image_that_pil_cannot_convert_raises_an_error():
    """A mode without a conversion raises an error that says how to convert the image."""
    image = pil.new("RGB", (0, 0))

    with pytest.raises(UsageError, match=r"can convert to PNG, got 'RGB'.*image.convert"):
        images.load(image)


@pytest.mark.parametrize("url", ["https://[::1/a.png", "https://[x/a.png"])
def test_an_invalid_url_of_an_image_is_one_line(url):
    """A URL that cannot be parsed raises a usage error, not an error of the standard library."""
    with pytest.raises(UsageError, match="an image URL must be valid"):
        images.load(url)
