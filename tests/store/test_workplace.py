"""Work under way: what the dead left goes, what the living do stays."""

import fcntl

import pytest

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


def test_sweeping_leaves_what_is_locked(store: Store) -> None:
    folder = store.root / "tmp" / "living"
    folder.mkdir()
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with store.in_use():
            assert folder.exists()
    with store.in_use():
        assert not folder.exists()
