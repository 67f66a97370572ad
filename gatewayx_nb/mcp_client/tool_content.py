"""Converts the result of a server's tool to text and images, like the result of a function."""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Any

from gatewayx_nb import images
from gatewayx_nb.errors import UsageError
from gatewayx_nb.images import Image
from gatewayx_nb.text import shorten, size_text

if TYPE_CHECKING:
    from collections.abc import Iterable


def content_of(result: Any) -> str | list[str | Image]:  # noqa: ANN401 - of the SDK
    """Return the text of a result or, if it has images, a list of the text and the images.

    Content that models do not accept, such as audio, is replaced by a note like
    ``[audio, audio/wav: not supported]``.
    """
    parts = list(_convert_blocks(result.content))
    if not parts and result.structured_content is not None:
        parts = [json.dumps(result.structured_content, ensure_ascii=False)]
    text = "\n\n".join(part for part in parts if isinstance(part, str))
    pictures = [part for part in parts if isinstance(part, Image)]
    return [*([text] if text else ()), *pictures] if pictures else text


def _convert_blocks(blocks: Iterable[Any]) -> Iterable[str | Image]:
    for block in blocks:
        match block.type:
            case "text":
                yield block.text
            case "image":
                yield _image(block.data, block.mime_type)
            case "audio":
                yield f"[audio, {shorten(block.mime_type, 60)}: not supported]"
            case "resource_link":
                yield f"[resource {shorten(str(block.uri), 500)}: not read]"
            case "resource":
                yield _resource(block.resource)
            case block_type:
                yield f"[{shorten(str(block_type), 60)}: not supported]"


def _image(data: str, mime: str) -> str | Image:
    try:
        content = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return "[image: the data is not valid base64]"
    try:
        return images.load(content)  # the bytes determine the type, not the server
    except UsageError:
        return f"[image, {shorten(mime, 60)}, {size_text(len(content))}: not supported]"


def _resource(resource: Any) -> str | Image:  # noqa: ANN401 - of the SDK
    uri, mime = shorten(str(resource.uri), 500), resource.mime_type or ""
    text = getattr(resource, "text", None)
    if text is not None:
        return f"[resource {uri}]\n{text}"
    if mime.startswith("image/"):
        return _image(resource.blob, mime)
    return f"[resource {uri}, {shorten(mime or 'no type', 60)}: not supported]"
