import os
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayx_nb.errors import ConfigError
from gatewayx_nb.secure_config import keyfile

PRINTABLE = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=60)


@pytest.fixture
def path(tmp_path):
    """Give the place of a key file; its folder is not there yet."""
    return tmp_path / "secrets" / ".env.local"


def _mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@given(value=PRINTABLE)
def test_every_printable_value_comes_back(tmp_path_factory, value):
    """Quotes, hashes, dollars and backslashes are part of a key."""
    path = tmp_path_factory.mktemp("keys") / ".env.local"

    keyfile.write(path, "A_KEY", "before")
    keyfile.write(path, "A_KEY", value)

    assert keyfile.read(path) == {"A_KEY": value}


def test_values_are_not_expanded(path, monkeypatch):
    """`${HOME}` in a key is six characters of the key."""
    keyfile.write(path, "A_KEY", "x${HOME}y")

    assert keyfile.read(path) == {"A_KEY": "x${HOME}y"}


def test_the_file_and_its_folder_are_private(path):
    """0600 in 0700, with a .gitignore of everything."""
    keyfile.write(path, "A_KEY", "v")

    assert (_mode(path), _mode(path.parent)) == (0o600, 0o700)
    assert "*" in (path.parent / ".gitignore").read_text().splitlines()
    assert sorted(file.name for file in path.parent.iterdir()) == [".env.local", ".gitignore"]


def test_a_file_that_others_can_read_is_narrowed(path, caplog):
    """It is read, narrowed to 0600, and that is said."""
    keyfile.write(path, "A_KEY", "v")
    path.chmod(0o644)

    assert keyfile.read(path) == {"A_KEY": "v"}
    assert _mode(path) == 0o600
    assert "0600" in caplog.text


def test_comments_order_and_unknown_lines_stay(path):
    """Only the line of the name changes."""
    path.parent.mkdir()
    path.write_text("# mine\nB=2\nexport A_KEY='old'  # why\n\nnot a line\nC=3")
    path.chmod(0o600)

    keyfile.write(path, "A_KEY", "new")
    keyfile.write(path, "D", "4")

    assert path.read_text() == "# mine\nB=2\nA_KEY=new\n\nnot a line\nC=3\nD=4\n"


def test_a_name_is_removed_with_its_line(path):
    """Nothing else is; what is not there is said not to be."""
    keyfile.write(path, "A", "1")
    keyfile.write(path, "B", "2")

    assert keyfile.remove(path, "A")
    assert not keyfile.remove(path, "A")
    assert path.read_text() == "B=2\n"


def test_a_missing_file_holds_nothing(path):
    """No file is no error, and is not made by reading."""
    assert keyfile.read(path) == {}
    assert not keyfile.remove(path, "A")
    assert not path.exists()


def test_a_link_is_refused(path, tmp_path):
    """Else a project could make us read, or write, a file of its choice."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("A_KEY=v\n")
    path.parent.mkdir()
    path.symlink_to(elsewhere)

    with pytest.raises(ConfigError, match="is a link"):
        keyfile.read(path)
    with pytest.raises(ConfigError, match="is a link"):
        keyfile.write(path, "A_KEY", "w")
    assert elsewhere.read_text() == "A_KEY=v\n"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file to somebody else")
def test_a_file_of_somebody_else_is_refused(path):
    """What another user wrote is no key of ours."""
    keyfile.write(path, "A_KEY", "v")
    os.chown(path, 12345, 12345)

    with pytest.raises(ConfigError, match="another user"):
        keyfile.read(path)


@pytest.mark.parametrize(
    "make",
    [lambda path: path.mkdir(), lambda path: path.write_bytes(b"A=\xff\xfe")],
    ids=["folder", "bytes"],
)
def test_what_is_no_text_file_is_an_error_of_one_line(path, make):
    """A folder or bytes in its place are named, with what to do."""
    path.parent.mkdir()
    make(path)

    with pytest.raises(ConfigError, match="key set") as caught:
        keyfile.read(path)
    assert "\n" not in str(caught.value)


def test_bom_and_windows_line_ends_are_read(path):
    """Editors on Windows write both."""
    path.parent.mkdir()
    path.write_bytes(b"\xef\xbb\xbfA_KEY=v\r\nB=w\r\n")
    path.chmod(0o600)

    assert keyfile.read(path) == {"A_KEY": "v", "B": "w"}
