"""Small files that are there whole or not at all."""

import os
import stat
from pathlib import Path
from threading import get_ident

import pytest

from imagekit.whole import PRIVATE, write_whole


def test_what_was_there_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_whole(path, b"old")
    write_whole(path, b"new", durable=True)
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["record.json"]


def test_it_is_its_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0o002)
    try:
        write_whole(tmp_path / "secret", b"x", mode=PRIVATE)
        write_whole(tmp_path / "open", b"x")
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("secret", "open")]
    assert modes == [0o600, 0o664]


def test_a_trap_beside_it_catches_nothing(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    beside = tmp_path / f".record.{os.getpid()}.{get_ident()}.imagekit"
    beside.symlink_to(victim)
    write_whole(tmp_path / "record", b"new")
    assert (victim.read_bytes(), (tmp_path / "record").is_symlink()) == (b"mine", False)
    beside.write_bytes(b"left by one that was killed")
    write_whole(tmp_path / "record", b"newer", mode=PRIVATE)
    assert stat.S_IMODE((tmp_path / "record").stat().st_mode) == PRIVATE
    assert sorted(os.listdir(tmp_path)) == ["record", "victim"]


def test_what_cannot_be_put_there_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        write_whole(tmp_path / "folder", b"x")
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "none" / "file", b"x")
    assert os.listdir(tmp_path) == ["folder"]


def test_a_full_disk_keeps_what_was_there(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    path = tmp_path / "record"
    write_whole(path, b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            write_whole(path, b"longer than that")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["record"]
