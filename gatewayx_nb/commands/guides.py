"""Finds guides and troubleshooting entries for ``help``, without network access."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gatewayx_nb.calls import Excerpt
from gatewayx_nb.files import shipped_path

if TYPE_CHECKING:
    from pathlib import Path

_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_CODE_BLOCK = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_TROUBLE_ENTRY = re.compile(
    r"^\(([\w-]+)\)=\n### ([^\n]+)\n\n(.*?)(?=\n\(|\n#|\Z)", re.MULTILINE | re.DOTALL
)


def guide_names() -> list[str]:
    """Return the names of the guides, such as ``many-rows``."""
    return sorted(path.stem.replace("_", "-") for path in _guides_folder().glob("*.md"))


def find_guide(topic: str) -> Excerpt | None:
    """Return the title, the first paragraph and the first example of a guide, if it exists.

    Args:
        topic: Name of the guide; spaces, hyphens and underscores are equivalent.
    """
    name = re.sub(r"[\s-]+", "_", topic.strip().lower())
    path = _guides_folder() / f"{name}.md"
    if not re.fullmatch(r"\w+", name) or not path.is_file():
        return None
    title, _, text = path.read_text(encoding="utf-8").removeprefix("# ").partition("\n")
    paragraph = text.strip().partition("\n\n")[0].replace("\n", " ")
    # The reader has already loaded the extension, so that example is skipped.
    examples = (code.rstrip() for code in _CODE_BLOCK.findall(text))
    code = next((code for code in examples if code != "%load_ext gatewayx_nb"), "")
    return Excerpt(f"{title}. {_without_links(paragraph)}", code, [code] if code else [])


def find_trouble(topic: str) -> Excerpt | None:
    """Return an entry of the troubleshooting page, if it exists.

    Args:
        topic: Name of the entry, which is the ``help`` of an error, or words of the entry's title.
    """
    entries = _trouble_entries()
    entries_by_name = [entry for entry in entries if entry[0] == topic]
    entries_by_title = [
        entry for entry in entries if topic.lower() in entry[1].replace("`", "").lower()
    ]
    for _, title, text in entries_by_name or entries_by_title:
        return Excerpt(title, _without_links(text).strip())
    return None


def trouble_names() -> list[str]:
    """Return the names of the entries of the troubleshooting page, such as ``missing-key``."""
    return [name for name, *_ in _trouble_entries()]


def _trouble_entries() -> list[tuple[str, str, str]]:
    """Return the name, the title and the text of each entry of the troubleshooting page."""
    return _TROUBLE_ENTRY.findall(
        shipped_path("docs/troubleshooting.md").read_text(encoding="utf-8")
    )


def _without_links(text: str) -> str:
    return _LINK.sub(r"\1", text)


def _guides_folder() -> Path:
    return shipped_path("docs/guides")
