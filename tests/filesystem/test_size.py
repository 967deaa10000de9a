"""A file system of automatic size holds its tree, leaves what was asked for, and is not much larger."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.errors import BuildError
from imagekit.filesystem import Needs, Settings, measure, settled, smallest
from imagekit.root import Member, Reference
from tests.filesystem.conftest import Fill, entry

MIB = 1 << 20
PARTS = st.sampled_from(["a", "b", "c", "d" * 30, "e" * 200])
SIZES = st.one_of(
    st.integers(0, 3),
    st.sampled_from([1023, 1024, 1025, 4096, 12 * 1024, 268 * 1024 + 1]),
    st.integers(0, 200_000),
)
TREES = st.one_of(
    st.dictionaries(st.lists(PARTS, min_size=1, max_size=6).map("/".join), SIZES, min_size=1, max_size=25),
    # many small ones
    st.tuples(st.integers(100, 900), st.integers(0, 1500), st.integers(1, 120)).map(
        lambda many: {f"{number % 5}/{number:0{many[2]}}": many[1] for number in range(many[0])}
    ),
    # few large ones
    st.lists(st.integers(MIB, 6 * MIB), min_size=1, max_size=3).map(
        lambda sizes: {f"large-{number}": size for number, size in enumerate(sizes)}
    ),
    # deep
    st.integers(1, 60).map(lambda depth: {"/".join(["deep"] * depth): 5}),
)


def without_files_below_files(tree: dict[str, int]) -> dict[str, int]:
    return {path: size for path, size in tree.items() if not any(other.startswith(f"{path}/") for other in tree)}


def put(folder: Path, tree: dict[str, int]) -> Path:
    for path, size in tree.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"\1" * size)
    return folder


@settings(max_examples=30)
@given(
    tree=TREES.map(without_files_below_files),
    kind=st.sampled_from(["ext2", "ext2", "ext3", "ext4"]),
    block_size=st.sampled_from([0, 1024, 2048, 4096]),
    free=st.sampled_from([0, 1, MIB, 7 * MIB]),
)
def test_automatic_sizes(
    tree: dict[str, int],
    kind: str,
    block_size: int,
    free: int,
    tmp_path_factory: pytest.TempPathFactory,
    fill: Fill,
) -> None:
    folder = put(tmp_path_factory.mktemp("tree"), tree)
    image = fill(folder, kind=kind, block_size=block_size, free=free)
    image.check(kind)
    superblock = image.superblock()
    block = int(superblock["Block size"])
    assert int(superblock["Free blocks"]) * block >= free
    if kind == "ext2" and block_size in {0, 1024}:
        entries = len(list(folder.rglob("*")))
        content = sum(-(-size // 1024) * 1024 for size in tree.values()) + 1280 * entries
        assert image.path.stat().st_size < 1.6 * (content + free) + 8 * MIB


@settings(max_examples=6)
@given(tree=TREES.map(without_files_below_files), kind=st.sampled_from(["fat16", "fat32"]))
def test_automatic_sizes_of_fat(
    tree: dict[str, int], kind: str, tmp_path_factory: pytest.TempPathFactory, fill: Fill
) -> None:
    fill(put(tmp_path_factory.mktemp("tree"), tree), kind=kind).check(kind)


@pytest.mark.parametrize("kind", ["ext2", "ext4"])
def test_nothing_but_the_least(kind: str, fill: Fill) -> None:
    image = fill(kind=kind)
    image.check(kind)
    assert image.path.stat().st_size == {"ext2": 2 * MIB, "ext4": 3 * MIB}[kind]


def test_journals_are_never_left_out(fill: Fill) -> None:
    for block_size in (1024, 2048, 4096):
        image = fill(kind="ext3", block_size=block_size)
        assert "has_journal" in image.superblock()["Filesystem features"]


def test_blocks_are_small_below_half_a_gib_and_large_above(fill: Fill) -> None:
    assert fill(size=511 * MIB).superblock()["Block size"] == "1024"
    assert fill(size=512 * MIB).superblock()["Block size"] == "4096"
    assert fill(size=512 * MIB, block_size=1024).superblock()["Block size"] == "1024"
    assert fill(size=100 * MIB, block_size=4096).superblock()["Block size"] == "4096"


def test_many_small_files_on_a_large_disk_get_small_blocks() -> None:
    """In 4 KiB blocks they would take four times as much, and not fit."""
    ext2 = Settings("ext2", "", 0)
    needs = Needs(entries=300_000, small=300_000 * 1024, large=300_000 * 4096)
    least = smallest(needs, ext2, 0)
    assert least < 512 * MIB
    assert settled(needs, ext2, 0, 1024 * MIB).block_size == 1024
    assert settled(needs, ext2, 0, 4096 * MIB).block_size == 4096
    assert settled(needs, ext2, 0, least).block_size == 1024


@given(
    entries=st.integers(0, 10**6),
    small=st.integers(0, 2**20).map(lambda blocks: blocks * 1024),
    rounding=st.floats(1, 4),
    free=st.integers(0, 2**32),
    more=st.integers(0, 2**33),
    kind=st.sampled_from(["ext2", "ext3", "ext4"]),
)
def test_the_block_size_that_is_settled_on_still_fits(
    entries: int, small: int, rounding: float, free: int, more: int, kind: str
) -> None:
    needs = Needs(entries, small, -(-int(small * rounding) // 4096) * 4096)
    wanted = Settings(kind, "", 0)  # type: ignore[arg-type]
    least = smallest(needs, wanted, free)
    size = least + more // MIB * MIB
    assert smallest(needs, settled(needs, wanted, free, size), free) <= size
    assert least >= max(2 * MIB, free)
    assert least % MIB == 0


@pytest.mark.parametrize("kind", ["ext2", "ext3", "fat16"])
def test_a_size_that_is_too_small_is_refused_with_a_hint(kind: str, fill: Fill, pack: Callable[..., Path]) -> None:
    tar = pack((entry("file"), os.urandom(20 * MIB)))
    for sizes in ({"size": 16 * MIB}, {"disk": 16 * MIB}, {"size": 16 * MIB, "disk": 64 * MIB}):
        with pytest.raises(BuildError, match=r"the tree needs a file system of 2[0-9] MiB") as caught:
            fill(tar, kind=kind, **sizes)
        assert "auto" in caught.value.hint


def test_a_tree_is_measured_in_whole_blocks() -> None:
    members = (
        Member("a", "dir"),
        Member("a/file", "file", size=1025, reference=Reference("x", "y")),
        Member("a/link", "link", target="t" * 10),
        Member("a/twin", "hard", target="a/file"),
    )
    needs = measure(members)
    assert (needs.entries, needs.small, needs.large) == (4, (1 + 2 + 1 + 1) * 1024, 4 * 4096)
