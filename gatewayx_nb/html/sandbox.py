"""Displays a model-written page in a frame that runs no code and loads nothing.

There are three barriers, each of which is sufficient by itself. Content that is not allow-listed is
removed from the page. A policy in the page permits only inline styles and embedded images. The
frame's sandbox forbids scripts, forms, pop-ups and navigation.
"""

from __future__ import annotations

import functools
from html import escape
from typing import TYPE_CHECKING

from gatewayx_nb.html.components import details, preformatted_html
from gatewayx_nb.text import plain

if TYPE_CHECKING:
    import nh3

# https://www.w3.org/TR/CSP3/. The policy does not block prefetch and DNS prefetch links, so the
# cleaner removes every `<link>` and URL.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'"
_FRAME_STYLE = "width:100%;height:26em;border:1px solid #8888;background:#fff;color-scheme:light"
_MAX_PAGE_CHARACTERS = 500_000  # the output contains the page twice

# fmt: off
_ADDITIONAL_TAGS = frozenset({
    "style", "section", "article", "main", "header", "footer", "nav", "figure", "figcaption",
    "button", "label", "progress", "meter", "svg", "g", "path", "rect", "circle", "ellipse", "line",
    "polyline", "polygon", "text", "tspan", "defs", "linearGradient", "radialGradient", "stop",
})
_ATTRIBUTES = frozenset({
    "style", "class", "id", "title", "lang", "dir", "role", "width", "height", "viewBox", "d", "x",
    "y", "x1", "y1", "x2", "y2", "cx", "cy", "r", "rx", "ry", "points", "fill", "stroke",
    "stroke-width", "stroke-linecap", "stroke-linejoin", "stroke-dasharray", "opacity", "transform",
    "text-anchor", "font-size", "font-family", "font-weight", "offset", "stop-color", "colspan",
    "rowspan", "value", "max", "min",
})
# fmt: on


def sandbox_html(page: str) -> str:
    """Return a page in a sandboxed frame, and its source for front ends that show no frames."""
    source = plain(page)[:_MAX_PAGE_CHARACTERS]
    inside = (
        f'<!doctype html><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f'<meta name="referrer" content="no-referrer">{_cleaner().clean(source)}'
    )
    frame = (
        f'<iframe sandbox="" title="The answer, as a page" referrerpolicy="no-referrer" '
        f'style="{_FRAME_STYLE}" srcdoc="{escape(inside)}"></iframe>'
    )
    return frame + details("Source", preformatted_html(source))


@functools.cache
def _cleaner() -> nh3.Cleaner:
    import nh3

    return nh3.Cleaner(
        tags=nh3.ALLOWED_TAGS | _ADDITIONAL_TAGS,
        # The content of these tags is removed, because it would otherwise be shown as text.
        clean_content_tags={"script", "title", "noscript", "template", "iframe", "object"},
        # Links have no `href`, because a click could navigate even a frame without scripts.
        attributes={"*": set(_ATTRIBUTES), "img": {"src", "alt"}, "a": set()},
        url_schemes={"data"},
        url_relative="deny",
        link_rel=None,
    )
