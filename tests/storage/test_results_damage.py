"""Results in files that are damaged, foreign, read-only, replaced, or on other file systems."""

import os
import random
import shutil
import sqlite3
import time

import pytest

from gatewayx_nb.errors import ConfigError
from gatewayx_nb.storage import JobFigures, ResultsStore, StoredRow, database, journal
from gatewayx_nb.storage.results_file import MAX_CONTENT, MIGRATIONS, open_to_write
from tests.users import as_nobody

DIGEST = b"\x01" * 16
DAY = 86_400


@pytest.fixture
def path(tmp_path):
    """Return the path of a file that does not exist yet."""
    return tmp_path / ".gatewayx" / "results.sqlite"


def fill(path, *keys, digest=DIGEST, content=b"x", **keywords):
    """Store rows of these keys in a job, and close everything."""
    store = ResultsStore(path, **keywords)
    job = store.open_job(digest, name=digest.hex()[:2])
    assert job.try_drive()
    for key in keys:
        job.put(StoredRow(key, content))
    assert store.close()


def keys(path, digest=DIGEST, **keywords):
    """Return the keys of a job in their order."""
    store = ResultsStore(path, **keywords)
    record = next(record for record in store.jobs() if record.digest == digest)
    job = store.read_job(record)
    found = [row.key for row in job.rows()]
    store.close()
    return found


def set_aside(path):
    """Return the names of the files that were set aside, without their journals."""
    names = (each.name for each in path.parent.glob("results.damaged-*"))
    return [name for name in names if name[-4:] not in ("-wal", "-shm")]


def edit(path, *statements):
    """Change a file as another program might."""
    file = sqlite3.connect(path)
    with file:
        for statement in statements:
            file.execute(statement)
    file.close()


DAMAGES = {
    "no database": lambda path: path.write_bytes(b"x" * 5000),
    "cut off": lambda path: os.truncate(path, 5000),
    "zeros": lambda path: path.write_bytes(bytes(20_000)),
    "another program's": lambda path: edit(
        path, "PRAGMA journal_mode = DELETE", "CREATE TABLE other (a)"
    ),
    "a trigger": lambda path: edit(
        path, "CREATE TRIGGER t AFTER INSERT ON rows BEGIN DELETE FROM rows; END"
    ),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_set_aside(path, damage, caplog):
    """A damaged file is renamed with a warning and not deleted; a new file takes its place."""
    fill(path, *range(100))
    damage(path)
    content = path.read_bytes()
    fill(path, 7)

    (name,) = set_aside(path)
    assert (path.parent / name).read_bytes() == content
    assert "was renamed to" in caplog.text
    assert keys(path) == [7]


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_not_set_aside_by_a_reader(path, damage):
    """Listing jobs raises an error, and changes nothing."""
    fill(path, *range(100))
    damage(path)
    content = path.read_bytes()
    store = ResultsStore(path)
    with pytest.raises(ConfigError, match=r"cannot be read.*mv"):
        store.jobs()

    assert (path.read_bytes(), set_aside(path)) == (content, [])


def test_a_file_that_is_damaged_during_a_job_is_set_aside(path, caplog):
    """Later rows are stored in a new file, in the same job."""
    store = ResultsStore(path)
    job = store.open_job(DIGEST, name="n")
    assert job.try_drive()
    job.put(StoredRow(1, b"x" * 50_000))
    assert job.flush()
    store._file.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(random.Random(1).randbytes(40_000))
    store._file.connection.execute("PRAGMA shrink_memory")
    for key in range(2, 30):
        job.put(StoredRow(key, b"y" * 5_000))
    assert job.flush(30)

    assert job.load() == 28
    assert (job.get(1), job.get(29).content[:1]) == (None, b"y")
    assert store.jobs()[0].name == "n"
    assert len(set_aside(path)) == 1
    assert not ResultsStore(path).open_job(DIGEST).try_drive()
    store.close()


@pytest.mark.parametrize("companion", ["-wal", "-journal", "-shm"])
def test_a_damaged_journal_changes_no_row(path, companion):
    """SQLite ignores a journal without valid checksums."""
    fill(path, 1, 2)
    path.with_name(path.name + companion).write_bytes(random.Random(1).randbytes(70_000))

    assert keys(path) == [1, 2]
    fill(path, 3)
    assert keys(path) == [1, 2, 3]


def test_a_file_from_a_later_version_is_not_changed(path):
    """The file is neither set aside nor written; the error says to upgrade."""
    fill(path, 1)
    edit(path, "PRAGMA journal_mode = DELETE", "CREATE TABLE later (a)")
    edit(path, f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    content = path.read_bytes()
    store = ResultsStore(path)
    for use in (lambda: store.open_job(DIGEST), store.jobs, lambda: store.find("n")):
        with pytest.raises(ConfigError, match=r"later version.*Upgrade gatewayx-nb"):
            use()
    store.close()

    assert (path.read_bytes(), set_aside(path)) == (content, [])


def link(target, path):
    """Replace a path with a symlink to a target."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to(target)


@pytest.mark.parametrize(
    "name",
    ["", "results.sqlite", "results.sqlite-wal", "results.sqlite-journal", "results.locks", "lock"],
)
def test_a_symlink_is_not_followed(path, tmp_path, name):
    """A cloned project may contain a symlink to any of the user's files or folders."""
    fill(path, 1)
    target = tmp_path / "target"
    if name in ("", "results.locks"):
        target.mkdir()
    else:
        target.write_bytes(b"mine")
    places = {"": path.parent, "lock": next(path.parent.glob("results.locks/*"))}
    link(target, places.get(name, path.parent / name))
    store = ResultsStore(path)
    with pytest.raises(ConfigError, match="is a symlink"):
        store.open_job(DIGEST).try_drive()

    assert list(target.iterdir()) == [] if target.is_dir() else target.read_bytes() == b"mine"
    assert store.close()


def test_a_read_only_file_can_be_read(unprivileged):
    """In a read-only folder, the rows are read; a job that would write raises an error."""
    path = unprivileged / "rows" / "results.sqlite"
    unprivileged.chmod(0o777)
    with as_nobody():
        fill(path, 1, 2)
        path.chmod(0o400)
        path.parent.chmod(0o555)
        try:
            assert keys(path) == [1, 2]
            with pytest.raises(ConfigError, match=r"cannot be written.*Free some space"):
                ResultsStore(path).open_job(DIGEST)
        finally:
            path.parent.chmod(0o755)


def test_a_file_that_others_can_read_becomes_private(path):
    """A file that was copied with a wider mode is restricted to its owner."""
    fill(path, 1)
    path.chmod(0o644)
    fill(path, 2)

    assert path.stat().st_mode & 0o777 == 0o600


def test_a_removed_folder_is_created_again(path):
    """Later rows are stored in a new file, not in the removed one."""
    store = ResultsStore(path)
    job = store.open_job(DIGEST, name="n")
    for key in (1, 2):
        job.put(StoredRow(key, b"x"))
        assert job.flush()
        if key == 1:
            shutil.rmtree(path.parent)

    assert keys(path) == [2]
    assert (job.load(), job.get(1)) == (1, None)
    store.close()


def test_another_programs_values_are_made_valid(path):
    """A file's columns may contain anything; an invalid value is replaced by its default."""
    fill(path, 1, 2)
    edit(
        path,
        "UPDATE answers SET outcome = x'ff', content = 'text', retry = 'no'",
        "UPDATE rows SET at = 'now'",
        "UPDATE jobs SET name = 5, definition = '[1]', created = 'x', figures = '{\"done\": -1}'",
        "INSERT INTO rows VALUES (7, 1, 'key', 0), (8, 1, 9.5, 0), (9, 1, NULL, 0)",
        "INSERT INTO jobs (digest) VALUES ('text')",
    )
    store = ResultsStore(path)
    (record,) = store.jobs()

    assert (record.name, record.definition, record.created) == ("", {}, 0.0)
    assert record.figures == JobFigures()
    job = store.read_job(record)
    assert list(job.rows()) == [StoredRow(key, b"", "") for key in (1, 2)]
    store.close()


MOUNTS = """\
server:/home {folder}/my\\040home nfs4 rw 0 0
//nas/x {folder}/smb cifs rw 0 0
host:/ {folder}/my\\040home/host fuse.sshfs rw 0 0
tmpfs {folder}/my\\040home/tmp tmpfs rw 0 0
/dev/vda / ext4 rw 0 0
"""


def test_network_file_systems_are_recognised(tmp_path):
    """The innermost mounted folder counts, even for a path with spaces or a new folder."""
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS.format(folder=tmp_path))
    kinds = {
        name: journal.network_file_system(tmp_path / name / "a" / "b", mounts)
        for name in ("", "my home", "my home/host", "my home/tmp", "my home2", "smb")
    }

    assert list(kinds.values()) == [None, "nfs4", "fuse.sshfs", None, None, "cifs"]
    assert journal.network_file_system(tmp_path, tmp_path / "none") is None


@pytest.mark.parametrize("was_local", [False, True], ids=["new", "made on a local disk"])
def test_a_network_file_system_gets_a_rollback_journal(path, tmp_path, was_local):
    """A write-ahead log is not used on such a system; the description says why."""
    (tmp_path / "mounts").write_text(f"server:/ {tmp_path} nfs rw 0 0\n")
    if was_local:
        fill(path, 1)
    store = ResultsStore(path, mounts=tmp_path / "mounts")
    assert store.describe().journal.mode == "truncate"
    job = store.open_job(DIGEST)
    job.put(StoredRow(2, b"x"))
    assert job.flush()

    assert store.describe().journal == journal.Journal("truncate", "nfs is a network file system")
    assert not path.with_name("results.sqlite-wal").exists()
    assert path.with_name("results.sqlite-journal").exists()
    other = ResultsStore(path, mounts=tmp_path / "mounts")
    other.open_job(b"\x02" * 16).put(StoredRow(3, b"x"))
    assert other.close()
    assert keys(path) == ([1, 2] if was_local else [2])
    store.close()


def test_a_file_system_without_shared_memory_gets_a_rollback_journal(path):
    """SQLite cannot use a write-ahead log without shared memory."""
    path.parent.mkdir()
    opened = database.connect(path, 1, query="mode=rwc&vfs=unix-dotfile")
    assert journal.choose_journal(opened, path).mode == "truncate"
    opened.execute("CREATE TABLE a (b)")
    assert opened.execute("PRAGMA journal_mode").fetchone() == ("truncate",)
    opened.close()


def test_a_row_of_64_megabytes_is_stored(path):
    """The largest row is read as stored; only a larger one is refused."""
    store = ResultsStore(path)
    job, refused = store.open_job(DIGEST), []
    job.on_unstorable = lambda row, error: refused.append((row.key, str(error)))
    large = random.Random(1).randbytes(MAX_CONTENT)
    for key, content in ((1, b"x"), (2, large), (3, large + bytes(100_000)), (4, b"y")):
        job.put(StoredRow(key, content))
    assert job.flush(60)

    assert refused == [(3, "string or blob too big")]
    assert job.get(2).content == large
    assert [row.key for row in job.rows()] == [1, 2, 4]
    assert job.unsaved == 0
    store.close()


@pytest.mark.parametrize(
    "row",
    [
        StoredRow(2**63, b"x"),
        StoredRow(1, b"x", "\ud800"),
        StoredRow(1, None),
        StoredRow(1, ["x"]),
    ],
    ids=["key", "outcome", "no content", "list"],
)
def test_an_invalid_row_is_refused_alone(path, row):
    """The rows before and after it are stored, in their order."""
    store = ResultsStore(path)
    job, refused, durable = store.open_job(DIGEST), [], []
    job.on_unstorable = lambda *arguments: refused.append(arguments)
    job.on_durable = durable.extend
    for each in (*(StoredRow(key, b"x") for key in range(5)), row, StoredRow(5, b"x")):
        job.put(each)
    assert job.flush()

    assert [each for each, _ in refused] == [row]
    assert [each.key for each in durable] == [0, 1, 2, 3, 4, 5]
    store.close()


def test_a_callback_that_raises_stops_nothing(path, caplog):
    """The error is logged, and later rows are stored."""
    store = ResultsStore(path)
    job = store.open_job(DIGEST)
    job.on_durable = lambda _: 1 / 0
    for key in (1, 2):
        job.put(StoredRow(key, b"x"))
        assert job.flush()

    assert "ZeroDivisionError" in caplog.text
    assert keys(path) == [1, 2]
    store.close()


def test_a_forgotten_job_frees_its_space(path):
    """The job's rows are deleted, other jobs' rows stay, and the file shrinks."""
    fill(path, *range(2000), content=b"x" * 1000)
    fill(path, 1, 2, digest=b"\x02" * 16)
    fill(path, *range(2000), digest=b"\x03" * 16, content=b"x" * 1000)
    store = ResultsStore(path)
    follower = store.read_job(store.find("01"))
    assert follower.load() == 2000
    size = store.describe().size
    assert store.forget([store.find("01").id, store.find("03").id, 99]) == 2

    assert [record.name for record in store.jobs()] == ["02"]
    assert store.describe().size < size / 20
    assert follower.get(5) is None
    assert list(follower.rows()) == []
    assert [each.name for each in path.parent.glob("results.locks/*")] == [f"{'02' * 16}.lock"]
    store.close()
    assert keys(path, b"\x02" * 16) == [1, 2]


def test_a_follower_sees_the_rows_after_those_of_a_forgotten_job(path):
    """The numbers of forgotten rows are not used again."""
    store = ResultsStore(path)
    driver, follower = store.open_job(DIGEST), ResultsStore(path).open_job(DIGEST)
    driver.put(StoredRow(1, b"x"))
    assert driver.flush()
    fill(path, *range(50), digest=b"\x02" * 16)
    assert follower.load() == 1
    store.forget([store.find("02").id])
    driver.put(StoredRow(2, b"x"))
    assert driver.flush()

    assert follower.load() == 2
    store.close()


def test_a_running_job_is_not_forgotten(path):
    """Another process may be about to store rows."""
    store = ResultsStore(path)
    job = store.open_job(DIGEST, name="n")
    assert job.try_drive()
    other = ResultsStore(path)

    assert other.forget([other.find("n").id]) == 0
    job.close()
    assert other.forget([other.find("n").id]) == 1
    store.close()


def test_a_forgotten_job_can_be_driven(path):
    """A job that another process has forgotten before its run is created again."""
    store = ResultsStore(path)
    job = store.open_job(DIGEST, name="n")
    ResultsStore(path).forget([store.find("n").id])
    assert job.try_drive()
    job.put(StoredRow(1, b"x"))
    assert job.flush()

    assert keys(path) == [1]
    store.close()


@pytest.fixture
def set_clock(monkeypatch):
    """Return a function that turns the clock forward by a number of days."""
    started = time.time()

    def turn(days):
        monkeypatch.setattr(time, "time", lambda: started + days * DAY)

    turn(0)
    return turn


def test_unused_jobs_are_forgotten(path, set_clock):
    """When the file is opened, jobs that have not been used for `keep_days` days are deleted."""
    fill(path, 1)
    set_clock(20)
    fill(path, 2, digest=b"\x02" * 16)
    set_clock(31)
    fill(path, 3, digest=b"\x03" * 16)
    assert len(ResultsStore(path).jobs()) == 3
    assert [job.name for job in ResultsStore(path).older_than(5)] == ["02", "01"]
    fill(path, 4, digest=b"\x03" * 16, keep_days=30)

    assert [job.name for job in ResultsStore(path).jobs()] == ["03", "02"]
    assert keys(path, b"\x03" * 16) == [3, 4]


def test_a_wrong_clock_forgets_nothing(path, set_clock):
    """If no job has been used for that long, none is deleted until one is used."""
    fill(path, 1)
    fill(path, 2, digest=b"\x02" * 16)
    set_clock(40_000)
    fill(path, 3, keep_days=30)
    assert len(ResultsStore(path).jobs()) == 2
    set_clock(-40_000)
    fill(path, 4, digest=b"\x02" * 16, keep_days=30)

    assert keys(path) == [1, 3]
    assert keys(path, b"\x02" * 16) == [2, 4]
    assert ResultsStore(path).jobs()[0].name == "02"  # the last used one, whatever the clock says


def test_a_damaged_file_is_set_aside_once(path):
    """If another process has replaced the file in the meantime, the new one is kept."""
    fill(path, 1)
    path.write_bytes(b"x" * 5000)
    for _ in range(2):
        open_to_write(path).connection.close()

    assert len(set_aside(path)) == 1
