"""The store on a real disk: hits and misses, damage, pruning, and two who make one thing."""

import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from imagekit.errors import BuildError, ToolError, TryAgainError
from imagekit.sparse import BLOCK, BlockMap, digest_file, map_blocks
from imagekit.store import Store, Stored, full_disk, map_path

KEY = "a" * 64
OTHER = "b" * 64


def nothing() -> None:
    return


def make(
    store: Store, key: str = KEY, content: bytes = b"content", said: list[str] | None = None
) -> tuple[Stored, bool]:
    """Make a key in the store; `said` gets the reason for making it, and the warnings."""
    said = [] if said is None else said

    def produce(out: Path, reason: str) -> None:
        said.append(reason)
        out.write_bytes(content)

    with store.in_use():
        return store.make(
            key, "step", produce, waiting=nothing, damaged=lambda what: said.append(f"warned: {what}")
        )


def blob(store: Store, content: bytes = b"content") -> Path:
    return make(store, content=content)[0].path


def restored(path: Path, data: bytes) -> None:
    """Write into a file and set its times back, as a failing disk does."""
    status = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def aged(path: Path, seconds: float) -> None:
    os.utime(path, (time.time() - seconds,) * 2)


def test_made_once_and_found_after(store: Store) -> None:
    said: list[str] = []
    stored, cached = make(store, said=said)
    assert (stored.path.read_bytes(), cached) == (b"content", False)
    assert stored.digest == digest_file(stored.path) == stored.path.name
    assert stored.blocks() == map_blocks(stored.path)
    assert make(store, said=said) == (stored, True)
    assert make(Store(store.root), said=said) == (stored, True)
    assert said == ["never made with these inputs and settings"]
    assert stored.path.stat().st_mode & 0o777 == 0o444


def test_equal_results_are_one_blob(store: Store) -> None:
    first, _ = make(store, KEY)
    second, cached = make(store, OTHER)
    assert (first, cached) == (second, False)
    assert len(list((store.root / "blobs").iterdir())) == 2
    assert [(key, record.digest) for key, record in store.records()] == [
        (KEY, first.digest),
        (OTHER, first.digest),
    ]
    # The first record's inode is gone with the first copy; the bytes are the same.
    assert store.find(KEY).result == first


def test_holes_stay_holes(store: Store) -> None:
    def produce(out: Path, _reason: str) -> None:
        with out.open("wb") as file:
            file.truncate(1 << 40)

    with store.in_use():
        stored, _ = store.make(KEY, "step", produce, waiting=nothing, damaged=print)
    assert stored.blocks() == BlockMap(1 << 40, ())
    assert store.size() < BLOCK


def test_nothing_is_left_of_a_failure(store: Store) -> None:
    def produce(out: Path, _reason: str) -> None:
        out.write_text("half")
        raise ToolError("it broke")

    with store.in_use(), pytest.raises(ToolError):
        store.make(KEY, "step", produce, waiting=nothing, damaged=print)
    assert [*(store.root / "tmp").iterdir(), *(store.root / "blobs").iterdir(), *store.records()] == []
    assert make(store)[1] is False


@pytest.mark.parametrize(
    "how, reason, warned",
    [
        ("pruned", "made before, and pruned since", False),
        ("damaged", "the cached result was damaged", True),
        ("cut off", "the cached result was damaged", True),
        ("no map", "the cached result has lost its block map", True),
        ("bad map", "the cached result has lost its block map", True),
        ("torn record", "never made with these inputs and settings", False),
        ("empty record", "never made with these inputs and settings", False),
        ("other record", "never made with these inputs and settings", False),
    ],
)
def test_reasons_to_make_it_again(store: Store, how: str, reason: str, warned: bool) -> None:
    path = blob(store)
    record = store.root / "results" / KEY
    match how:
        case "pruned":
            path.unlink()
        case "damaged":
            path.chmod(0o644)
            path.write_bytes(b"CONTENT")
        case "cut off":
            path.chmod(0o644)
            os.truncate(path, 3)
        case "no map":
            map_path(path).unlink()
        case "bad map":
            map_path(path).write_bytes(map_path(path).read_bytes()[:-1] + b"\0")
        case "torn record":
            record.write_bytes(record.read_bytes()[:20])
        case "empty record":
            record.write_bytes(b"")
        case "other record":
            record.write_text('{"step": "step"}')
    said: list[str] = []
    stored, cached = make(store, said=said)
    assert (stored.path.read_bytes(), cached) == (b"content", False)
    assert said == ([f"warned: {reason}"] if warned else []) + [reason]
    assert make(store)[1] is True
    assert stored.blocks() == map_blocks(stored.path)


def test_a_touched_or_moved_blob_is_hashed_and_kept(store: Store, tmp_path: Path) -> None:
    path = blob(store)
    os.utime(path)
    assert make(store)[1] is True
    (tmp_path / "moved").write_bytes(path.read_bytes())
    (tmp_path / "moved").replace(path)
    assert make(store)[1] is True
    (record,) = [record for _, record in store.records()]
    assert (record.inode, record.mtime_ns) == (path.stat().st_ino, path.stat().st_mtime_ns)


def test_rot_with_the_old_times_is_found_by_verify(store: Store) -> None:
    path = blob(store)
    restored(path, b"CONTENT")
    assert make(store)[1] is True, "a hit does not hash"
    (item,) = store.verify()
    digest, damage = item
    assert damage is not None
    assert (digest, damage.digest) == (path.name, path.name)
    assert damage.found not in {"", digest}
    assert not path.exists()
    assert not map_path(path).exists()
    assert make(store)[0].path.read_bytes() == b"content"
    assert [damage for _, damage in store.verify()] == [None]


def test_verify_writes_a_lost_map_anew(store: Store) -> None:
    path = blob(store)
    map_path(path).unlink()
    assert list(store.verify()) == [(path.name, None)]
    assert make(store)[1] is True


def test_pruning_by_size_takes_the_longest_unused(store: Store) -> None:
    paths = [make(store, str(number) * 64, bytes([number + 1]) * 8192)[0].path for number in range(4)]
    for number, path in enumerate(paths):
        aged(map_path(path), 3000 - 100 * number)
    count, freed = store.prune(keep_bytes=2 * 8192)
    assert (count, freed) == (2, 2 * 8192)
    assert [path.exists() for path in paths] == [False, False, True, True]
    assert [key for key, _ in store.records()] == ["2" * 64, "3" * 64]
    assert store.size() == 2 * 8192
    assert not list((store.root / "locks").iterdir())


def test_pruning_by_age_and_a_use_that_saves(store: Store) -> None:
    old, used = blob(store, b"old"), make(store, OTHER, b"used")[0].path
    for path in (old, used):
        aged(map_path(path), 3 * 86400)
    make(store, OTHER)
    assert store.prune(max_age=86400)[0] == 1
    assert (old.exists(), used.exists()) == (False, True)
    assert store.prune(max_age=86400) == (0, 0)


def test_pruning_everything_takes_what_kills_left_too(store: Store) -> None:
    path = blob(store)
    (store.root / "blobs" / ("c" * 64)).write_text("no record, no map")
    (store.root / "blobs" / ("d" * 64 + ".map")).write_text("no blob")
    assert store.prune(keep_bytes=0)[0] == 2
    assert not list((store.root / "blobs").iterdir())
    assert not path.exists()


def test_no_pruning_while_in_use(store: Store) -> None:
    with store.in_use(), store.in_use(), pytest.raises(TryAgainError, match="in use") as caught:
        Store(store.root).prune(keep_bytes=0)
    assert caught.value.exit_code == 75
    assert store.prune(keep_bytes=0) == (0, 0)


def test_two_threads_make_one_key_once(store: Store) -> None:
    begun, go_on = threading.Event(), threading.Event()
    waited: list[str] = []

    def slow(out: Path, _reason: str) -> None:
        begun.set()
        assert go_on.wait(20)
        out.write_bytes(b"content")

    def second(_out: Path, _reason: str) -> None:
        pytest.fail("made twice")

    def waiting() -> None:
        waited.append("waited")
        go_on.set()

    with store.in_use(), ThreadPoolExecutor(2) as pool:
        one = pool.submit(store.make, KEY, "step", slow, waiting=nothing, damaged=print)
        assert begun.wait(20)
        two = pool.submit(store.make, KEY, "step", second, waiting=waiting, damaged=print)
        assert (one.result()[1], two.result()[1]) == (False, True)
        assert one.result()[0] == two.result()[0]
    assert waited == ["waited"]


def test_a_wait_that_is_given_up(store: Store) -> None:
    begun, go_on, unwanted = threading.Event(), threading.Event(), threading.Event()

    def slow(out: Path, _reason: str) -> None:
        begun.set()
        go_on.wait(20)
        out.write_bytes(b"content")

    with store.in_use(), ThreadPoolExecutor(1) as pool:
        one = pool.submit(store.make, KEY, "step", slow, waiting=nothing, damaged=print)
        assert begun.wait(20)
        with pytest.raises(TryAgainError, match="given up"):
            store.make(KEY, "step", slow, waiting=unwanted.set, damaged=print, unwanted=unwanted.is_set)
        go_on.set()
        assert one.result()[1] is False


MAKER = """
import sys, time
from pathlib import Path
from imagekit.store import Store
def produce(out, reason):
    print("making", flush=True)
    sys.stdin.readline()
    out.write_bytes(b"content")
store = Store(Path(sys.argv[1]))
with store.in_use():
    made = store.make("a" * 64, "step", produce, waiting=lambda: print("waiting", flush=True), damaged=print)
print("cached" if made[1] else "made", flush=True)
"""

Start = Callable[[], "subprocess.Popen[str]"]


@pytest.fixture
def maker(store: Store) -> Start:
    """Return a function that starts a process which makes KEY once a line comes to its stdin."""

    def start() -> "subprocess.Popen[str]":
        argv = [sys.executable, "-c", MAKER, str(store.root)]
        return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    return start


def said(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_two_processes_make_one_key_once(maker: Start) -> None:
    with maker() as one:
        assert said(one) == "making"
        with maker() as two:
            assert said(two) == "waiting"
            assert one.communicate("\n", 20)[0] == "made\n"
            assert two.communicate(timeout=20)[0] == "cached\n"


def test_who_waits_takes_over_from_the_killed(store: Store, maker: Start) -> None:
    with maker() as one:
        assert said(one) == "making"
        with maker() as two:
            assert said(two) == "waiting"
            one.kill()
            assert said(two) == "making"
            assert two.communicate("\n", 20)[0] == "made\n"
    assert len(list((store.root / "tmp").iterdir())) == 1, "the killed one's work"
    with store.in_use():
        assert not list((store.root / "tmp").iterdir())


def test_the_work_of_the_living_is_not_swept(store: Store, maker: Start) -> None:
    with maker() as process:
        assert said(process) == "making"
        with store.in_use():
            assert len(list((store.root / "tmp").iterdir())) == 1
        assert process.communicate("\n", 20)[0] == "made\n"
    assert not list((store.root / "tmp").iterdir())


@pytest.mark.parametrize(
    "name, lock, age, swept",
    [
        ("dead", True, 0, True),
        ("half-removed", False, 0, True),
        ("new-dead", True, 4000, True),
        ("new-dead", False, 4000, True),
        ("new-born", False, 0, False),
    ],
)
def test_sweeping(store: Store, name: str, lock: bool, age: float, swept: bool) -> None:
    folder = store.root / "tmp" / name
    (folder / "staged" / "below").mkdir(parents=True)
    if lock:
        (folder / "lock").touch()
    aged(folder, age)
    with store.in_use():
        assert folder.exists() != swept


def test_sweeping_leaves_what_is_locked(store: Store) -> None:
    folder = store.root / "tmp" / "living"
    folder.mkdir()
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with store.in_use():
            assert folder.exists()
    with store.in_use():
        assert not folder.exists()


def test_a_relative_cache_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tools run in folders of their own."""
    monkeypatch.chdir(tmp_path)
    assert Store(Path("here")).root == tmp_path / "here"


def test_a_cache_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BuildError, match="cannot be used") as caught:
        Store(tmp_path / "file")
    assert "IMAGEKIT_CACHE_DIR" in caught.value.hint


def test_a_cache_that_cannot_be_locked(store: Store) -> None:
    (store.root / "in-use").mkdir()
    with pytest.raises(BuildError, match="cannot be used"), store.in_use():
        pass


def test_a_full_disk_is_told_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    error = full_disk(tmp_path / "not" / "yet")
    assert (error.exit_code, "MiB left" in error.details) == (75, True)


@pytest.mark.parametrize(
    "error, expected",
    [
        (OSError(28, "No space left on device"), TryAgainError),
        (OSError(122, "Disk quota exceeded"), TryAgainError),
        (ToolError("mke2fs failed", details="mke2fs: No space left on device while writing"), TryAgainError),
        (OSError(5, "Input/output error"), OSError),
        (ToolError("mke2fs failed", details="something else"), ToolError),
    ],
)
def test_a_full_disk_is_a_passing_state(store: Store, error: Exception, expected: type[Exception]) -> None:
    def produce(out: Path, _reason: str) -> None:
        out.write_text("half")
        raise error

    with store.in_use(), pytest.raises(expected) as caught:
        store.make(KEY, "step", produce, waiting=nothing, damaged=print)
    assert caught.type is expected
    assert not list((store.root / "tmp").iterdir())
