"""Registers the magics ``%gatewayx`` and ``%%gatewayx`` when a shell loads the extension.

Loading is fast, because the implementation of the magics is imported on first use.
"""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any

from IPython import get_ipython
from IPython.core.magic import no_var_expand
from typing_extensions import override

from gatewayx_nb import hints, magics
from gatewayx_nb.errors import whole_tracebacks
from gatewayx_nb.magics import transforms
from gatewayx_nb.magics.wording import NOTEBOOK

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.completer import CompletionContext, SimpleMatcherResult
    from IPython.core.interactiveshell import InteractiveShell

    from gatewayx_nb.magics.shell_magics import ShellMagics

_EXAMPLES = """
Examples:

    %%gatewayx grok
    Why is the sky blue?                 # calls grok; `%%gatewayx -h` lists the options

    %%gatewayx grok --image fig --schema City --max-cost 0.05
    Which city is this?                  # sends a figure, `parsed` is a City, costs at most $0.05

    %%gatewayx grok anthropic -o both
    Write a haiku about {{topic}}.       # two answers side by side; fills in a variable

    %gatewayx cassette                   # records replies beside the notebook, replays them later

    %gatewayx help                       # lists the commands; `%gatewayx key set grok` sets a key
"""


def _with_examples(magic: Callable[..., Any]) -> Callable[..., Any]:
    """Append the examples to a magic's docstring, to be shown by ``%gatewayx?``."""
    magic.__doc__ = f"{magic.__doc__}\n{_EXAMPLES}"
    return magic


def _with_cell_documentation(magic: Callable[..., Any]) -> Callable[..., Any]:
    """Show the documentation of the cell magic for a line magic while a cell is inspected.

    On Shift-Tab, a kernel passes only the name, without ``%%``, so IPython finds the line magic.
    IPython calls a function's ``getdoc`` to get its documentation.
    """
    magic.getdoc = lambda: (Extension.cell if _inspects_cell() else magic).__doc__  # type: ignore[attr-defined]
    return magic


def _inspects_cell() -> bool:
    """Return whether the front end is inspecting the first line of a ``%%`` cell."""
    kernel = getattr(get_ipython(), "kernel", None)
    request = kernel.get_parent("shell") if kernel else {}
    content = request.get("content", {})
    line = content.get("code", "").partition("\n")[0]
    is_inspected = request.get("msg_type") == "inspect_request"
    return is_inspected and line.startswith("%%") and content["cursor_pos"] <= len(line)


def _expect_changes(*_: object) -> None:
    """Make the first call in a cell check the files, which an earlier cell may have changed.

    During Run All, a cell may start so soon after the last check that the files would not be
    checked again.
    """
    pool_module = sys.modules.get("gatewayx_nb.engine_pool")  # not imported if it is not loaded
    if pool_module is not None:
        pool_module.expect_changes()


class Extension:
    """The magics, input transformers and matchers that are registered with one shell.

    Args:
        shell: The shell.
    """

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell
        self._depth = transforms.Depth()
        in_kernel = getattr(shell, "kernel", None) is not None
        self._call_cell = transforms.CallCell(self._depth if in_kernel else None)
        # The matchers are stored, because `unregister` must remove the same objects.
        self._matchers = _matchers(lambda: self.magics)

    # Without `no_var_expand`, IPython would replace `$name` and `{name}` in the line before the
    # call.
    @_with_cell_documentation
    @_with_examples
    @no_var_expand  # type: ignore[untyped-decorator]
    def line(self, line: str) -> Any:  # noqa: ANN401 - the command's output
        """Run the command in ``%gatewayx …``; `%gatewayx help` lists the commands."""
        return self.magics.line(line)

    @_with_examples
    @no_var_expand  # type: ignore[untyped-decorator]
    def cell(self, line: str, body: str) -> object:
        """Send the lines below as a prompt; `%%gatewayx -h` lists the options."""
        return self.magics.cell(line, body)

    @no_var_expand  # type: ignore[untyped-decorator]
    def tb(self, line: str) -> None:
        """Show the last traceback, even for errors that this package shows without one."""
        with whole_tracebacks():
            self._ipython_tb(line)

    def register(self) -> None:
        """Register the magics with the shell."""
        shell = self._shell
        for name in transforms.NAMES:
            shell.register_magic_function(self.line, "line", name)
            shell.register_magic_function(self.cell, "cell", name)
        setattr(shell, transforms.EXTENSION, self)
        self._ipython_tb = shell.find_line_magic("tb")
        shell.register_magic_function(self.tb, "line", "tb")
        shell.input_transformers_cleanup.append(transforms.keep_question)
        shell.input_transformers_post.extend((self._call_cell, transforms.mark_value))
        shell.Completer.custom_matchers.extend(self._matchers)
        shell.events.register("pre_run_cell", _expect_changes)
        shell.events.register("pre_run_cell", self._depth.enter)
        shell.events.register("post_run_cell", self._depth.leave)

    def unregister(self) -> None:
        """Remove the magics from the shell, stop the jobs and close the engines."""
        shell = self._shell
        for functions in shell.magics_manager.magics.values():
            for name in transforms.NAMES:
                functions.pop(name, None)
        delattr(shell, transforms.EXTENSION)
        shell.register_magic_function(self._ipython_tb, "line", "tb")
        shell.input_transformers_cleanup.remove(transforms.keep_question)
        for transformer in (self._call_cell, transforms.mark_value):
            shell.input_transformers_post.remove(transformer)
        for matcher in self._matchers:
            shell.Completer.custom_matchers.remove(matcher)
        shell.events.unregister("pre_run_cell", _expect_changes)
        shell.events.unregister("pre_run_cell", self._depth.enter)
        shell.events.unregister("post_run_cell", self._depth.leave)
        self.magics.close()

    @functools.cached_property
    def magics(self) -> ShellMagics:
        """The implementation of the magics, imported on first use."""
        return magics.ShellMagics(self._shell)


class _ExclusiveCompletions(list[Any]):
    """A list of completions that suppresses those of other matchers, even if the list is empty."""

    # IPython lets a matcher suppress other matchers only if its own completions are not empty.
    @override
    def __len__(self) -> int:
        return max(1, super().__len__())


def _matchers(get_magics: Callable[[], ShellMagics]) -> list[Callable[..., Any]]:
    """Return the matchers to add to a shell; an empty list on IPython versions before 8.6.

    Versions before 8.6 lack the API. In text with this package's syntax, the completions of other
    matchers are suppressed.
    """
    try:
        from IPython.core.completer import SimpleCompletion, context_matcher
    except ImportError:
        return []

    @context_matcher(identifier="gatewayx")  # type: ignore[untyped-decorator]
    def match(context: CompletionContext) -> SimpleMatcherResult:
        lines_above = context.full_text.split("\n")[: context.cursor_line]
        text = "\n".join([*lines_above, context.line_with_cursor[: context.cursor_position]])
        # Most cells are Python, for which the magics need not be imported.
        completions = get_magics().complete(text) if transforms.uses_magic(text) else None
        if completions is None:
            # Other matchers complete the text as usual.
            return {"completions": []}
        words = _ExclusiveCompletions(
            SimpleCompletion(word, type="gatewayx") for word in completions.words
        )
        return {
            "completions": words,
            "matched_fragment": completions.fragment,
            "suppress": True,
            "ordered": True,
        }

    return [match]


_extensions: dict[int, Extension] = {}
"""The extension of each shell, by the shell's ``id``; to unload, IPython passes only the shell."""


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Load the extension, as ``%load_ext gatewayx_nb`` does; nothing is shown, sent or read."""
    # Loading twice, as when a notebook is run again, must not register everything twice.
    if id(shell) not in _extensions:
        extension = _extensions[id(shell)] = Extension(shell)
        extension.register()
        hints.set_wording(NOTEBOOK)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Unload the extension, as ``%unload_ext gatewayx_nb`` does, and close the engines."""
    extension = _extensions.pop(id(shell), None)
    if extension is not None:
        extension.unregister()
        if not _extensions:
            hints.set_wording()
