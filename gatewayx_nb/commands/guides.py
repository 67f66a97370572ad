"""The documentation's guides; `help` shows how each begins, without network access."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gatewayx_nb.calls import Excerpt
from gatewayx_nb.files import shipped_path

if TYPE_CHECKING:
    from pathlib import Path

_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_BLOCK = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ENTRY = re.compile(r"^### ([^\n]+)\n\n(.*?)(?=\n#|\Z)", re.MULTILINE | re.DOTALL)


def guide_names() -> list[str]:
    """Return the names of the guides, such as ``many-rows``."""
    return sorted(path.stem.replace("_", "-") for path in _folder().glob("*.md"))


def find_guide(topic: str) -> Excerpt | None:
    """Return the title, the first paragraph and the first example of a guide, if it exists.

    Args:
        topic: Its name; spaces, hyphens and underscores are equivalent.
    """
    name = re.sub(r"[\s-]+", "_", topic.strip().lower())
    path = _folder() / f"{name}.md"
    if not re.fullmatch(r"\w+", name) or not path.is_file():
        return None
    title, _, text = path.read_text(encoding="utf-8").removeprefix("# ").partition("\n")
    paragraph = text.strip().partition("\n\n")[0].replace("\n", " ")
    example = _BLOCK.search(text)
    code = example[1].rstrip() if example else ""
    return Excerpt(f"{title}. {_without_links(paragraph)}", code, [code] if code else [])


def find_trouble(words: str) -> Excerpt | None:
    """Return the entry of the troubleshooting page whose title contains these words, if any."""
    text = shipped_path("docs/troubleshooting.md").read_text(encoding="utf-8")
    for title, entry in _ENTRY.findall(text):
        if words.lower() in title.replace("`", "").lower():
            return Excerpt(title, _without_links(entry).strip())
    return None


def _without_links(text: str) -> str:
    return _LINK.sub(r"\1", text)


def _folder() -> Path:
    return shipped_path("docs/guides")
