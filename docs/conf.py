"""Settings of Sphinx; `make docs` builds the pages."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gatewayx_nb import __version__

if TYPE_CHECKING:
    from sphinx.application import Sphinx

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS))

import reference_pages  # noqa: E402 - a module of this folder

project = "Gateway X for notebooks"
author = "The Gateway X authors"
project_copyright = author
version = release = __version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_nb", "sphinx_copybutton"]
suppress_warnings = ["mystnb.unknown_mime_type", "misc.highlighting_failure"]

html_theme = "furo"
html_title = f"{project} {version}"
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"top_of_page_buttons": []}

default_role = "code"
add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_default_options = {"members": True, "show-inheritance": False}
napoleon_numpy_docstring = False

# The notebooks are shown as they were recorded.
nb_execution_mode = "off"
myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 3
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


_HTTP_STATUS = re.compile(r"^(?:\(\S+\)=\n)?### .*\bHTTP (\d{3}.*)$", re.MULTILINE)
"""A heading that names HTTP statuses, and its label."""


def setup(app: Sphinx) -> None:
    """Write the generated pages before the others are read, and let links lead to pages."""
    app.connect("builder-inited", lambda _: reference_pages.write(DOCS))
    app.connect("source-read", _prepare_page)


def _prepare_page(app: Sphinx, name: str, source: list[str]) -> None:
    """Turn links to files of the repository into links to pages, and index HTTP statuses."""
    path = Path(app.env.doc2path(name))
    if path.suffix == ".md":
        text = reference_pages.linked(source[0], f"docs/{path.relative_to(DOCS).as_posix()}")
        source[0] = _HTTP_STATUS.sub(_with_index_entries, text)


def _with_index_entries(heading: re.Match[str]) -> str:
    """Return a heading preceded by index entries; the search ignores numbers anywhere else."""
    statuses = re.findall(r"\d{3}", heading[1])
    return "".join(f"```{{index}} {status}\n```\n\n" for status in statuses) + heading[0]
