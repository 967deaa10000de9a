"""Results in their places: whole or not at all, modes and holes as they should be."""

import errno
import json
import os
import stat
import time
from pathlib import Path

import pytest

from imagekit.errors import BuildError, TryAgainError, UsageError
from imagekit.place import place
from imagekit.sparse import allocated
from imagekit.store import Store, Stored


@pytest.fixture
def result(store: Store) -> Stored:
    """Return a stored result: 8 MiB with a few bytes of data."""

    def produce(out: Path, _reason: str) -> None:
        with out.open("wb") as file:
            file.truncate(8 << 20)
            file.write(b"data")

    with store.in_use():
        return store.make("a" * 64, "step", produce, waiting=print, damaged=print)[0]


def beside(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.parent.iterdir())


def test_placed_with_its_holes_and_our_mode(result: Stored, store: Store, tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder" / "out"
    before = os.umask(0o027)
    try:
        place(result, out, store.root)
    finally:
        os.umask(before)
    assert out.read_bytes() == result.path.read_bytes()
    assert allocated(out) <= 8192
    assert stat.S_IMODE(out.stat().st_mode) == 0o640, "the store's files are read-only, the user's are not"
    assert out.stat().st_ino != result.path.stat().st_ino
    assert beside(out) == ["out"]


def test_placed_over_what_was_there(result: Stored, store: Store, tmp_path: Path) -> None:
    """Whoever has the old file open keeps it."""
    out = tmp_path / "out"
    out.write_text("old")
    with out.open() as reader:
        place(result, out, store.root)
        assert reader.read() == "old"
    assert out.stat().st_size == 8 << 20


def test_a_link_is_replaced_and_what_it_names_is_not(result: Stored, store: Store, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "out").symlink_to("precious")
    place(result, tmp_path / "out", store.root)
    assert (tmp_path / "precious").read_text() == "precious"
    assert not (tmp_path / "out").is_symlink()


def test_a_dangling_link_is_replaced(result: Stored, store: Store, tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to("nowhere")
    place(result, tmp_path / "out", store.root)
    assert (tmp_path / "out").stat().st_size == 8 << 20


def test_a_relative_place(result: Stored, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    place(result, Path("out"), store.root)
    inode = (tmp_path / "out").stat().st_ino
    place(result, tmp_path / "out", store.root)
    assert (tmp_path / "out").stat().st_ino == inode, "it is remembered by its whole path"


@pytest.mark.parametrize("memory", [b"null", b"", b"[1", b"[]"])
def test_a_memory_that_is_none(result: Stored, store: Store, tmp_path: Path, memory: bytes) -> None:
    out = tmp_path / "out"
    place(result, out, store.root)
    (remembered,) = (store.root / "placed").iterdir()
    assert json.loads(remembered.read_bytes())[0] == result.digest
    for path in (out, remembered):
        path.unlink()
        remembered.write_bytes(memory)
        place(result, out, store.root)
        assert out.stat().st_size == 8 << 20


def test_what_the_killed_left_beside_is_swept_after_an_hour(result: Stored, store: Store, tmp_path: Path) -> None:
    old, new, other = (tmp_path / f".{name}.imagekit" for name in ("out.1", "out.2", "another.1"))
    for path in (old, new, other):
        path.touch()
        os.utime(path, (time.time() - (60 if path == new else 4000),) * 2)
    place(result, tmp_path / "out", store.root)
    assert (old.exists(), new.exists(), other.exists()) == (False, True, True)


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_file_is_not_replaced(result: Stored, store: Store, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    match kind:
        case "pipe":
            os.mkfifo(out)
        case "device":  # as good as /dev/null itself, whose loss a whole system feels
            out.symlink_to("/dev/null")
        case "folder":
            out.mkdir()
    with pytest.raises(UsageError, match="is a folder" if kind == "folder" else "is a device, a pipe"):
        place(result, out, store.root)
    assert out.exists()
    assert not out.is_file()


def test_a_place_that_cannot_be(result: Stored, store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BuildError, match="cannot be written"):
        place(result, tmp_path / "file" / "out", store.root)
    with pytest.raises(BuildError, match="cannot be written") as caught:
        place(result, tmp_path / ("x" * 255), store.root)
    assert caught.value.details == "File name too long"


def test_a_place_below_proc(result: Stored, store: Store) -> None:
    """No O_TMPFILE there, and no other new file either."""
    with pytest.raises(BuildError, match="cannot be written"):
        place(result, Path("/proc/self/out"), store.root)


def test_on_a_file_system_without_unnamed_files(
    result: Stored, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As FAT and NFS, which few test machines can mount: hence the one patch."""
    real = os.open

    def opening(path: str, flags: int, mode: int = 0o777, **more: int) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return real(path, flags, mode, **more)

    monkeypatch.setattr(os, "open", opening)
    place(result, tmp_path / "a" / "out", store.root)
    assert (tmp_path / "a" / "out").read_bytes() == result.path.read_bytes()
    assert beside(tmp_path / "a" / "out") == ["out"]
    with pytest.raises(TryAgainError):
        place(Stored(tmp_path / "none", "0" * 64), tmp_path / "b" / "out", store.root)
    assert not list((tmp_path / "b").iterdir())


def test_a_result_that_was_taken_away(result: Stored, store: Store, tmp_path: Path) -> None:
    """Another build found it damaged."""
    result.path.chmod(0o644)
    result.path.write_text("damage")
    assert store.find("a" * 64).damaged
    (tmp_path / "out").write_text("old")
    with pytest.raises(TryAgainError, match="found damaged by another build") as caught:
        place(result, tmp_path / "out", store.root)
    assert caught.value.exit_code == 75
    assert (tmp_path / "out").read_text() == "old"
