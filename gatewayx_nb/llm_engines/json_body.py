"""Parses untrusted JSON bodies defensively, with typed access to their values."""

from __future__ import annotations

import contextlib
import json
import re
from typing import TYPE_CHECKING, Any

import msgspec

from gatewayx_nb import bounded_json
from gatewayx_nb.errors import ProviderError
from gatewayx_nb.hints import Hint, as_hint
from gatewayx_nb.text import shorten
from gatewayx_nb.transport import longest_delay

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_decode = msgspec.json.Decoder().decode
_validate = msgspec.json.Decoder(msgspec.Raw).decode

_DELAY_PATTERN = re.compile(r"(\d+(?:\.\d+)?)s", re.ASCII)

_NUMERAL_PATTERN = re.compile(r"\d{1,19}(?:\.\d*)?", re.ASCII)

_REASON_FIELDS = (
    *("message", "msg", "error_description", "error_message", "errorMessage", "error", "detail"),
    *("details", "errors", "description", "reason", "title", "code", "type", "status"),
)
"""Names of the fields that may contain the reason for an error, most informative first."""

_MARKUP_PATTERN = re.compile(
    r"<(?:script|style)\b(?:.*?</\w+>|.*)|<[^<>]*>|&\w+;", re.DOTALL | re.IGNORECASE
)
"""Scripts, style sheets, tags and character references of an HTML page."""

_MAX_PAGE_BYTES = 16_384
"""Maximum number of bytes of a page to search for its text."""

_MEANINGLESS_REASONS = frozenset({"error", "fail", "failed", "failure", "errors"})
"""Messages, in lower case, that do not explain an error."""

_MAX_TOKENS = 2**60
"""Token counts of this size or more are implausible, and SQLite cannot store their sum."""

_BASE_URL_HINT = as_hint("Check the engine's base URL.") | Hint("list_engines")


def parse(data: str | bytes) -> dict[str, Any]:
    """Parse a JSON object.

    Raises:
        ProviderError: If the data is not a JSON object, for example HTML or a list, is nested too
            deeply, or has too many values.
    """
    text = data.decode(errors="replace") if isinstance(data, bytes) else data
    try:
        value = _load(text)
    except bounded_json.TooManyValuesError as error:
        raise ProviderError(
            f"the response cannot be read: {error}.",
            hint="Limit the reply with max_tokens.",
            code="too_large",
        ) from None
    except (ValueError, RecursionError):
        raise ProviderError(
            f"the response is not JSON: {shorten(text, 80)!r}.", hint=_BASE_URL_HINT
        ) from None
    if not isinstance(value, dict):
        raise ProviderError(
            f"the response is not a JSON object: {shorten(text, 80)!r}.", hint=_BASE_URL_HINT
        )
    return value


def _load(text: str) -> object:
    """Parse JSON, usually in a fifth of the time that `json` takes."""
    bounded_json.check_values(text)
    try:
        return _decode(text)
    except (msgspec.DecodeError, ValueError, RecursionError):
        # `json` also accepts lone surrogates, and NaN, which Python servers write.
        return json.loads(text)


def parse_listing(data: bytes) -> dict[str, Any]:
    """Parse a list of models; a bare list becomes ``{"data": […]}``."""
    stripped_data = data.strip()
    return parse(
        b'{"data":' + stripped_data + b"}" if stripped_data.startswith(b"[") else stripped_data
    )


def is_complete(text: str) -> bool:
    """Return whether a str is complete JSON or the end marker ``[DONE]``."""
    with contextlib.suppress(msgspec.DecodeError, ValueError, RecursionError):
        _validate(text)  # does not build the values
        return True
    try:
        bounded_json.loads(text)  # also reads NaN
    except (ValueError, RecursionError):
        return text.startswith("[DONE]")
    return True


def as_dict(value: object) -> dict[str, Any]:
    """Return the value if it is an object, otherwise an empty dict."""
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> list[Any]:
    """Return the value if it is a list, otherwise an empty list."""
    return value if isinstance(value, list) else []


def as_dicts(value: object) -> list[dict[str, Any]]:
    """Return the items of a list, with an empty object for each item that is not an object."""
    items = as_list(value)
    return [item if isinstance(item, dict) else {} for item in items]


def as_str(value: object) -> str:
    """Return the value if it is a string, otherwise an empty string."""
    return value if isinstance(value, str) else ""


def as_int(value: object) -> int | None:
    """Return the value if it is a plausible number of tokens, otherwise ``None``."""
    # Cohere sends token counts as floats, such as `3.0`; some gateways send strings.
    if isinstance(value, str) and _NUMERAL_PATTERN.fullmatch(value.strip()):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return int(value) if 0 <= value < _MAX_TOKENS else None


def with_options(
    payload: dict[str, Any], optional_fields: Mapping[str, Any], params: Mapping[str, Any]
) -> dict[str, Any]:
    """Return ``payload`` with the optional fields that are not ``None``, merged with ``params``."""
    set_fields = {name: value for name, value in optional_fields.items() if value is not None}
    return merge_params(payload | set_fields, params)


def merge_params(payload: dict[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``payload`` updated with ``params``; nested objects are merged recursively.

    >>> merge_params({"text": {"format": "json"}, "n": 1}, {"text": {"verbosity": "low"}, "n": 2})
    {'text': {'format': 'json', 'verbosity': 'low'}, 'n': 2}
    """
    nested_objects = {
        name: merge_params(payload[name], value)
        for name, value in params.items()
        if isinstance(value, dict) and isinstance(payload.get(name), dict)
    }
    return payload | dict(params) | nested_objects


def provider_error(data: bytes) -> tuple[str | None, str]:
    """Return the provider's code and message from an error body; see `error_code_and_message`.

    A body that is not a JSON object, such as a proxy's error page, has no code; its text is the
    message. Gemini wraps an error in a list.
    """
    body = _error_body(data)
    return (None, _text_of(data)) if body is None else error_code_and_message(body)


def _text_of(data: bytes) -> str:
    """Return the text at the beginning of JSON, an HTML page, or any other body."""
    text = data[:_MAX_PAGE_BYTES].decode(errors="replace")
    if text.lstrip()[:1] in ('"', "["):
        with contextlib.suppress(ValueError, RecursionError):
            return _reason(_load(text))
    return " ".join(_MARKUP_PATTERN.sub(" ", text).split())


def error_code_and_message(body: Mapping[str, Any]) -> tuple[str | None, str]:
    """Return the provider's code and message from an error.

    OpenAI and compatible providers send ``{"error": {"message", "code", "type"}}``. The code of an
    Anthropic error is ``error.details.error_code`` or ``error.type``. The code of a Gemini error is
    a daily quota or the reason in ``error.details``, or ``error.status``. Cohere and others send
    ``{"message": "text"}`` or ``{"error": "text"}``.
    """
    error_fields = as_dict(body.get("error")) or body
    details = as_dicts(error_fields.get("details"))  # a list from Google, an object from Anthropic
    # The codes are ordered from the most specific to the most general.
    codes = (
        _daily_quota(details),
        *(detail.get("reason") for detail in details),
        as_dict(error_fields.get("details")).get("error_code"),
        error_fields.get("code"),
        error_fields.get("status"),
        error_fields.get("type"),
    )
    code = next((code for code in codes if isinstance(code, str) and code), None)
    code_number = as_int(error_fields.get("code"))
    return code, _reason(error_fields) or ("" if code_number is None else f"code {code_number}")


def _reason(value: object, depth: int = 4) -> str:
    """Return the most informative text in an error of any form.

    OAuth sends ``{"error": "code", "error_description": "text"}``; RFC 9457, ``title`` and
    ``detail``; FastAPI, ``{"detail": "text"}`` or ``{"detail": [{"msg": "text"}]}``; others,
    ``errors``.
    """
    if isinstance(value, str):
        return "" if value.strip().lower() in _MEANINGLESS_REASONS else value
    if not depth:
        return ""
    items: Iterable[object] = value if isinstance(value, list) else ()
    if isinstance(value, dict):
        items = map(value.get, _REASON_FIELDS)
        if isinstance(fields := value.get("errors"), dict):  # the problems by field
            items = (*items, *fields.values())
    return next(filter(None, (_reason(item, depth - 1) for item in items)), "")


def _daily_quota(details: list[dict[str, Any]]) -> str | None:
    """Return the name of an exceeded daily quota from a ``google.rpc.QuotaFailure``.

    An example is ``GenerateRequestsPerDayPerProjectPerModel-FreeTier``. The error nevertheless has
    a short ``retryDelay`` (https://ai.google.dev/gemini-api/docs/rate-limits).
    """
    violations = (row for detail in details for row in as_dicts(detail.get("violations")))
    quotas = (as_str(row.get("quotaId")) for row in violations)
    return next((quota for quota in quotas if "PerDay" in quota), None)


def rejected_param(data: bytes) -> tuple[str, str]:
    """Return the parameter named by an error body, or ``""``, and the error message."""
    body = _error_body(data) or {}
    error_fields = as_dict(body.get("error")) or body
    return as_str(error_fields.get("param")), error_code_and_message(body)[1]


def retry_delay(data: bytes) -> float | None:
    """Return the seconds to wait from a Gemini error body.

    ``details`` contains a ``google.rpc.RetryInfo`` with a ``retryDelay`` such as ``"27s"``
    (https://cloud.google.com/apis/design/errors).
    """
    error = as_dict((_error_body(data) or {}).get("error"))
    details = as_dicts(error.get("details"))
    delays = (as_str(detail.get("retryDelay")) for detail in details)
    matches = filter(None, map(_DELAY_PATTERN.fullmatch, delays))
    return longest_delay(float(match.group(1)) for match in matches)


def _error_body(data: bytes) -> dict[str, Any] | None:
    """Return the JSON object in an error body; ``None`` if the body contains no object."""
    stripped_data = data.strip()
    is_list = stripped_data.startswith(b"[") and stripped_data.endswith(b"]")
    try:
        return parse(stripped_data[1:-1] if is_list else stripped_data)
    except ProviderError:
        return None
