import os
import stat
import time
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


def _holding(path, data):
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    path.chmod(0o600)


@settings(max_examples=50, deadline=None)
@given(values=st.lists(PRINTABLE, min_size=20, max_size=20))
def test_a_thousand_printable_values_come_back(tmp_path_factory, values):
    """Any printable value is read back as written, quotes, hashes and dollars included.

    This applies to new and to replaced values.
    """
    path = tmp_path_factory.mktemp("keys") / "config" / "secrets" / ".env.local"
    named = {f"K{number}": value for number, value in enumerate(values)}

    key_store.write(path, dict.fromkeys(named, "before # not a comment"))
    key_store.write(path, named)

    assert key_store.read(path) == key_store.KeyFileContent(named)


@pytest.mark.parametrize("value", ["a\nb", "a\0b", "clé", "a\x7f", "\u202ea", "tab\tbed"])
def test_a_value_that_is_not_printable_ascii_is_refused_without_echo(path, value):
    """A value with other characters is refused without an echo, and the file is unchanged."""
    with pytest.raises(ConfigError, match="the value of A must be printable ASCII") as caught:
        key_store.write(path, {"B": "fine", "A": value})

    assert value not in str(caught.value)
    assert not path.exists()


def test_values_are_not_expanded(path):
    """Values are not expanded: `${HOME}` in a key is seven characters."""
    _holding(path, 'A=x${HOME}y\nB="${HOME}"\n')

    assert key_store.read(path).values == {"A": "x${HOME}y", "B": "${HOME}"}


def test_the_file_and_its_folder_are_private(path):
    """The file has mode 0600, its folder 0700 and a .gitignore for everything in it.

    The lock file is empty.
    """
    key_store.write(path, {"A": "v"})

    assert (_mode(path), _mode(path.parent)) == (0o600, 0o700)
    assert "*" in (path.parent / ".gitignore").read_text().splitlines()
    lock = path.with_name(".env.local.lock")
    assert sorted(path.parent.iterdir()) == [path, lock, path.parent / ".gitignore"]
    assert (lock.stat().st_size, _mode(lock)) == (0, 0o600)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o666])
def test_a_file_that_others_can_read_is_narrowed(path, caplog, monkeypatch, mode):
    """A file that others can read is changed to mode 0600, with a warning."""
    _holding(path, "A=v\n")
    path.chmod(mode)
    monkeypatch.chdir(path.parent)

    assert key_store.read(path).values == {"A": "v"}
    assert _mode(path) == 0o600
    assert caplog.messages == [f"{path.name} was readable by others; it is 0600 now."]


def test_a_file_whose_mode_cannot_be_set_has_a_warning(path, monkeypatch):
    """Where modes have no effect, the keys are read with a warning: nothing else can be done."""
    _holding(path, "A=v\n")
    path.chmod(0o644)
    monkeypatch.setattr(os, "fchmod", lambda *_: None)

    read = key_store.read(path)

    assert read.values == {"A": "v"}
    assert "stays readable by others" in read.problems[0]


@dataclass
class Odd:
    """A malformed file, and the values and problem read from it."""

    id: str
    data: str | bytes
    values: dict
    problem: str = ""


ODD = [
    Odd("byte order mark", b"\xef\xbb\xbfA=v\r\nB=w\r\n", {"A": "v", "B": "w"}),
    Odd("nothing but a byte order mark", b"\xef\xbb\xbf", {}),
    Odd("line ends of old Macs", "A=v\rB=w\r", {"A": "v", "B": "w"}),
    Odd("quotes and export", "export A='v'\nB=\"w\"  # why\n", {"A": "v", "B": "w"}),
    Odd("blanks", "\n  A = v \n\n# B=x\n", {"A": "v"}),
    Odd("twice", "A=1\nB=w\nA=2\n", {"A": "2", "B": "w"}, "A in lines 1, 3"),
    Odd("NUL", "A=sk-\0canary\nB=w\n", {"B": "w"}, "in line 1;"),
    Odd("not UTF-8", b"# \xe9\nA=sk-canary\xff\nB=w\n", {"B": "w"}, "in line 2;"),
    Odd("UTF-16", "A=sk-canary\n".encode("utf-16"), {}, "no NAME=VALUE in line"),
    Odd("a key alone", "\nsk-canary\nB=w\n", {"B": "w"}, "in line 2;"),
    Odd("an open quotation", "A='sk-canary\nB=w\nC='x'\n", {"B": "w", "C": "x"}, "in line 1;"),
    Odd("many", "canary canary\n" * 9 + "B=w", {"B": "w"}, "lines 1, 2, 3, 4, 5 and 4 more;"),
]


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd.id)
def test_invalid_lines_are_reported_by_number_and_the_rest_is_read(path, odd):
    """Each malformed line is one problem without its text, and the other lines are read."""
    _holding(path, odd.data)

    read = key_store.read(path)

    assert read.values == odd.values
    assert len(read.problems) == bool(odd.problem)
    assert odd.problem in "".join(read.problems)
    assert "canary" not in "".join(read.problems)
    assert "\n" not in "".join(read.problems)


REFUSED = {
    "a folder": (lambda path: path.mkdir(), "is not a regular file. Move it away, `mv "),
    "a pipe": (os.mkfifo, "is not a regular file"),
    "a link": (lambda path: path.symlink_to("/etc/hostname"), "'.env.local' is a symlink"),
    "a link to nothing": (lambda path: path.symlink_to("/nowhere"), "'.env.local' is a symlink"),
    "a link to itself": (lambda path: path.symlink_to(path), "'.env.local' is a symlink"),
    "many lines": (lambda path: path.write_text("A=1\n" * 500_000), "more than 10,000 lines"),
    "many bytes": (
        lambda path: path.write_text("A=" + "x" * 10_000_000),
        "or 1 MiB. Move it away, `mv ",
    ),
}


@pytest.mark.parametrize(("make", "expected_message"), REFUSED.values(), ids=REFUSED)
def test_an_invalid_key_file_raises_a_one_line_error(path, make, expected_message):
    """A path that is not a key file raises a one-line error on read and write.

    It is not changed.
    """
    make(path)
    before = os.lstat(path)
    start = time.monotonic()

    for act in (lambda: key_store.read(path), lambda: key_store.write(path, {"A": "v"})):
        with pytest.raises(ConfigError) as caught:
            act()
        assert expected_message in str(caught.value)
        assert "\n" not in str(caught.value)

    assert time.monotonic() - start < 1
    assert os.lstat(path).st_ino == before.st_ino


@pytest.mark.parametrize("linked", ["config", "secrets"])
def test_a_folder_that_is_a_link_is_refused(tmp_path, linked):
    """A symlinked folder is refused: a project could pass the user's keys off as its own."""
    own = tmp_path / "own" / "config" / "secrets"
    own.mkdir(parents=True)
    _holding(own / ".env.local", "A=v\n")
    project = tmp_path / "project"
    (project if linked == "config" else project / "config").mkdir(parents=True)
    link, target = {
        "config": (project / "config", own.parent),
        "secrets": (project / "config" / "secrets", own),
    }[linked]
    link.symlink_to(target)

    with pytest.raises(ConfigError, match=f"'{linked}' is a symlink"):
        key_store.read(project / "config" / "secrets" / ".env.local")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file to somebody else")
def test_a_file_of_somebody_else_is_refused(path):
    """A key file owned by another user is refused."""
    _holding(path, "A=v\n")
    os.chown(path, NOBODY, NOBODY)

    with pytest.raises(ConfigError, match="another user"):
        key_store.read(path)


@pytest.mark.parametrize("locked", ["file", "folder"])
def test_a_file_without_read_permission_is_one_line(unprivileged, locked):
    """An unreadable file or folder raises a one-line error that says how to gain access."""
    path = unprivileged / "config" / "secrets" / ".env.local"
    path.parent.mkdir(parents=True)
    _holding(path, "A=v\n")
    (path if locked == "file" else path.parent).chmod(0)

    with as_nobody(), pytest.raises(ConfigError, match=r"Permission denied.* `chmod 600"):
        key_store.read(path)


def test_a_folder_that_cannot_be_written_is_one_line(unprivileged):
    """A read-only folder raises a one-line error with a way out, and nothing is created."""
    (unprivileged / "config").mkdir(mode=0o555)

    with (
        as_nobody(),
        pytest.raises(
            ConfigError, match=r"cannot be written: .*chmod u.w .*the key file of the user folder"
        ),
    ):
        key_store.write(unprivileged / "config" / "secrets" / ".env.local", {"A": "w"})


def test_a_file_in_the_place_of_a_folder_is_one_line(tmp_path):
    """A file at the folder's path raises a one-line error that names it."""
    (tmp_path / "config").write_text("mine")

    with pytest.raises(ConfigError, match=r"cannot be written: Not a directory"):
        key_store.write(tmp_path / "config" / "secrets" / ".env.local", {"A": "v"})


def test_comments_order_and_unknown_lines_stay(path):
    """Setting a key keeps all other bytes, such as comments, order, `export` and unknown lines."""
    _holding(path, b"# \xe9\r\nB=2\r\nexport A='old'  # why\r\n\r\nnot a line\r\nA=3\r\nC=3")

    key_store.write(path, {"A": "new", "D": "#4"})

    assert path.read_bytes() == (
        b"# \xe9\r\nB=2\r\nexport A=new  # why\r\n\r\nnot a line\r\nC=3\r\nD='#4'\r\n"
    )
    assert key_store.remove(path, "B")
    assert path.read_bytes().startswith(b"# \xe9\r\nexport A=new  # why\r\n")


def test_a_byte_order_mark_stays_at_the_head(path):
    """A byte order mark stays first, even if the first line is set."""
    _holding(path, b"\xef\xbb\xbfA=1\nB=2\n")

    key_store.write(path, {"A": "3"})

    assert path.read_bytes() == b"\xef\xbb\xbfA=3\nB=2\n"


def test_a_name_is_removed_with_its_lines(path):
    """Removing a name deletes only its lines; the result says whether it was there."""
    _holding(path, "A=1\nB=2\nA=3\n")

    assert key_store.remove(path, "A")
    assert not key_store.remove(path, "A")
    assert path.read_text() == "B=2\n"


def test_a_missing_file_holds_nothing(tmp_path):
    """Reading a missing file returns no keys and does not create it."""
    path = tmp_path / "secrets" / ".env.local"

    assert key_store.read(path) == key_store.KeyFileContent({})
    assert not key_store.remove(path, "A")
    assert not list(tmp_path.iterdir())
