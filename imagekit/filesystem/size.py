"""How large a file system must be to hold a tree, with a margin that is stated: 5 % and what `free` asks for."""

from collections.abc import Iterable

from imagekit.filesystem.settings import Needs, Settings
from imagekit.root import Member

MIB = 1 << 20
_LARGE = 512 * MIB  # from here on mke2fs, too, takes 4 KiB blocks
_INODE = 256
_SPARE_INODES = 32  # 11 of ext2's own, and room for a few files
_MARGIN = 1.05
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
        return _round(_fat(needs.large + free, settings))
    block = block_size(settings, needs.large + free)
    data = needs.small if block == 1024 else needs.large  # noqa: PLR2004
    size = (data + data // (block // 4) + needs.entries * _INODE + free) * _MARGIN
    size += size / 16384 * _INODE  # the inodes that mke2fs makes beyond those
    if settings.type != "ext2":
        size += _journal(int(size), block)
    # Bitmaps, descriptors and the backups of those: some blocks for each group of 8 * block blocks.
    size += (size // (8 * block * block) + 1) * 4 * block + 32 * block
    return _round(int(size))


def block_size(settings: Settings, size: int) -> int:
    """Return the block size to use for a file system of `size` bytes."""
    return settings.block_size or (1024 if size < _LARGE else 4096)


def inodes(entries: int, size: int) -> int:
    """Return how many inodes to make: one for each 16 KiB as mke2fs does, and enough for the tree."""
    return max(entries + _SPARE_INODES, size // 16384)


def _length(member: Member) -> int:
    if member.kind == "link":
        return len(member.target)
    if member.kind == "dir":
        return 1024
    # A directory entry takes 8 bytes and the name.
    return member.size + len(member.path) + 8


def _journal(size: int, block: int) -> int:
    blocks = size // block
    for limit, journal in ((32768, 1024), (262144, 4096), (524288, 8192), (4194304, 16384)):
        if blocks < limit:
            return journal * block
    return 32768 * block


def _fat(content: int, settings: Settings) -> int:
    cluster = settings.block_size or (4096 if settings.type == "fat32" else 2048)
    clusters = _FAT16_CLUSTERS if settings.type == "fat16" else _FAT32_CLUSTERS
    # mkfs.fat wants a little more than the least.
    return max(int(content * _MARGIN) + MIB, (clusters + 64) * cluster + MIB)


def _round(size: int) -> int:
    return max(2 * MIB, -(-size // MIB) * MIB)
