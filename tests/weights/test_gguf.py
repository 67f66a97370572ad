"""The chat template of a GGUF file decides whether a model takes tools."""

import pytest

from gatewayx_nb.weights import takes_tools
from tests.weights.gguf_files import CHATML, TOOLS, metadata

ABLE = {
    "loop": TOOLS,
    "condition": "{%- if tools %}{{ tools }}{% endif %}",
    "test": "{% if tools is not none %}x{% endif %}",
    "after a literal": "{{ 'it\\'s' + (tools | tojson) + \"'\" }}",
}
UNABLE = {
    "chatml": CHATML,
    "text": "You have no tools. {{ messages[0].content }}",
    "literal": "{{ 'You have no tools.' }}{{ \"tools\" }}",
    "comment": "{# tools #}{{ messages }}",
    "other names": "{{ my_tools }}{{ toolset }}",
    "open literal": "{{ 'tools }} tools",
    "empty": "",
}


@pytest.mark.parametrize("name", ABLE)
def test_a_template_that_reads_tools_takes_them(tmp_path, name):
    """A template supports tools wherever it uses the variable."""
    path = tmp_path / "model.gguf"
    path.write_bytes(metadata(default=ABLE[name]))

    assert takes_tools(path)


@pytest.mark.parametrize("name", UNABLE)
def test_a_template_that_only_mentions_tools_takes_none(tmp_path, name):
    """Text, literals and comments with the word do not count."""
    path = tmp_path / "model.gguf"
    path.write_bytes(metadata(default=UNABLE[name]))

    assert not takes_tools(path)


def test_a_second_template_may_be_for_tools(tmp_path):
    """llama.cpp uses it for calls with tools."""
    path = tmp_path / "model.gguf"
    path.write_bytes(metadata(default=CHATML, tool_use=TOOLS))

    assert takes_tools(path)


def test_a_replaced_file_is_read_again(tmp_path):
    """The result is cached until the file changes."""
    path = tmp_path / "model.gguf"
    path.write_bytes(metadata(default=CHATML))
    assert not takes_tools(path)
    path.write_bytes(metadata(default=TOOLS))
    assert takes_tools(path)


@pytest.mark.parametrize("content", [b"", b"GGUF", metadata(default=TOOLS)[:60]])
def test_a_damaged_file_takes_no_tools(tmp_path, content):
    """A damaged file supports no tools; a call to the engine raises the error."""
    path = tmp_path / "model.gguf"
    path.write_bytes(content)

    assert not takes_tools(path)
    assert not takes_tools(tmp_path / "missing.gguf")
