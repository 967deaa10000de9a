"""ext2, ext3 and ext4, held against debugfs; and broken."""

import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.command import run
from imagekit.inspect.report import Kind
from imagekit.inspect.tree import walk
from imagekit.inspect.volumes import Volume, open_volume
from imagekit.inspect.volumes.ext import ExtVolume
from imagekit.inspect.volumes.ext_layout import Layout, set_bits
from imagekit.inspect.window import Window

MakeDisk = Callable[..., Path]
BIG = bytes(range(256)) * 4 * 700  # 700 KiB: direct, indirect and doubly indirect blocks of 1 KiB
FILES: dict[str, bytes | str] = {
    "boot/grub/menu.lst": b"default 0\n",
    "boot/big": BIG,
    "boot/comb": (b"c" * 4096 + bytes(4096)) * 40 + b"c",  # more extents than an inode holds
    "boot/holes": b"a" + bytes(300_000) + b"z",
    "boot/link": "big",
    "boot/far": "/" + "../" * 30 + "boot/big",
    "loop": "loop",
    "boot/middling": b"m" * 90,  # inline data: more than an inode's first 60 bytes
    "dir/a\nb": b"x",
    "dir/\xff": b"y" * 2000,
    **{f"many/{index:04}": b"" for index in range(300)},
}
KINDS = [
    ("ext2", ()),
    ("ext3", ()),
    ("ext4", ()),
    ("ext4", ("-O", "inline_data", "-I", "256")),
    ("ext4", ("-O", "bigalloc", "-C", "16384")),
    ("ext4", ("-O", "meta_bg,^resize_inode")),
    ("ext4", ("-O", "sparse_super2")),
    ("ext2", ("-O", "^sparse_super,^resize_inode")),
    ("ext4", ("-g", "1024")),
]


def opened(image: Path) -> tuple[io.BytesIO, Volume]:
    file = io.BytesIO(image.read_bytes())
    volume = open_volume(Window.whole(file))
    assert volume is not None
    return file, volume


def blocks_of(layout: Layout, group: int) -> range:
    return range(layout.first_of(group), layout.first_of(group + 1))


@pytest.mark.parametrize("kind,options", KINDS)
def test_files_and_blocks_are_as_debugfs_has_them(
    make_disk: MakeDisk, kind: str, options: tuple[str, ...]
) -> None:
    image = make_disk(FILES, fs=kind, mib=16, options=("-N", "800", *options))
    _, volume = opened(image)
    for name, content in FILES.items():
        node = volume.find(name)
        if name == "loop":
            assert node is None
        elif isinstance(content, bytes):
            assert node is not None
            assert volume.read(node, 1 << 20) == content
            blocks = run("debugfs", "-R", f"blocks <{node.number}>", image).text().split()
            runs = [*volume.runs(node), *volume.upkeep(node)]
            mine = {at // 1024 for run in runs for at in range(run.start, run.start + run.length, 1024)}
            assert mine == ({int(block) for block in blocks} if node.inline is None else set())
    names = {entry.path for entry in walk(volume, ()).entries if entry.kind != "directory"}
    assert names == {f"/{name}" for name in FILES if "\xff" not in name} | {"/dir/\xff"}
    link = volume.find("boot/far")
    assert link is not None
    assert volume.read(link, 1 << 20) == BIG


@pytest.mark.parametrize("kind,options", KINDS)
def test_counts_features_and_groups_are_as_debugfs_has_them(
    make_disk: MakeDisk, kind: str, options: tuple[str, ...]
) -> None:
    image = make_disk(FILES, fs=kind, mib=16, options=("-N", "800", "-L", "name", *options))
    _, volume = opened(image)
    assert isinstance(volume, ExtVolume)
    layout = volume.layout
    found = volume.describe(0)
    told = run("debugfs", "-R", "stats", image).text()
    stats = dict(re.findall(r"^([A-Z][\w ]+?):\s+(.*)$", told, re.MULTILINE))
    assert (found.kind, found.label, found.uuid) == (kind, "name", stats["Filesystem UUID"])
    assert (found.blocks, found.free_blocks) == (int(stats["Block count"]), int(stats["Free blocks"]))
    assert (found.inodes, found.free_inodes) == (int(stats["Inode count"]), int(stats["Free inodes"]))
    assert set(found.features) == set(stats["Filesystem features"].split())
    places = {(kind, int(block)) for kind, block in re.findall(r"(\w+ (?:bitmap|table)) at (\d+)", told)}
    fixed = list(volume.fixed())
    mine = {(part.label.split(" of ")[0], part.start // 1024) for part in fixed if " of group " in part.label}
    assert mine == places
    used = {block for start, length in volume.used() for block in range(start // 1024, (start + length) // 1024)}
    kept = {at // 1024 for part in fixed for at in range(part.start, part.start + part.length, 1024)} - {0}
    # Groups that were never used have no bitmap on the disk, but still their own superblock, bitmaps and tables.
    unused = {block for group in layout.groups if group.flags & 2 for block in blocks_of(layout, group.index)}
    assert kept - unused <= used
    taken = found.blocks - found.free_blocks
    assert len(used | kept) in {taken, taken - 1}  # with blocks of 1 KiB, block 0 has no bit


@pytest.mark.parametrize("kind", ["ext2", "ext3", "ext4"])
def test_every_block_in_use_is_told_apart(make_disk: MakeDisk, kind: str) -> None:
    _, volume = opened(make_disk(FILES, fs=kind))
    claimed = {
        at // 1024
        for part in (*volume.fixed(), *walk(volume, ()).segments)
        for at in range(part.start, part.end, 1024)
    }
    used = {block for start, length in volume.used() for block in range(start // 1024, (start + length) // 1024)}
    assert used <= claimed


def test_a_journal_lies_where_debugfs_has_it(make_disk: MakeDisk) -> None:
    image = make_disk({}, fs="ext4", mib=16)
    _, volume = opened(image)
    journal = [part for part in volume.fixed() if part.kind is Kind.JOURNAL]
    blocks = run("debugfs", "-R", "blocks <8>", image).text().split()
    assert sum(part.length for part in journal) == len(blocks) * 1024


def test_four_kib_blocks_and_a_place_in_the_disk(make_disk: MakeDisk) -> None:
    image = make_disk(FILES, table="mbr", options=("-b", "4096"))
    file = io.BytesIO(image.read_bytes())
    volume = open_volume(Window.whole(file).part(1 << 20, 8 << 20))
    assert volume is not None
    node = volume.find("/boot/big")
    assert node is not None
    assert volume.read(node, 1 << 20) == BIG


def test_a_file_system_larger_than_its_place_is_told(make_disk: MakeDisk) -> None:
    image = make_disk({"a": b"1"})
    volume = open_volume(Window(io.BytesIO(image.read_bytes()[: 1 << 20]), 0, 1 << 20))
    assert volume is not None
    assert volume.problems == ["the file system is larger than the place it lies in"]


@pytest.mark.parametrize("at", [1024 + 24, 1024 + 20, 1024 + 32, 1024 + 40, 1024 + 88, 1024 + 56])
def test_a_superblock_that_makes_no_sense_is_none(make_disk: MakeDisk, at: int) -> None:
    data = bytearray(make_disk({}).read_bytes())
    data[at : at + 2] = b"\xff\xff"
    if at == 1024 + 32:
        data[at : at + 4] = bytes(4)
    assert open_volume(Window(io.BytesIO(data), 0, len(data))) is None


def test_a_budget_ends_a_walk(make_disk: MakeDisk) -> None:
    _, volume = opened(make_disk(FILES))
    volume.budget.blocks = 4
    assert not walk(volume, ()).complete


def test_a_path_that_is_no_folder_is_not_found(make_disk: MakeDisk) -> None:
    _, volume = opened(make_disk(FILES))
    assert volume.find("/boot/big/more") is None
    assert volume.find("/../boot/./grub//") is not None


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("root")
    (folder / "boot").mkdir()
    (folder / "boot/big").write_bytes(BIG)
    (folder / "link").symlink_to("boot/big")
    made = []
    for kind in ("ext2", "ext4"):
        image = tmp_path_factory.mktemp(kind) / "image"
        run("mke2fs", "-q", "-F", "-t", kind, "-b", "1024", "-N", "16", "-d", folder, image, "2M")
        made.append(image.read_bytes())
    return made


@settings(max_examples=100)
@given(data=st.data())
def test_no_bytes_make_it_raise_or_leave_the_window(images: list[bytes], data: st.DataObject) -> None:
    image = bytearray(data.draw(st.sampled_from(images)))
    places = st.one_of(st.integers(1024, 2048), st.integers(2048, 60_000), st.integers(0, len(image) - 9))
    for at, new in data.draw(st.lists(st.tuples(places, st.binary(min_size=1, max_size=8)), max_size=12)):
        image[at : at + len(new)] = new
    volume = open_volume(Window(io.BytesIO(image), 0, len(image)))
    if volume is None:
        return
    volume.describe(0)
    seen = walk(volume, ())
    for part in (*volume.fixed(), *seen.segments):
        assert part.length >= 0
    node = volume.find("/link")
    if node:
        assert len(volume.read(node, 1 << 16)) <= 1 << 16
    assert all(length > 0 for _, length in volume.used())


@given(st.binary(max_size=40))
def test_set_bits_finds_every_one(bitmap: bytes) -> None:
    mine = {start + index for start, count in set_bits(bitmap) for index in range(count)}
    assert mine == {bit for bit in range(len(bitmap) * 8) if bitmap[bit // 8] >> bit % 8 & 1}
