"""How large a file system must be to hold a tree, with a margin that is stated: 5 % and what `free` asks for."""

from collections.abc import Iterable
from dataclasses import replace

from imagekit.filesystem.settings import Needs, Settings
from imagekit.root import Member

MIB = 1 << 20
_LARGE = 512 * MIB  # from here on mke2fs, too, takes 4 KiB blocks
_INODE = 256
_SPARE_INODES = 32  # 11 of ext2's own, and room for a few files
_MARGIN = 1.05
# Blocks of a file system, and of the journal that mke2fs makes for it (ext2fs_default_journal_size).
_JOURNALS = (
    (32768, 1024),
    (256 << 10, 4096),
    (512 << 10, 8192),
    (4096 << 10, 16384),
    (8192 << 10, 32768),
    (16384 << 10, 65536),
    (32768 << 10, 131072),
)
_JOURNALED = 2048  # blocks: of fewer, mke2fs leaves the journal out
# What Linux' own makers take at least, and for themselves: journals, logs, the metadata's second copy.
# type -> (least, overhead, bytes an entry). xfsprogs 5.19 and later refuse less than 300 MB, and log 64 MiB.
_OTHERS = {
    "xfs": (304 * MIB, 80 * MIB, 1024),
    "btrfs": (128 * MIB, 72 * MIB, 4096),
    "jfs": (17 * MIB, 12 * MIB, 1024),
    "reiserfs": (40 * MIB, 36 * MIB, 512),
}
EXTENT = 4 * MIB
"""LVM's own unit, and what it keeps before the first one for itself is within another."""
_FAT16_CLUSTERS = 4085  # fewer would be FAT12, more than 65524 FAT32 (Microsoft's FAT specification)
_FAT32_CLUSTERS = 65525


def measure(members: Iterable[Member]) -> Needs:
    """Add up a tree."""
    lengths = [_length(member) for member in members]
    small, large = (sum(-(-length // block) for length in lengths) * block for block in (1024, 4096))
    return Needs(len(lengths), small, large)


def smallest(needs: Needs, settings: Settings, free: int) -> int:
    """Return the size, in bytes and whole MiB, that holds the tree and leaves `free` bytes."""
    if settings.fat:
        return _fat(needs.large + free, settings)
    if settings.type in _OTHERS:
        least, overhead, entry = _OTHERS[settings.type]
        return max(least, _round(int((needs.large + needs.entries * entry + free) * _MARGIN) + overhead))
    if settings.block_size:
        return _ext(needs, settings, free, settings.block_size)
    size = _ext(needs, settings, free, 1024)
    return size if size < _LARGE else _ext(needs, settings, free, 4096)


def settled(needs: Needs, settings: Settings, free: int, size: int) -> Settings:
    """Return the settings with the block size that a file system of `size` bytes for this tree gets."""
    if settings.fat or settings.block_size or settings.type in _OTHERS:
        return settings
    large = size >= _LARGE and _ext(needs, settings, free, 4096) <= size
    return replace(settings, block_size=4096 if large else 1024)


def grouped(size: int) -> int:
    """Return how large a partition must be for a volume of `size` bytes in a group of its own."""
    return (-(-size // EXTENT) + 1) * EXTENT


def inodes(entries: int, size: int) -> int:
    """Return how many inodes to make: one for each 16 KiB as mke2fs does, and enough for the tree."""
    return max(entries + _SPARE_INODES, size // 16384)


def _ext(needs: Needs, settings: Settings, free: int, block: int) -> int:
    data = needs.small if block == 1024 else needs.large  # noqa: PLR2004
    size = (data + data // (block // 4) + needs.entries * _INODE + free) * _MARGIN
    size += size / 16384 * _INODE  # the inodes that mke2fs makes beyond those
    if settings.type != "ext2":
        size = max(size + _journal(int(size), block), _JOURNALED * block)
    # Bitmaps, descriptors and the backups of those: some blocks for each group of 8 * block blocks.
    size += (size // (8 * block * block) + 1) * 4 * block + 32 * block
    return _round(int(size))


def _length(member: Member) -> int:
    if member.kind == "link":
        return len(member.target)
    if member.kind == "dir":
        return 1024
    # A directory entry takes 8 bytes and the name.
    return member.size + len(member.path) + 8


def _journal(size: int, block: int) -> int:
    for limit, journal in _JOURNALS:
        if size // block < limit:
            return journal * block
    return 262144 * block


def _fat(content: int, settings: Settings) -> int:
    cluster = settings.block_size or (4096 if settings.type == "fat32" else 2048)
    clusters = _FAT16_CLUSTERS if settings.type == "fat16" else _FAT32_CLUSTERS
    # mkfs.fat wants a little more than the least.
    return _round(max(int(content * _MARGIN) + MIB, (clusters + 64) * cluster + MIB))


def _round(size: int) -> int:
    return max(2 * MIB, -(-size // MIB) * MIB)
