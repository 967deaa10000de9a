"""The layout of ext2, ext3 and ext4: superblock, block groups, and what they keep for themselves.

https://docs.kernel.org/filesystems/ext4/ ("Data Structures and Algorithms"). All numbers are little-endian, blocks
are counted from the file system's start, groups have `blocks_per_group` blocks from `first_block` on.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from uuid import UUID

from imagekit.inspect.report import Kind, Segment
from imagekit.inspect.volumes.ext_features import (
    BIGALLOC,
    META_BG,
    SPARSE_SUPER,
    SPARSE_SUPER2,
    UNINITIALISED_GROUPS,
    WIDE,
    Features,
)
from imagekit.inspect.window import Window

SUPERBLOCK_AT = 1024
MAGIC = 0xEF53
_LARGEST_LOG = 6  # 64 KiB blocks
_MOST_GROUPS = 1 << 17  # 16 TiB of 4 KiB blocks
_NUMBERS = struct.Struct("<I")
_SHORTS = struct.Struct("<H")

_BLOCKS_UNUSED = 0x2


@dataclass(frozen=True, slots=True)
class Group:
    """One block group: blocks of its bitmaps and its inode table."""

    index: int
    block_bitmap: int
    inode_bitmap: int
    inode_table: int
    flags: int


@dataclass(frozen=True)
class Layout:
    """What the superblock says, in blocks and inodes."""

    window: Window
    inodes: int
    blocks: int
    free_blocks: int
    free_inodes: int
    first_block: int
    block_size: int
    blocks_per_group: int
    inodes_per_group: int
    inode_size: int
    features: Features
    uuid: str
    label: str

    @property
    def cluster(self) -> int:
        """Blocks of one bit of a block bitmap: 1 but for bigalloc."""
        if not self.features.read_only & BIGALLOC:
            return 1
        (log,) = self.window.unpack(_NUMBERS, SUPERBLOCK_AT + 28)
        return max((1024 << min(log, 20)) // self.block_size, 1)

    @property
    def group_count(self) -> int:
        """How many groups there are, by the number of blocks."""
        return -(-max(self.blocks - self.first_block, 0) // self.blocks_per_group)

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """The groups whose descriptors the window holds."""
        return tuple(self._groups())

    def has_superblock(self, group: int) -> bool:
        """Tell whether a group starts with a copy of the superblock and the descriptors."""
        if self.features.compatible & SPARSE_SUPER2:
            return group == 0 or group in struct.unpack("<2I", self._raw(0x24C, 8))
        return (
            not self.features.read_only & SPARSE_SUPER
            or group <= 1
            or any(_is_power(group, base) for base in (3, 5, 7))
        )

    def first_of(self, group: int) -> int:
        """Return the first block of a group."""
        return self.first_block + group * self.blocks_per_group

    def fixed(self) -> Iterator[Segment]:
        """Yield superblocks, descriptors, bitmaps and inode tables."""
        size = self.block_size
        inode_blocks = -(-self.inodes_per_group * self.inode_size // size)
        yield Segment(0, SUPERBLOCK_AT, Kind.SUPERBLOCK, "boot area (not used by Xen)")
        for group in self.groups:
            yield from self._copies(group.index)
            places = (
                (group.block_bitmap, 1, Kind.BITMAP, "block bitmap"),
                (group.inode_bitmap, 1, Kind.BITMAP, "inode bitmap"),
                (group.inode_table, inode_blocks, Kind.INODES, "inode table"),
            )
            for block, count, kind, what in places:
                if 0 < block < self.blocks:
                    yield Segment(block * size, count * size, kind, f"{what} of group {group.index}")

    def used(self) -> Iterator[tuple[int, int]]:
        """Yield (start, length) in bytes of what the block bitmaps say is in use."""
        unit = self.cluster * self.block_size
        for group in self.groups:
            if group.flags & _BLOCKS_UNUSED:
                continue
            first = self.first_of(group.index)
            count = min(self.blocks_per_group, self.blocks - first) // self.cluster
            bitmap = self.window.read(group.block_bitmap * self.block_size, -(-count // 8))
            for start, length in set_bits(bitmap):
                if start < count:
                    yield first * self.block_size + start * unit, min(length, count - start) * unit

    def _raw(self, offset: int, size: int) -> bytes:
        return self.window.read(SUPERBLOCK_AT + offset, size).ljust(size, b"\0")

    @property
    def _descriptor_size(self) -> int:
        (size,) = _SHORTS.unpack(self._raw(0xFE, 2))
        return size if self.features.incompatible & WIDE and 64 <= size <= self.block_size else 32  # noqa: PLR2004

    def _groups(self) -> Iterator[Group]:
        size = self._descriptor_size
        per_block = self.block_size // size
        inside = -(-self.window.length // (self.blocks_per_group * self.block_size))
        for index in range(min(self.group_count, inside, _MOST_GROUPS)):
            at = self._descriptor_block(index // per_block) * self.block_size + index % per_block * size
            raw = self.window.read(at, size)
            if len(raw) < size:
                return
            low = struct.unpack_from("<III6xH", raw)
            high = struct.unpack_from("<III", raw, 32) if size > 32 else (0, 0, 0)  # noqa: PLR2004
            places = [part | more << 32 for part, more in zip(low[:3], high, strict=True)]
            flags = low[3] if self.features.read_only & UNINITIALISED_GROUPS else 0
            yield Group(index, places[0], places[1], places[2], flags)

    def _descriptor_block(self, number: int) -> int:
        (first_meta,) = _NUMBERS.unpack(self._raw(0x104, 4))
        if not self.features.incompatible & META_BG or number < first_meta:
            return self._superblock_of(0) + 1 + number
        group = number * (self.block_size // self._descriptor_size)
        return self._superblock_of(group) + self.has_superblock(group)

    def _superblock_of(self, group: int) -> int:
        """Return a group's first block that is its own: with 1 KiB blocks the first of the disk never is."""
        first = self.first_of(group)
        return 1 if not first and self.block_size == SUPERBLOCK_AT else first

    def _copies(self, group: int) -> Iterator[Segment]:
        size, at = self.block_size, self._superblock_of(group)
        if not self.has_superblock(group):
            return
        start = max(at * size, SUPERBLOCK_AT) if group == 0 else at * size
        what = "superblock" if group == 0 else f"superblock's copy in group {group}"
        yield Segment(start, (at + 1) * size - start, Kind.SUPERBLOCK, what)
        per_block = size // self._descriptor_size
        count = -(-self.group_count // per_block)
        (reserved,) = _SHORTS.unpack(self._raw(0xCE, 2))
        if self.features.incompatible & META_BG:
            count, reserved = min(count, *_NUMBERS.unpack(self._raw(0x104, 4))), 0
        suffix = "" if group == 0 else f", copy in group {group}"
        if count:
            yield Segment((at + 1) * size, count * size, Kind.DESCRIPTORS, "group descriptors" + suffix)
        if reserved:
            label = "room for more group descriptors" + suffix
            yield Segment((at + 1 + count) * size, reserved * size, Kind.DESCRIPTORS, label)


def read_layout(window: Window) -> Layout | None:
    """Return the layout of the ext file system in a window; None when there is none, or none that makes sense."""
    raw = window.read(SUPERBLOCK_AT, 1024)
    if len(raw) < 1024 or _SHORTS.unpack_from(raw, 56)[0] != MAGIC:  # noqa: PLR2004
        return None
    inodes, low, _, free_low, free_inodes, first, log, per_group, inodes_per_group = struct.unpack_from(
        "<7I4xI4xI", raw
    )
    revision, _, _, _, inode_size, _, compatible, incompatible, read_only, uuid, label = struct.unpack_from(
        "<IHHIHHIII16s16s", raw, 76
    )
    block_size = 1024 << min(log, _LARGEST_LOG)
    inode_size = inode_size if revision else 128
    wide = bool(incompatible & WIDE)
    layout = Layout(
        window,
        inodes,
        low | (_NUMBERS.unpack_from(raw, 0x150)[0] << 32 if wide else 0),
        free_low | (_NUMBERS.unpack_from(raw, 0x158)[0] << 32 if wide else 0),
        free_inodes,
        first,
        block_size,
        per_group,
        inodes_per_group,
        inode_size,
        Features(compatible, incompatible, read_only),
        str(UUID(bytes=uuid)),
        label.split(b"\0")[0].decode(errors="backslashreplace"),
    )
    sound = (
        log <= _LARGEST_LOG
        and first <= 1
        and 0 < per_group <= block_size * 8 * layout.cluster
        and 0 < inodes_per_group <= block_size * 8
        and 128 <= inode_size <= block_size  # noqa: PLR2004
        and inode_size & (inode_size - 1) == 0
    )
    return layout if sound else None


def set_bits(bitmap: bytes) -> Iterator[tuple[int, int]]:
    """Yield (first, count) of each run of ones, lowest bit first; runs that cross a mixed byte come in parts."""
    for run in re.finditer(rb"\xff+|[^\x00\xff]", bitmap, re.DOTALL):
        at, value = run.start() * 8, run.group()[0]
        if value == 0xFF:  # noqa: PLR2004
            yield at, len(run.group()) * 8
            continue
        bit = 0
        while value >> bit:
            if value >> bit & 1:
                first = bit
                while value >> bit & 1:
                    bit += 1
                yield at + first, bit - first
            else:
                bit += 1


def _is_power(number: int, base: int) -> bool:
    while number % base == 0:
        number //= base
    return number == 1
