"""Writes the pages of the reference from the code that they describe, and links between pages."""

from __future__ import annotations

import inspect
import json
import posixpath
import re
import tempfile
import textwrap
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gatewayx_nb as gx
from gatewayx_nb import commands, errors, llm_engines, testing
from gatewayx_nb.cli.static_files import shell_parser
from gatewayx_nb.magics import cell
from gatewayx_nb.secure_config import ENGINE_SETTINGS, MCP_SETTINGS, SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

ROOT = Path(__file__).parents[1]

GROUPS: dict[str, tuple[str, ...]] = {
    "Asking": (
        *("ask", "aask", "stream", "astream", "compare", "acompare", "chat", "embed", "aembed"),
        *("preview", "apreview"),
    ),
    "Tools": ("tool", "mcp", "resume", "aresume", "submit", "asubmit"),
    "Many rows": (*("map", "amap", "imap", "aimap", "preview_map", "apreview_map", "job", "jobs"),),
    "Cassettes": ("cassette",),
    "Engines, keys and models": (
        *("status", "models", "health", "ahealth", "use", "pull", "reload", "pool"),
    ),
    "Usage and cost": ("usage", "history"),
    "Evaluation": (
        *("evaluate", "aevaluate", "preview_evaluation", "judge", "prefer", "scorers"),
        *("rows_needed", "load_evaluation", "Evaluation", "Agreement"),
    ),
    "Widgets": ("picker", "compare_view", "evaluation_view"),
    "The extension": ("load_ipython_extension", "unload_ipython_extension"),
    "The pool": ("EnginePool",),
    "Answers": (
        *("Reply", "Chunk", "Usage", "RateLimits", "Citation", "Logprob", "Carried", "Comparison"),
        *("Step", "CallPreview"),
    ),
    "Messages": ("Message", "Image", "ToolCall", "ToolResult", "Chat"),
    "Maps and jobs": ("Job", "MapJob", "BatchJob", "MapStatus", "MapPreview", "MappedReplies"),
    "Tables and their rows": (
        *("Table", "EngineStatus", "EngineHealth", "ModelInfo", "ModelUsage", "UsageTotals"),
        "LedgerEntry",
    ),
    "Other libraries": ("serve", "NotebookServer"),
    "MCP servers": ("MCPServer", "MCPServerStatus", "MCPTool"),
    "Recording": ("Cassette",),
    "Hints": ("Hint",),
    "Engines": ("LLMEngine",),
}
"""The public names except the errors, by the heading under which the reference lists them."""

WHAT_TO_DO: dict[str, str] = {
    "GatewayError": "Catch it to handle every error of this package.",
    "UsageError": "Correct the call or the line; nothing was sent.",
    "ConfigError": "Correct the file that the message names.",
    "MissingKeyError": (
        "Set the key: `%gatewayx key set NAME`, or the variable that the message names."
    ),
    "TrustError": (
        "Read what the project asks for (`%gatewayx trust --show`), then allow it or not."
    ),
    "EngineError": "See the more specific error below.",
    "EngineNotFoundError": "Check the spelling with `%gatewayx status`.",
    "EngineLoadError": "Correct the engine's file; it is reloaded by the next call.",
    "ModelNotFoundError": "Name a model that `%gatewayx models NAME` lists.",
    "UnsupportedFeatureError": "Omit the option, or use an engine that has the feature.",
    "CassetteMissError": "Record the call: run it once in the mode `auto` or `record`.",
    "RequestError": "See the more specific error below; ``partial`` is the text received so far.",
    "AuthenticationError": "Renew the key at the provider, then set it again.",
    "RateLimitError": "Wait; `map` does it for you. Or set `requests_per_minute` for the engine.",
    "QuotaError": "Top up the account at the provider.",
    "BudgetError": "Raise the limit, or lower `max_tokens`; nothing was sent.",
    "ContextLengthError": (
        "Shorten the prompt or the conversation, or use a model with more context."
    ),
    "ContentFilterError": "Rephrase the prompt.",
    "TruncatedError": "Run the call again; ``partial`` is the text received so far.",
    "ProviderError": "Run the call again later; the message quotes the provider.",
    "TransportError": "Check the network, the proxy and the engine's address.",
    "DeadlineError": "Raise `timeout`, or ask for a shorter answer.",
}
"""What to do about each error."""

VARIABLES: dict[str, str] = {
    "GATEWAYX_<NAME>_API_KEY": "The key of an engine.",
    "GATEWAYX_<NAME>_BASE_URL": "The address of an engine's provider.",
    "GATEWAYX_<NAME>_MODEL": "The default model of an engine.",
    "GATEWAYX_HOME": (
        "The project folder, instead of the one that is found from the current folder upwards."
    ),
    "GATEWAYX_ENGINES_PATH": (
        "Further folders of engine files: absolute paths, separated as in `PATH`."
    ),
    "GATEWAYX_STORAGE": "The folder in which the answers of maps are stored.",
    "GATEWAYX_TRUST": (
        "IDs of what a project may do where nobody can be asked, as in CI; separated by commas."
    ),
    "GATEWAYX_CASSETTE_MODE": "The mode of every cassette: `auto`, `record`, `replay` or `off`.",
    "GATEWAYX_CASSETTE_TOOLS": (
        "Whether the tools of a replayed call are run, `run`, or their results are replayed."
    ),
    "GATEWAYX_CASSETTE_REPORT": (
        "The file in which a kernel reports unused cassette entries to the tests."
    ),
    "GATEWAYX_LOCAL_MODEL": "The model that the engine `local` runs.",
    "CI": "If it is set, the default mode of cassettes is `replay`.",
    "XDG_CONFIG_HOME": "The folder of your own settings and keys, in `gatewayx` below it.",
    "XDG_DATA_HOME": "The folder of your own ledger, in `gatewayx` below it.",
}
"""The environment variables that are read, and what each one sets."""


COPIED: dict[str, str] = {
    "changelog.md": "CHANGELOG.md",
    "security.md": "SECURITY.md",
    "contributing.md": "CONTRIBUTING.md",
}
"""Pages that are copies of files of the repository."""

_LINK = re.compile(r"\[([^\]]*)\]\((?!https?:|mailto:|#)([^)\s#]+)(#[^)\s]*)?\)")


def reference() -> dict[str, str]:
    """Return the files of the folder ``docs/reference`` by name; they are committed."""
    pages = {f"{name}.md": _page(page()) for name, page in PAGES.items()}
    return {**pages, "layers.svg": layers_picture()}


def _page(lines: Iterable[str]) -> str:
    """Return the text of a page, with wrapped paragraphs and one empty line between two."""
    wrapped = (
        line if line.startswith(("|", "#", "```")) else _wrap(line)
        for line in "\n".join(lines).splitlines()
    )
    return re.sub(r"\n{3,}", "\n\n", "\n".join(wrapped)).rstrip() + "\n"


def _wrap(line: str) -> str:
    return textwrap.fill(line, 128, break_long_words=False, break_on_hyphens=False)


def write(docs: Path) -> None:
    """Write the pages of the reference, and the copies of files from elsewhere."""
    for name, text in reference().items():
        _write(docs / "reference" / name, text)
    for name, source in COPIED.items():
        text = (docs.parent / source).read_text(encoding="utf-8")
        head = _NO_SEARCH if name == "changelog.md" else ""
        _write(docs / name, head + linked(text, source))
    for notebook in sorted((docs.parent / "notebooks").glob("[0-9]*.ipynb")):
        _write(docs / "notebooks" / notebook.name, _notebook(notebook))


_NO_SEARCH = "---\nnosearch: true\n---\n\n"
"""Front matter of the changelog, which would be the first hit of nearly every search."""


def _write(path: Path, text: str) -> None:
    """Write a file if its text has changed, so that an unchanged page is not built again."""
    path.parent.mkdir(exist_ok=True)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def _notebook(path: Path) -> str:
    """Return a notebook whose text links to pages."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell_ in notebook["cells"]:
        if cell_["cell_type"] == "markdown":
            cell_["source"] = linked("".join(cell_["source"]), f"notebooks/{path.name}")
    return json.dumps(notebook, indent=1, ensure_ascii=False)


def linked(text: str, source: str) -> str:
    """Return Markdown whose links between files of the repository lead to pages of the site.

    A link to a file that is not on the site becomes its text.

    Args:
        text: The Markdown.
        source: The path of its file in the repository.
    """
    folder = posixpath.dirname(page_of(source) or "")

    def link_to_page(link: re.Match[str]) -> str:
        page = page_of(posixpath.normpath(posixpath.join(posixpath.dirname(source), link[2])))
        if page is None:
            return link[1]
        return f"[{link[1]}]({posixpath.relpath(page, folder or '.')}{link[3] or ''})"

    return _LINK.sub(link_to_page, text)


def page_of(path: str) -> str | None:
    """Return the page of the site on which a file of the repository is shown, if there is one."""
    pages = {source: page for page, source in COPIED.items()} | {"README.md": "get_started.md"}
    if path.startswith("notebooks/") and path.endswith(".ipynb"):
        return path
    return pages.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)


def python_page() -> Iterator[str]:
    """Yield the lines of the page on the Python interface."""
    yield "# Python\n"
    yield (
        "Everything here is in the package itself: `import gatewayx_nb as gx`. The functions "
        "call the methods of the same name on the default pool. Options are passed by "
        "keyword.\n"
    )
    for heading, names in GROUPS.items():
        yield f"## {heading}\n"
        yield "| name | what it does |"
        yield "|---|---|"
        for name in names:
            yield f"| `{name}` | {_one_line(getattr(gx, name).__doc__)} |"
        yield ""
        for name in names:
            yield from _autodoc("gatewayx_nb", name, getattr(gx, name))
    yield "## For authors of engines\n"
    yield (
        "These names are in `gatewayx_nb.llm_engines`; an engine file imports them from "
        "`..llm_engines`. [Your own engine](../guides/your_own_engine.md) shows how.\n"
    )
    for name in ("HTTPEngine", "OpenAICompatibleEngine", "OpenAIResponsesEngine"):
        yield from _autodoc("gatewayx_nb.llm_engines", name, getattr(llm_engines, name))
    for name in ("AnthropicMessagesEngine", "GeminiEngine", "CohereChatEngine", "Request"):
        yield from _autodoc("gatewayx_nb.llm_engines", name, getattr(llm_engines, name))
    yield "## For tests\n"
    yield from _autodoc("gatewayx_nb.testing", "check", testing.check)


def _autodoc(module: str, name: str, value: object) -> Iterator[str]:
    if inspect.ismodule(value):  # a namespace of functions
        for each in sorted(value.__all__):
            yield from _autodoc(f"{module}.{name}", each, getattr(value, each))
        return
    kind = "autoclass" if inspect.isclass(value) else "autofunction"
    yield f"```{{eval-rst}}\n.. {kind}:: {module}.{name}"
    yield "```\n"


def errors_page() -> Iterator[str]:
    """Yield the lines of the page on the errors."""
    yield "# Errors\n"
    yield (
        "Every error has a message, and a hint on how to fix it. `error.message` and "
        "`error.hint` hold them, and `error.engine`, `error.model`, `error.status` and "
        "`error.code` say where it came from. `error.help` is the name of its entry in "
        "[Troubleshooting](../troubleshooting.md), which lists errors by what you see. In a "
        "notebook, an error is shown as these three lines, and `%gatewayx help NAME` shows the "
        "entry; `%tb` shows the whole traceback.\n"
    )
    yield "| error | is a | when | what to do | entry |"
    yield "|---|---|---|---|---|"
    for name, advice in WHAT_TO_DO.items():
        kind = getattr(errors, name)
        when = _one_line(kind.__doc__)
        entry = kind("").help
        link = f"[{entry}](../troubleshooting.md#{entry})" if entry else ""
        yield f"| `{name}` | `{kind.__base__.__name__}` | {when} | {_cell(advice)} | {link} |"


def commands_page() -> Iterator[str]:
    """Yield the lines of the page on the magics."""
    yield "# Magics\n"
    yield (
        "`%load_ext gatewayx_nb` adds the line magic `%gatewayx` and the cell magic "
        "`%%gatewayx`; `%gx` and `%%gx` are the same two. `%gatewayx help` shows these lists in"
        " a notebook.\n"
    )
    yield "## `%%gatewayx REF … [options]`\n"
    yield (
        "Sends the lines below to one or several models. `REF` is an engine, such as `grok`, or"
        " an engine and a model, such as `grok:grok-4.6`.\n"
    )
    yield from _options(cell.parser())
    for title, names in commands.GROUPS.items():
        yield f"\n## {title}\n"
        for name in names:
            command = commands.COMMANDS.get(name)
            if command is None:
                continue
            parser = command.parser("%gatewayx")
            yield f"### `{name}`\n"
            yield f"`{parser.synopsis}`\n"
            yield f"{_sentence(command.summary)}\n"
            yield from _options(parser)


def shell_page() -> Iterator[str]:
    """Yield the lines of the page on the command line."""
    yield "# Command line\n"
    yield (
        "`gatewayx` is installed with the package; `python -m gatewayx_nb` is the same. The guide"
        " [In a shell](../guides/shell.md) shows how to use it.\n"
    )
    for title, names in commands.GROUPS.items():
        found = [commands.SHELL_COMMANDS[name] for name in names if name in commands.SHELL_COMMANDS]
        if found:
            yield f"\n## {title}\n"
        for command in found:
            parser = shell_parser(command.name)
            yield f"### `gatewayx {command.name}`\n"
            yield f"`{parser.synopsis}`\n"
            yield f"{_sentence(command.summary)}\n"
            yield from _options(parser)


def _options(parser: Any) -> Iterator[str]:  # noqa: ANN401 - a `LineParser`
    rows = [row for row in parser.table() if any(row)]
    if not rows:
        return
    yield "| | |"
    yield "|---|---|"
    for _, usage, text in rows:
        yield f"| `{_cell(usage)}` | {_cell(text)} |"
    yield ""


def settings_page() -> Iterator[str]:
    """Yield the lines of the page on the settings."""
    yield "# Settings\n"
    yield (
        "Settings are in `config/gatewayx.toml` of a project, and in your own folder,"
        " `~/.config/gatewayx/config/gatewayx.toml`. Every line is optional. A project's settings"
        " take precedence over yours, but of two limits, the lower one applies."
        " `%gatewayx settings` shows the values that apply here, and the files that set them.\n"
    )
    yield "```toml\n# config/gatewayx.toml"
    yield 'default_model = "grok"\n\n[aliases]\nfast = "grok:grok-4.6"\n'
    yield "[limits]\nmax_cost = 5.0\nretries = 3\n\n[engines.grok]\nrequests_per_minute = 600"
    yield "```\n"
    yield "| setting | value | default | meaning |"
    yield "|---|---|---|---|"
    for setting in (*SETTINGS, *ENGINE_SETTINGS, *MCP_SETTINGS):
        default = _default(setting.default)
        yield f"| `{setting.path}` | {_cell(setting.kind.expected)} | {default} | {setting.help} |"
    yield (
        "\n`[aliases]` gives short names to references. `[engines.NAME] headers` adds HTTP headers"
        " to the requests of an engine; `$NAME` in a value is an environment variable. Any other"
        " name in `[engines.NAME]` is an argument of that engine."
    )


def _default(value: object) -> str:
    if value in (None, (), ""):
        return ""
    return f"`{json.dumps(value)}`"


def engines_page() -> Iterator[str]:
    """Yield the lines of the page on the built-in engines."""
    yield "# Engines\n"
    yield (
        "These engines are part of the package. `%gatewayx status` shows which of them can be "
        "called here, and what the others need; `%gatewayx models NAME` lists an engine's "
        "models.\n"
    )
    yield "| engine | default model | key | features |"
    yield "|---|---|---|---|"
    with (
        tempfile.TemporaryDirectory() as home,
        gx.EnginePool(home, {"XDG_CONFIG_HOME": home}) as pool,
    ):
        for row in sorted(pool.status(), key=lambda row: row.name):
            key = "not needed" if row.key == "not needed" else f"`{row.variable}`"
            features = ", ".join(row.features) or "as the server"
            model = f"`{row.model}`" if row.model else "the server's"
            yield f"| `{row.name}` | {model} | {key} | {features} |"
    yield (
        "\n`local` also takes tools if the chat template of its model supports them;"
        " [local models](../guides/local_models.md) names such a model."
    )


def environment_page() -> Iterator[str]:
    """Yield the lines of the page on environment variables."""
    yield "# Environment variables\n"
    yield "| variable | what it sets |"
    yield "|---|---|"
    for name, meaning in VARIABLES.items():
        yield f"| `{name}` | {_cell(meaning)} |"
    yield (
        "\nThe variables of the vendors, such as `XAI_API_KEY`, are read if the one with "
        "`GATEWAYX_` is not set; `[keys] vendor_variables = false` in the settings turns that "
        "off."
    )


def _one_line(text: str | None) -> str:
    first = re.split(r"\n\s*\n", inspect.cleandoc(text or ""))[0]
    return _cell(" ".join(first.split()))


def _cell(text: str) -> str:
    return re.sub(r"``(.+?)``", r"`\1`", text).replace("|", "\\|")


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def layers() -> list[list[str]]:
    """Return the layers of the package, the highest first, as import-linter checks them."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = (
        each for each in settings["tool"]["importlinter"]["contracts"] if each["type"] == "layers"
    )
    return [layer.split(" | ") for layer in contract["layers"]]


def layers_picture() -> str:
    """Return an SVG of the layers: a row for each, with a box for each module or subpackage."""
    boxes = []
    for row, names in enumerate(layers()):
        width = (_WIDTH - _GAP * (len(names) - 1)) / len(names)
        for column, name in enumerate(names):
            x, y = column * (width + _GAP), row * (_HEIGHT + _GAP)
            boxes.append(
                f'<rect x="{x:.0f}" y="{y}" width="{width:.0f}" height="{_HEIGHT}" rx="4"/>'
                f'<text x="{x + width / 2:.0f}" y="{y + _HEIGHT / 2 + 4:.0f}">{name}</text>'
            )
    height = len(layers()) * (_HEIGHT + _GAP)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}">'
        "<style>rect{fill:#8883;stroke:#888}"
        "text{font:12px sans-serif;text-anchor:middle;fill:#222}"
        "@media(prefers-color-scheme:dark){text{fill:#ddd}}</style>"
        f"{''.join(boxes)}</svg>\n"
    )


_WIDTH, _HEIGHT, _GAP = 640, 24, 6
"""Width of the picture, height of a layer, and the gap between two boxes, in pixels."""

PAGES: dict[str, Callable[[], Iterable[str]]] = {
    "python": python_page,
    "magics": commands_page,
    "shell": shell_page,
    "settings": settings_page,
    "engines": engines_page,
    "errors": errors_page,
    "environment": environment_page,
}
"""The pages of the reference, by the name of the file."""
