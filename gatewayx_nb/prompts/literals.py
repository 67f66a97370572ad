"""Finds literal text in double braces that may have been intended as a placeholder."""

from __future__ import annotations

import ast
import re
import warnings

from gatewayx_nb.prompts.placeholders import mask

_BRACES = re.compile(r"(?<!\{)\{\{([^{}\n]+)\}\}(?!\})")
_FORMAT_SPEC = re.compile(r":[^\s\"':][^:]*$")
"""Matches a format specification; which does not begin with a space or a quote."""

# JSON, JSX and LaTeX contain such text in double braces: `{{1}}`, `{{"a", "b"}}`, `{{x, y}}`.
_IGNORED_EXPRESSIONS = (ast.Constant, ast.Tuple, ast.List, ast.Name, ast.Starred)


def unfilled(template: str) -> list[str]:
    """Return the Python expressions in double braces that are not placeholders, without duplicates.

    >>> unfilled('{{df.describe()}} of {{name}}, {"a": {{}}}, {% if x %} {{1}}')
    ['{{df.describe()}}']
    """
    masked_template, _ = mask(template)
    expressions = (
        braces[0] for braces in _BRACES.finditer(masked_template) if _may_be_placeholder(braces[1])
    )
    return list(dict.fromkeys(expressions))


def _may_be_placeholder(text: str) -> bool:
    """Return whether a string is a Python expression, with or without a format specification."""
    return any(map(_is_expression, (text, _FORMAT_SPEC.sub("", text))))


def _is_expression(text: str) -> bool:
    try:
        with warnings.catch_warnings(action="ignore"):  # such as for an invalid escape
            body = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return not isinstance(body, _IGNORED_EXPRESSIONS)
