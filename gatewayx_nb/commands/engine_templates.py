"""Templates for what ``new`` writes: an engine file, a settings entry or a package."""

from __future__ import annotations

import json
import re

from gatewayx_nb.secure_config import engine_variable

_ECHO_ENGINE = '''\
"""{name}: describe the service here, with a link to its API documentation."""

from {parent}llm_engines import LLMEngine


class {title}(LLMEngine):
    """Echoes the prompt, until `generate` calls a model."""

    requires_key = False  # delete this line to require {key}, which is then self.api_key
    model_name = "{name}-1"

    async def generate(self, prompt, **kwargs):
        """Return the whole answer; kwargs are the caller's options: system, temperature, …"""
        return f"[{name}] {{prompt}}"
'''

_OPENAI_ENGINE = '''\
"""{name}: a server that implements OpenAI's Chat Completions."""

from gatewayx_nb.llm_engines import OpenAICompatibleEngine


class {title}(OpenAICompatibleEngine):
    """The server at `base_url`."""

{no_key}    base_url = {url}
    model_name = ""  # the default model; an empty name selects the server's first one
'''

_NO_KEY_ATTRIBUTE = "    requires_key = False  # delete this line to require {key}\n"

_SETTINGS_ENTRY = """\
[{name}]
base_url = {url}
model = ""
"""

_PYPROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{distribution}"
version = "0.1.0"
description = "The engine {name} for gatewayx-nb."
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["gatewayx-nb"]

[project.entry-points."gatewayx.engines"]
{name} = "{module}:{title}"

[tool.hatch.build.targets.wheel]
only-include = ["{module}.py"]
"""

_TEST = '''\
"""The rules that every engine must keep."""

from gatewayx_nb.testing import check

from {module} import {title}


def test_the_engine_keeps_the_rules():
    # {comment}
    check({title}{options})
'''

_README = """\
# {distribution}

The engine `{name}` for `gatewayx-nb`, which calls language models from notebooks.

Install it beside `gatewayx-nb`, from the folder that contains `{folder}`:

    pip install --no-deps ./{folder}

{key_line}

Call it, in a notebook or a script:

    import gatewayx_nb as gx
    print(gx.ask("Hello", model="{name}"))

Test it:

    pip install pytest
    python -m pytest {folder}
"""

_KEY_LINE = "Its key is `{key}`, an environment variable or a line of `config/secrets/.env.local`."
_NO_KEY_LINE = "It needs no key. Delete `requires_key = False` to require `{key}`."

_OWN_DISTRIBUTION = "gatewayx-nb"


def engine_file(name: str) -> str:
    """Return the source of an engine file; its engine echoes prompts until it is edited."""
    return _ECHO_ENGINE.format(
        name=name, title=_class_name(name), key=engine_variable(name), parent=".."
    )


def settings_entry(name: str, url: str, *, requires_key: bool) -> str:
    """Return the lines of ``engines.toml`` for an OpenAI-compatible server."""
    entry = _SETTINGS_ENTRY.format(name=name, url=json.dumps(url))
    return entry if requires_key else f"{entry}requires_key = false\n"


def package_folder(name: str) -> str:
    """Return the name of the folder for an engine's package."""
    return f"gatewayx-{name}"


def is_own_package(name: str) -> bool:
    """Return whether the package of an engine would have the same name as gatewayx-nb itself."""
    return _distribution_name(name) == _OWN_DISTRIBUTION


def package_files(name: str, url: str | None, *, requires_key: bool) -> dict[str, bytes]:
    """Return the files of an engine's installable package, by name.

    Args:
        name: The engine's name.
        url: Base URL of an OpenAI-compatible server; ``None`` for an engine that echoes.
        requires_key: Whether the server requires a key.
    """
    key, module = engine_variable(name), f"gatewayx_{name}"
    values = {
        "name": name,
        "title": _class_name(name),
        "module": module,
        "distribution": _distribution_name(name),
        "folder": package_folder(name),
        "key": key,
        "parent": "gatewayx_nb.",
        "url": json.dumps(url),
        "no_key": "" if requires_key else _NO_KEY_ATTRIBUTE.format(key=key),
        "key_line": (_KEY_LINE if requires_key else _NO_KEY_LINE).format(key=key),
        "comment": "A server on this machine replaces the engine's own, to which nothing is sent."
        if url
        else "`ask=True` calls the engine about ten times: delete it once that costs money.",
        "options": "" if url else ", ask=True",
    }
    templates = {
        "pyproject.toml": _PYPROJECT,
        f"{module}.py": _OPENAI_ENGINE if url else _ECHO_ENGINE,
        f"test_{name}.py": _TEST,
        "README.md": _README,
    }
    return {file: text.format_map(values).encode() for file, text in templates.items()}


def _class_name(name: str) -> str:
    title = "".join(part.capitalize() for part in name.split("_"))
    # A class name cannot begin with a digit.
    return f"{title if title[:1].isalpha() else f'N{title}'}Engine"


def _distribution_name(name: str) -> str:
    """Return the normalized name of an engine's package.

    A name must not end in an underscore:
    https://packaging.python.org/en/latest/specifications/name-normalization/
    """
    return f"gatewayx-{re.sub('_+', '-', name).rstrip('-')}"
