"""A page that a model wrote, in a frame of its own that runs and loads nothing.

Three walls, each of which would do: what is not on a list is taken out of the page; a policy in it
forbids whatever loads but inline styles and pictures that it brings along; and the frame's sandbox
forbids scripts, forms, pop-ups and leaving.
"""

from __future__ import annotations

import functools
from html import escape
from typing import TYPE_CHECKING

from gatewayx_nb import rendering

if TYPE_CHECKING:
    import nh3

# https://www.w3.org/TR/CSP3/; links to prefetch and to resolve names it does not hold, so that no
# `<link>` and no address gets that far.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'"
_FRAME = "width:100%;height:26em;border:1px solid #8888;background:#fff;color-scheme:light"
_LONGEST = 500_000

# fmt: off
_MORE_TAGS = frozenset({
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


def framed(page: str) -> str:
    """Give a page in a sandboxed frame, with its source below for a page that shows no frames."""
    source = rendering.plain(page)[:_LONGEST]
    inside = (
        f'<!doctype html><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f'<meta name="referrer" content="no-referrer">{_cleaner().clean(source)}'
    )
    frame = (
        f'<iframe sandbox="" title="The answer, as a page" referrerpolicy="no-referrer" '
        f'style="{_FRAME}" srcdoc="{escape(inside)}"></iframe>'
    )
    return frame + rendering.folded("Source", rendering.preformatted(source))


@functools.cache
def _cleaner() -> nh3.Cleaner:
    import nh3

    return nh3.Cleaner(
        tags=nh3.ALLOWED_TAGS | _MORE_TAGS,
        clean_content_tags={"script", "title", "noscript", "template", "iframe", "object"},
        attributes={"*": set(_ATTRIBUTES), "img": {"src", "alt"}, "a": set()},
        url_schemes={"data"},
        url_relative="deny",
        link_rel=None,
    )
