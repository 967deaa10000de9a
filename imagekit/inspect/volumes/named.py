"""File systems, and what else fills a partition, that are told by name only.

Each by its magic and, where they lie at a fixed place, its UUID and label: as util-linux's libblkid has them.
"""

from typing import NamedTuple
from uuid import UUID

from imagekit.inspect.report import Filesystem
from imagekit.inspect.window import Window


class _Mark(NamedTuple):
    """A magic, and the places of UUID (16 bytes) and label; -1 where there is none."""

    kind: str
    at: int
    magic: bytes
    uuid: int = -1
    label: int = -1
    label_size: int = 0


# XFS: the low byte of sb_versionnum, whose lower four bits are the version (XFS Algorithms & Data Structures).
_XFS_VERSION, _VERSION_BITS, _XFS_TODAY = 101, 0x0F, 5
_MARKS = (
    _Mark("xfs", 0, b"XFSB", 32, 108, 12),
    _Mark("btrfs", 0x10040, b"_BHRfS_M", 0x10020, 0x1012B, 256),
    _Mark("jfs", 0x8000, b"JFS1", 0x8088, 0x8098, 16),
    _Mark("reiserfs", 0x10034, b"ReIsErFs", 0x10054, 0x10064, 16),
    _Mark("reiserfs", 0x10034, b"ReIsEr2Fs", 0x10054, 0x10064, 16),
    _Mark("reiserfs", 0x10034, b"ReIsEr3Fs", 0x10054, 0x10064, 16),
    _Mark("swap", 4086, b"SWAPSPACE2", 0x40C, 0x41C, 16),
    _Mark("iso9660", 0x8001, b"CD001", -1, 0x8028, 32),
    _Mark("squashfs", 0, b"hsqs"),
    _Mark("LUKS", 0, b"LUKS\xba\xbe"),
    _Mark("LVM", 512, b"LABELONE"),
    _Mark("NTFS", 3, b"NTFS    "),
)


def name(window: Window, partition: int) -> Filesystem | None:
    """Name what a window holds, by its magic; None when nothing known is there."""
    for mark in _MARKS:
        if window.read(mark.at, len(mark.magic)) == mark.magic:
            uuid = window.read(mark.uuid, 16)
            label = window.read(mark.label, mark.label_size).split(b"\0")[0]
            return Filesystem(
                _older_xfs(window) or mark.kind if mark.kind == "xfs" else mark.kind,
                partition,
                window.start,
                window.length,
                label.decode(errors="backslashreplace").strip(),
                str(UUID(bytes=uuid)) if len(uuid) == 16 else "",  # noqa: PLR2004
            )
    return None


def _older_xfs(window: Window) -> str:
    """Return the name of an xfs of before version 5, which some loaders read, and "" for today's, which few do."""
    version = (window.read(_XFS_VERSION, 1) or b"\0")[0] & _VERSION_BITS
    return "" if version >= _XFS_TODAY else f"xfs v{version}"
