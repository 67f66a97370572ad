"""Hints name a command or cell option in a notebook, and a file or keyword argument in a script."""

import pytest

from gatewayx_nb import hints
from gatewayx_nb.errors import MissingKeyError
from gatewayx_nb.hints import Hint
from gatewayx_nb.magics.wording import NOTEBOOK


def test_notebook_wording_covers_every_action():
    """The notebook's table has exactly the actions in the script's table."""
    assert NOTEBOOK.keys() == hints.SCRIPT_WORDING.keys()


def test_loading_the_extension_switches_hints_to_notebook_wording(shell):
    """A traceback names the command, and `str(error)` names the variable and file.

    Unloading the extension restores the script wording.
    """
    error = MissingKeyError("engine 'grok' needs a key.", hint=Hint("set_key", engine="grok"))

    assert error._render_traceback_()[1] == "Run `%gatewayx key set grok`."
    assert "GATEWAYX_GROK_API_KEY in the environment or in config/secrets/.env.local" in str(error)
    assert "%gatewayx" not in str(error)

    shell.run_line_magic("unload_ext", "gatewayx_nb")
    try:
        assert "%gatewayx" not in error.describe()
    finally:
        shell.run_line_magic("load_ext", "gatewayx_nb")


@pytest.mark.parametrize(
    ("hint", "text"),
    [
        (
            Hint("set_option", option="temperature", value=0.2),
            "For example, `-t 0.2` or `temperature=0.2`.",
        ),
        (
            Hint("set_option", option="system", value="Be brief."),
            "For example, `-s 'Be brief.'` or `system='Be brief.'`.",
        ),
        (
            Hint("set_option", option="images", value=["plot.png"]),
            "For example, `--image plot.png` or `images=['plot.png']`.",
        ),
        (
            Hint("set_option", option="fresh", value=True),
            "For example, `--fresh` or `fresh=True`.",
        ),
        (
            Hint("set_option", option="params", value={"drop_unsupported": True}),
            "For example, `-p drop_unsupported=true` or `params={'drop_unsupported': True}`.",
        ),
        (
            Hint("set_option", option="top_p", value=0.9),
            "For example, `-p top_p=0.9` or `top_p=0.9`.",
        ),
        (Hint("raise_option", option="max_cost"), "Raise `--max-cost` or `max_cost`."),
        (Hint("omit_option", option="seed"), "Omit `-p seed` or `seed`."),
        (Hint("set_option", option="model", value="grok"), "For example, `model='grok'`."),
        (
            Hint("set_key", engine="grok") | Hint("pull", model="smollm2"),
            "Run `%gatewayx key set grok`. Or run `%gatewayx pull smollm2`.",
        ),
    ],
)
def test_an_option_hint_names_its_flag(hint, text):
    """A hint about an option names the cell's flag, if there is one, and the keyword argument."""
    assert hints.format_hint(hint, NOTEBOOK) == text
