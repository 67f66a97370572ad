import email.utils
import math
from dataclasses import dataclass

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gatewayx_nb.transport import limit_reset, retry_after

NOW = 1_800_000_000.0


def format_date(seconds):
    """Return the HTTP date this many seconds from now."""
    return email.utils.formatdate(NOW + seconds, usegmt=True)


@dataclass(frozen=True)
class Header:
    """Response headers, and the delay that they request."""

    id: str
    headers: dict[str, str]
    seconds: float | None


HEADERS = [
    Header("no headers", {}, None),
    Header("seconds", {"retry-after": "7"}, 7.0),
    Header("fraction", {"retry-after": " 0.5 "}, 0.5),
    Header("zero", {"retry-after": "0"}, 0.0),
    Header("milliseconds", {"retry-after-ms": "1500"}, 1.5),
    Header("milliseconds-first", {"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
    Header("invalid-milliseconds", {"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
    Header("date", {"retry-after": format_date(30)}, 30.0),
    Header("old-date-format", {"retry-after": "Friday, 15-Jan-27 08:00:10 GMT"}, 10.0),
    Header("date-without-zone", {"retry-after": "Fri, 15 Jan 2027 08:00:10 -0000"}, 10.0),
    Header("past-date", {"retry-after": format_date(-30)}, None),
    Header("a-day", {"retry-after": "86400"}, 86400.0),
    Header("over-the-limit", {"retry-after": "9999999999"}, None),
    Header("date-over-the-limit", {"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"}, None),
    Header("milliseconds-over-the-limit", {"retry-after-ms": "9" * 400}, None),
    Header("nan", {"retry-after": "nan", "retry-after-ms": "NaN"}, None),
    Header("inf", {"retry-after": "inf", "retry-after-ms": "Infinity"}, None),
    Header("negative", {"retry-after": "-1", "retry-after-ms": "-5"}, None),
    Header("not-a-number", {"retry-after": "1_000"}, None),
    Header("arabic-digits", {"retry-after": "٣"}, None),
    Header("doubled", {"retry-after": "5, 5"}, 5.0),
    Header("doubled-shorter", {"retry-after": "30, 5"}, 30.0),
    Header("doubled-longer", {"retry-after": "5,30"}, 30.0),
    Header("doubled-absurd", {"retry-after": "9999999999, 7"}, 7.0),
    Header("doubled-invalid", {"retry-after": "soon, 7"}, 7.0),
    Header("doubled-date", {"retry-after": f"{format_date(30)}, {format_date(90)}"}, 90.0),
    Header("number-and-date", {"retry-after": f"120, {format_date(30)}"}, 120.0),
    Header("date-and-number", {"retry-after": f"{format_date(30)}, 10"}, 30.0),
    Header("past-date-and-number", {"retry-after": f"{format_date(-30)}, 10"}, 10.0),
    Header("doubled-milliseconds", {"retry-after-ms": "1500, 2500"}, 2.5),
    Header("words", {"retry-after": "in a while"}, None),
]


@pytest.mark.parametrize("case", HEADERS, ids=lambda case: case.id)
def test_the_requested_wait_is_read_from_headers(case):
    """The requested wait may be seconds, milliseconds or a date; other values are ignored."""
    assert retry_after(case.headers, NOW) == case.seconds


@given(st.text(max_size=60), st.text(max_size=60))
@example("", "Mon, 99 Xyz 99999999999999999999 99:99:99 +99999999")
def test_arbitrary_headers_yield_a_finite_wait_or_none(milliseconds, seconds):
    """An arbitrary header yields a finite number >= 0 or None, and never raises an exception."""
    delay = retry_after({"retry-after-ms": milliseconds, "retry-after": seconds}, NOW)
    assert delay is None or (math.isfinite(delay) and delay >= 0)


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [
        (f"{NOW + 30:.0f}", 30.0),
        (f"{NOW:.0f}", 0.0),
        (f"{NOW - 1:.0f}", None),  # already past
        ("30", None),  # another provider's format
        (f"{NOW * 1000 + 30_000:.0f}", None),  # also another provider's format
        (f"{NOW + 8 * 86_400:.0f}", None),
        ("soon", None),
        ("nan", None),
        ("9" * 400, None),
        ("", None),
    ],
)
def test_a_rate_limit_reset_is_read_from_its_header(reset, seconds):
    """A rate limit's reset is a time within a week, in seconds since the epoch."""
    assert limit_reset({"x-ratelimit-reset": reset}, NOW) == seconds
    assert limit_reset({}, NOW) is None
