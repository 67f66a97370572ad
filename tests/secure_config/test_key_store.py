import os
import stat
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayx_nb.errors import ConfigError
from gatewayx_nb.secure_config import key_store
from tests.users import NOBODY, as_nobody

PRINTABLE = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=60)


@pytest.fixture
def path(tmp_path):
    """Return the path of a key file in an existing folder."""
    path = tmp_path / "config" / "secrets" / ".env.local"
    path.parent.mkdir(parents=True)
    return path


def _mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def _write_private(path, data):
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    path.chmod(0o600)


@settings(max_examples=50, deadline=None)
@given(values=st.lists(PRINTABLE, min_size=20, max_size=20))
def test_any_printable_value_is_read_back_unchanged(tmp_path_factory, values):
    """A printable value is read back as written, including quotes, hashes and dollar signs."""
    path = tmp_path_factory.mktemp("keys") / "config" / "secrets" / ".env.local"
    value_by_name = {f"K{number}": value for number, value in enumerate(values)}

    key_store.write(path, dict.fromkeys(value_by_name, "before # not a comment"))
    key_store.write(path, value_by_name)  # replaces the values above

    assert key_store.read(path) == key_store.KeyFileContent(value_by_name)


@pytest.mark.parametrize("value", ["a\nb", "a\0b", "clé", "a\x7f", "\u202ea", "tab\tcharacter"])
def test_a_value_that_is_not_printable_ascii_is_refused(path, value):
    """A value that is not printable ASCII is refused, and the error does not contain it."""
    with pytest.raises(ConfigError, match="the value of A must be printable ASCII") as error:
        key_store.write(path, {"B": "fine", "A": value})

    assert value not in str(error.value)
    assert not path.exists()


def test_values_are_not_expanded(path):
    """`${HOME}` in a value is not expanded."""
    _write_private(path, 'A=x${HOME}y\nB="${HOME}"\n')

    assert key_store.read(path).values == {"A": "x${HOME}y", "B": "${HOME}"}


def test_the_file_and_its_folder_are_private(path):
    """The key file has mode 0600; its folder has mode 0700 and a .gitignore that ignores all files.

    The lock file is empty.
    """
    key_store.write(path, {"A": "v"})

    assert (_mode(path), _mode(path.parent)) == (0o600, 0o700)
    assert "*" in (path.parent / ".gitignore").read_text().splitlines()
    lock = path.with_name(".env.local.lock")
    assert sorted(path.parent.iterdir()) == [path, lock, path.parent / ".gitignore"]
    assert (lock.stat().st_size, _mode(lock)) == (0, 0o600)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o666])
def test_a_file_that_other_users_can_read_is_made_private(path, caplog, monkeypatch, mode):
    """The mode of a file that other users can read is changed to 0600, with a warning."""
    _write_private(path, "A=v\n")
    path.chmod(mode)
    monkeypatch.chdir(path.parent)

    assert key_store.read(path).values == {"A": "v"}
    assert _mode(path) == 0o600
    assert caplog.messages == [f"{path.name} was readable by others; its mode is now 0600."]


def test_a_mode_that_cannot_be_set_is_reported(path, monkeypatch):
    """If the mode of a readable file cannot be changed, its keys are read with a warning."""
    _write_private(path, "A=v\n")
    path.chmod(0o644)
    monkeypatch.setattr(os, "fchmod", lambda *_: None)

    content = key_store.read(path)

    assert content.values == {"A": "v"}
    assert "is still readable by others" in content.problems[0]


@dataclass
class MalformedFile:
    """A malformed file, and the values and problem read from it."""

    id: str
    data: str | bytes
    values: dict
    problem: str = ""


MALFORMED_FILES = [
    MalformedFile("byte order mark", b"\xef\xbb\xbfA=v\r\nB=w\r\n", {"A": "v", "B": "w"}),
    MalformedFile("only a byte order mark", b"\xef\xbb\xbf", {}),
    MalformedFile("line ends of old Macs", "A=v\rB=w\r", {"A": "v", "B": "w"}),
    MalformedFile("quotes and export", "export A='v'\nB=\"w\"  # why\n", {"A": "v", "B": "w"}),
    MalformedFile("blanks", "\n  A = v \n\n# B=x\n", {"A": "v"}),
    MalformedFile("duplicate name", "A=1\nB=w\nA=2\n", {"A": "2", "B": "w"}, "A on lines 1, 3"),
    MalformedFile("NUL", "A=sk-\0canary\nB=w\n", {"B": "w"}, "on line 1;"),
    MalformedFile("not UTF-8", b"# \xe9\nA=sk-canary\xff\nB=w\n", {"B": "w"}, "on line 2;"),
    MalformedFile(
        "a name with an invisible character",
        "A\u200b=sk-canary\nB=w\n".encode(),
        {"A\u200b": "sk-canary", "B": "w"},
        "has a name on line 1 that contains an invisible character, U+200B ZERO WIDTH SPACE.",
    ),
    MalformedFile(
        "a name in curly quotes",
        "\u201cA\u201d=sk-canary\n".encode(),
        {"\u201cA\u201d": "sk-canary"},
        "has a name on line 1 that is in curly quotes.",
    ),
    MalformedFile("a key alone", "\nsk-canary\nB=w\n", {"B": "w"}, "on line 2;"),
    MalformedFile(
        "an open quotation", "A='sk-canary\nB=w\nC='x'\n", {"B": "w", "C": "x"}, "on line 1;"
    ),
    MalformedFile(
        "many malformed lines",
        "canary canary\n" * 9 + "B=w",
        {"B": "w"},
        "lines 1, 2, 3, 4, 5 and 4 more;",
    ),
]


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        ("A=sk-canary\n".encode("utf-16"), "UTF-16"),
        ("A=sk-canary\n".encode("utf-16-le"), "UTF-16"),
        ("A=sk-canary\n".encode("utf-16-be"), "UTF-16"),
        ("A=sk-canary\n".encode("utf-32"), "UTF-32"),
        (rb"{\rtf1\ansi A=sk-canary}", "rich text"),
    ],
)
def test_the_error_for_another_encoding_names_it(path, data, encoding):
    """UTF-16, in which Notepad and PowerShell save files, is not read as lines without a name."""
    _write_private(path, data)

    with pytest.raises(ConfigError, match=f"must be encoded in UTF-8, got {encoding}") as caught:
        key_store.read(path)
    with pytest.raises(ConfigError, match=encoding):
        key_store.write(path, {"B": "w"})

    assert "canary" not in str(caught.value)
    assert path.read_bytes() == data


@pytest.mark.parametrize("file", MALFORMED_FILES, ids=lambda file: file.id)
def test_malformed_lines_are_reported_by_number(path, file):
    """Malformed lines are reported by number, without their text; other lines are read."""
    _write_private(path, file.data)

    content = key_store.read(path)

    assert content.values == file.values
    assert len(content.problems) == bool(file.problem)
    assert file.problem in "".join(content.problems)
    assert "canary" not in "".join(content.problems)
    assert "\n" not in "".join(content.problems)


REFUSED_FILES = {
    "a folder": (lambda path: path.mkdir(), "is not a regular file. Move it away with `mv "),
    "a pipe": (os.mkfifo, "is not a regular file"),
    "a link": (lambda path: path.symlink_to("/etc/hostname"), "'.env.local' is a symlink"),
    "a dangling link": (lambda path: path.symlink_to("/missing"), "'.env.local' is a symlink"),
    "a link to itself": (lambda path: path.symlink_to(path), "'.env.local' is a symlink"),
    "many lines": (lambda path: path.write_text("A=1\n" * 500_000), "more than 10,000 lines"),
    "many bytes": (
        lambda path: path.write_text("A=" + "x" * 10_000_000),
        "or 1 MiB. Move it away with `mv ",
    ),
}


@pytest.mark.parametrize(("create", "expected_message"), REFUSED_FILES.values(), ids=REFUSED_FILES)
def test_an_invalid_key_file_raises_a_one_line_error(path, create, expected_message):
    """A path that is not a key file raises a one-line error on read and write.

    It is not changed.
    """
    create(path)
    status_before = os.lstat(path)

    for access in (lambda: key_store.read(path), lambda: key_store.write(path, {"A": "v"})):
        with pytest.raises(ConfigError) as error:
            access()
        assert expected_message in str(error.value)
        assert "\n" not in str(error.value)

    assert os.lstat(path).st_ino == status_before.st_ino


@pytest.mark.parametrize("link_name", ["config", "secrets"])
def test_a_symlinked_folder_is_refused(tmp_path, link_name):
    """A symlinked folder is refused, because it could lead to the user's own keys."""
    target_folder = tmp_path / "own" / "config" / "secrets"
    target_folder.mkdir(parents=True)
    _write_private(target_folder / ".env.local", "A=v\n")
    project = tmp_path / "project"
    (project if link_name == "config" else project / "config").mkdir(parents=True)
    link_path, target = {
        "config": (project / "config", target_folder.parent),
        "secrets": (project / "config" / "secrets", target_folder),
    }[link_name]
    link_path.symlink_to(target)

    with pytest.raises(ConfigError, match=f"'{link_name}' is a symlink"):
        key_store.read(project / "config" / "secrets" / ".env.local")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can change the owner of a file")
def test_another_users_file_is_refused(path):
    """A key file owned by another user is refused."""
    _write_private(path, "A=v\n")
    os.chown(path, NOBODY, NOBODY)

    with pytest.raises(ConfigError, match="another user"):
        key_store.read(path)


@pytest.mark.parametrize("unreadable", ["file", "folder"])
def test_a_file_without_read_permission_raises_a_one_line_error(unprivileged, unreadable):
    """An unreadable file or folder raises a one-line error with the `chmod` that fixes it."""
    path = unprivileged / "config" / "secrets" / ".env.local"
    path.parent.mkdir(parents=True)
    _write_private(path, "A=v\n")
    (path if unreadable == "file" else path.parent).chmod(0)

    with as_nobody(), pytest.raises(ConfigError, match=r"Permission denied.* `chmod 600"):
        key_store.read(path)


def test_a_read_only_folder_raises_a_one_line_error(unprivileged):
    """Writing into a read-only folder raises a one-line error that offers two remedies."""
    (unprivileged / "config").mkdir(mode=0o555)

    with (
        as_nobody(),
        pytest.raises(
            ConfigError, match=r"cannot be written: .*chmod u.w .*the key file of the user folder"
        ),
    ):
        key_store.write(unprivileged / "config" / "secrets" / ".env.local", {"A": "w"})


def test_a_file_at_the_folders_path_raises_a_one_line_error(tmp_path):
    """If `config` is a file, writing a key raises a one-line error."""
    (tmp_path / "config").write_text("mine")

    with pytest.raises(ConfigError, match=r"cannot be written: Not a directory"):
        key_store.write(tmp_path / "config" / "secrets" / ".env.local", {"A": "v"})


def test_comments_order_and_unknown_lines_are_kept(path):
    """Setting a key keeps comments, the order, `export` and unknown lines, byte by byte."""
    _write_private(path, b"# \xe9\r\nB=2\r\nexport A='old'  # why\r\n\r\nnot a line\r\nA=3\r\nC=3")

    key_store.write(path, {"A": "new", "D": "#4"})

    assert path.read_bytes() == (
        b"# \xe9\r\nB=2\r\nexport A=new  # why\r\n\r\nnot a line\r\nC=3\r\nD='#4'\r\n"
    )
    assert key_store.remove(path, "B")
    assert path.read_bytes().startswith(b"# \xe9\r\nexport A=new  # why\r\n")


def test_a_byte_order_mark_is_kept(path):
    """A byte order mark is kept, even if the first line is replaced."""
    _write_private(path, b"\xef\xbb\xbfA=1\nB=2\n")

    key_store.write(path, {"A": "3"})

    assert path.read_bytes() == b"\xef\xbb\xbfA=3\nB=2\n"


def test_removing_a_name_deletes_all_its_lines(path):
    """Removing a name deletes its lines and returns whether there were any."""
    _write_private(path, "A=1\nB=2\nA=3\n")

    assert key_store.remove(path, "A")
    assert not key_store.remove(path, "A")
    assert path.read_text() == "B=2\n"


def test_a_missing_file_has_no_keys(tmp_path):
    """Reading a missing file returns no keys and does not create it."""
    path = tmp_path / "secrets" / ".env.local"

    assert key_store.read(path) == key_store.KeyFileContent({})
    assert not key_store.remove(path, "A")
    assert not list(tmp_path.iterdir())
