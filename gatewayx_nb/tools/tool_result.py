"""Converts the result or the exception of a function for the model."""

from __future__ import annotations

import inspect
import re
from collections.abc import AsyncIterator, Iterator

from gatewayx_nb import images, prompts
from gatewayx_nb.images import Image
from gatewayx_nb.text import well_formed

MAX_CHARACTERS = 20_000
"""Maximum number of characters of a result."""

_MAX_LIST_ITEMS = 100
"""Maximum number of items of a list with images to send."""

_MAX_ERROR_LENGTH = 500
"""Maximum number of characters of an error's message."""

_FOLDERS = re.compile(r"(?:(?<![\w:/.])|(?<=file:))(?:[A-Za-z]:)?[\\/](?:[^\s\\/'\":<>|]++[\\/])++")
"""Matches the folders of an absolute path, but not the path of a URL, which follows a host."""


def to_parts(value: object) -> tuple[str | Image, ...]:
    """Return a function's result as the parts of a tool result.

    A string is sent unchanged, a DataFrame or a Series as a table as in prompts, a figure or an
    image as an image, and any other value as JSON.

    Raises:
        ValueError: If the value cannot be sent; the message is one line.
    """
    if isinstance(value, (list, tuple)) and any(map(_is_image, value[:_MAX_LIST_ITEMS])):
        return tuple(part for item in value[:_MAX_LIST_ITEMS] for part in to_parts(item))
    if _is_image(value):
        return (images.load(value),)
    # The methods of a subclass of str may do anything, so they are not called.
    text = str.__str__(value) if isinstance(value, str) else _to_text(value)
    if len(text) > MAX_CHARACTERS:
        note = f"\n[Cut: the result has {len(text):,} characters.]"
        text = text[:MAX_CHARACTERS] + note
    return (well_formed(text),)


_PLAIN_TYPES = (str, int, float, bool, dict, type(None))
"""Types that are never images; checking another value for an image is slow."""


def _is_image(value: object) -> bool:
    if type(value) in _PLAIN_TYPES:
        return False
    is_image_data = isinstance(value, bytes) and images.sniff(value[:16]) is not None
    return isinstance(value, Image) or is_image_data or images.is_drawable(value)


def _to_text(value: object) -> str:
    if prompts.table_kind(value) is not None:
        return prompts.to_text("result", value, "", prompts.ROWS, ())
    if isinstance(value, (bytes, bytearray, memoryview)):
        raise ValueError("the function returned bytes, which are not an image; return a string")  # noqa: TRY004 - shown to the model like any invalid result
    if inspect.iscoroutine(value):
        value.close()  # otherwise, Python warns that it was never awaited
        raise ValueError("the function returned a coroutine; write it with `async def`")
    if isinstance(value, (AsyncIterator, Iterator)) or inspect.isawaitable(value):
        type_name = type(value).__name__
        raise ValueError(f"the function returned a {type_name}, which has no value; return a list")
    import msgspec  # imported on first use, because most calls have no tools

    try:
        builtin_value = msgspec.to_builtins(value, enc_hook=_serializable_value, str_keys=True)
        return msgspec.json.encode(builtin_value).decode()
    except RecursionError:
        raise ValueError("the function returned a value that contains itself") from None
    except UnicodeEncodeError:  # a lone surrogate
        return repr(value)
    except (TypeError, ValueError, OverflowError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"the result cannot be written as JSON: {reason}") from None


def _serializable_value(value: object) -> object:
    to_dict = getattr(value, "model_dump", None)  # of a pydantic model
    if callable(to_dict):
        return to_dict(mode="json")
    to_list = getattr(value, "tolist", None)  # of numpy
    return to_list() if callable(to_list) else str(value)


def error_text(error: BaseException) -> str:
    """Return an exception's class and message in one line, without the folders of paths."""
    try:
        message = " ".join(str(error).split())
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - the exception's own code may fail
        message = ""
    message = _FOLDERS.sub("", message[: 10 * _MAX_ERROR_LENGTH])[:_MAX_ERROR_LENGTH]
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
