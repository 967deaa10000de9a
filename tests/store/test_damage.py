"""A blob that is damaged while others use it: they read on, or are told to try again."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from imagekit.errors import TryAgainError
from imagekit.sparse import map_blocks
from imagekit.store import Store, map_path
from imagekit.store.blobs import Blobs
from imagekit.store.workplace import Workplaces
from tests.store.making import KEY, OTHER, blob, make


def damage(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(b"CONTENT")


def test_who_has_it_open_reads_on_and_who_comes_later_is_told(store: Store) -> None:
    stored, _ = make(store)
    with stored.path.open("rb") as early:
        damage(stored.path)
        assert Store(store.root).find(KEY).damaged
        assert early.read() == b"CONTENT"
    for late in (stored.check, stored.blocks):
        with pytest.raises(TryAgainError, match="found damaged by another build") as caught:
            late()
        assert caught.value.exit_code == 75
    with pytest.raises(TryAgainError, match="found damaged by another build"), stored.reading():
        stored.path.read_bytes()
    assert make(store) == (stored, False)
    stored.check()
    assert stored.blocks() == map_blocks(stored.path)


def test_other_missing_files_are_told_as_they_are(store: Store, tmp_path: Path) -> None:
    stored, _ = make(store)
    with pytest.raises(FileNotFoundError), stored.reading():
        (tmp_path / "none").read_bytes()


def test_many_look_at_it_at_once(store: Store) -> None:
    def look(barrier: threading.Barrier) -> str:
        barrier.wait(10)
        return store.find(KEY).reason

    with ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            damage(blob(store))
            reasons = set(pool.map(look, [threading.Barrier(8)] * 8))
            assert "the cached result was damaged" in reasons
            assert reasons <= {"the cached result was damaged", "made before, and pruned since"}


def test_what_was_made_again_meanwhile_stays(store: Store) -> None:
    """One build hashes the damaged blob while another puts a good one in its place."""
    stored, _ = make(store)
    damage(stored.path)
    seen = stored.path.stat()
    store.find(KEY)
    make(store)
    blobs = Blobs(store.root / "blobs", Workplaces(store.root / "tmp"))
    blobs.discard(stored.digest, seen)
    assert stored.path.read_bytes() == b"content"
    blobs.discard(stored.digest, stored.path.stat())
    assert not stored.path.exists()
    assert not map_path(stored.path).exists()
    blobs.discard(stored.digest, seen)


def test_verify_goes_on_when_a_build_takes_one_away(store: Store) -> None:
    paths = sorted([make(store, key, content)[0].path for key, content in ((KEY, b"one"), (OTHER, b"two"))])
    checked = store.verify()
    assert next(checked) == (paths[0].name, None)
    paths[1].unlink()
    assert list(checked) == []
