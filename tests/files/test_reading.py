"""Limits on the files of a project that are read."""

import os
import tomllib

import pytest

from gatewayx_nb.files import parse_toml, read_limited

_LONG = "a." * 60
_DOTTED = ".".join("a" * 51)


@pytest.mark.parametrize(
    "text",
    [
        ".".join("a" * 50) + " = 1",
        f'a = "{_LONG}"',
        f"a = '{_LONG}'",
        f'a = """{_LONG}\n"""""',
        f"a = '''{_LONG}\n'''''",
        f'a = """\\"""{_LONG}"""',
        f'a = "\\"{_LONG}"',
        f"a = 1 # {_LONG}",
        f'a = "#"\nb = "{_LONG}"',
        f"a = 'x\\'\nb = '{_LONG}'",
        f'a = ""\nb = "{_LONG}"',
        f'["{_LONG}"]',
        "a = [" + "1.5, " * 100 + "]",
        "a = 1\r\nb = 2\r\n",
    ],
)
def test_valid_toml_is_parsed(text):
    """Dots in strings and comments are no parts of a key."""
    assert parse_toml(text) == tomllib.loads(text)


@pytest.mark.parametrize(
    "text",
    [
        f"{_DOTTED} = 1",
        f"[{_DOTTED}]",
        f"[[{_DOTTED}]]",
        f"x = {{ {_DOTTED} = 1 }}",
        _DOTTED.replace(".", " . ") + " = 1",
        _DOTTED.replace("a", '"a"') + " = 1",
        _DOTTED.replace("a", "'#'") + " = 1",
        f'x = "#"\n{_DOTTED} = 1',
        f'x = """"y"""""\n{_DOTTED} = 1',
        f"x = 'y\\'\n{_DOTTED} = 1 # '",
    ],
)
def test_a_key_of_many_parts_is_not_parsed(text):
    """A key of more than 50 parts is not parsed, wherever it is in a valid text."""
    tomllib.loads(text)
    with pytest.raises(ValueError, match="more than 50 parts"):
        parse_toml(text)


@pytest.mark.parametrize("path", ["pipe", "folder", "huge", os.devnull])
def test_only_a_small_regular_file_is_read(tmp_path, path):
    """A pipe, a folder, a device and a huge file are not read."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ValueError, match=r"regular file|1 MiB"):
        read_limited(tmp_path / path)
