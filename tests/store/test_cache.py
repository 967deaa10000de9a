"""The store on a real disk: hits and misses, damage, pruning."""

import os
from pathlib import Path

import pytest

from imagekit.errors import BuildError, ToolError
from imagekit.sparse import BLOCK, BlockMap, digest_file, map_blocks
from imagekit.store import Store, map_path
from tests.store.making import KEY, OTHER, aged, blob, make, nothing, restored


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


def test_a_relative_cache_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tools run in folders of their own."""
    monkeypatch.chdir(tmp_path)
    assert Store(Path("here")).root == tmp_path / "here"


def test_a_cache_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BuildError, match="cannot be used") as caught:
        Store(tmp_path / "file")
    assert "IMAGEKIT_CACHE_DIR" in caught.value.hint
