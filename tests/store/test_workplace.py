"""Work under way: what the dead left goes, what the living do stays."""

import fcntl
import os
from pathlib import Path

import pytest

from imagekit.command import run
from imagekit.store import Store
from tests.store.making import aged


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


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_what_is_mounted_in_a_dead_folder_is_not_removed(store: Store, tmp_path: Path) -> None:
    precious, loose = tmp_path / "precious", store.root / "tmp" / "dead" / "a folder"
    precious.mkdir()
    (precious / "file").write_text("kept")
    loose.mkdir(parents=True)
    run("mount", "--bind", precious, loose)
    run("mount", "-t", "tmpfs", "none", loose)
    with store.in_use():
        assert not loose.parent.exists()
    assert (precious / "file").read_text() == "kept"
    assert str(store.root) not in Path("/proc/self/mountinfo").read_text()


def test_sweeping_leaves_what_is_locked(store: Store) -> None:
    folder = store.root / "tmp" / "living"
    folder.mkdir()
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with store.in_use():
            assert folder.exists()
    with store.in_use():
        assert not folder.exists()
