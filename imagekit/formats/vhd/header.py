"""The header of a VHD that grows: 1024 bytes that say where its blocks are listed, and what its parent is."""

import struct
from dataclasses import dataclass
from uuid import UUID

from imagekit.errors import VerificationError
from imagekit.formats.vhd.footer import check_sum, sealed

LENGTH = 1024
BLOCK = 2 << 20
"""Bytes of a block of ours; other tools have other powers of two."""

_FORMAT = struct.Struct(">8sQQIIII16sII512s")
_LOCATOR = struct.Struct(">4sIIIQ")
_COOKIE = b"cxsparse"
_VERSION = 0x00010000
_CHECKSUM = 36
_LOCATORS = 8
_NONE = 0xFFFFFFFFFFFFFFFF
_SMALLEST, _LARGEST = 4096, 256 << 20  # bytes of a block


@dataclass(frozen=True, slots=True)
class Locator:
    """Where a parent's name is written: the platform whose form it has, sectors set aside, bytes, place."""

    platform: bytes
    sectors: int
    length: int
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a header says. `entries` and `block` (bytes) are the table's; only a child has a parent's fields."""

    table: int
    entries: int
    block: int = BLOCK
    parent: UUID | None = None
    parent_time: int = 0
    parent_name: str = ""
    locators: tuple[Locator, ...] = ()

    def to_bytes(self) -> bytes:
        """Return the 1024 bytes."""
        packed = _FORMAT.pack(
            _COOKIE,
            _NONE,
            self.table,
            _VERSION,
            self.entries,
            self.block,
            0,
            self.parent.bytes if self.parent else bytes(16),
            self.parent_time,
            0,
            self.parent_name.encode("utf-16-be"),
        )
        listed = b"".join(
            _LOCATOR.pack(one.platform, one.sectors, one.length, 0, one.offset) for one in self.locators
        )
        return sealed((packed + listed).ljust(LENGTH, b"\0"), _CHECKSUM)


def read_header(data: bytes) -> Header:
    """Read a header's 1024 bytes; VerificationError for what is none."""
    if len(data) != LENGTH or data[:8] != _COOKIE:
        raise VerificationError("the VHD has no header where its footer says", details=f"seen: {data[:8]!r}")
    check_sum(data, _CHECKSUM, "the VHD's header")
    _, _, table, version, entries, block, _, parent, time, _, name = _FORMAT.unpack_from(data)
    if version >> 16 != _VERSION >> 16:
        raise VerificationError(f"the VHD's header is of version {version >> 16}, and 1 is the only one")
    if block & (block - 1) or not _SMALLEST <= block <= _LARGEST:
        raise VerificationError(f"the VHD's blocks have {block} bytes", details="a power of two, 2 MiB mostly")
    return Header(
        table=table,
        entries=entries,
        block=block,
        parent=UUID(bytes=parent) if any(parent) else None,
        parent_time=time,
        parent_name=name.decode("utf-16-be", "replace").partition("\0")[0],
        locators=tuple(_locators(data)),
    )


def _locators(data: bytes) -> list[Locator]:
    records = (_LOCATOR.unpack_from(data, _FORMAT.size + index * _LOCATOR.size) for index in range(_LOCATORS))
    return [
        Locator(platform, sectors, length, offset)
        for platform, sectors, length, _, offset in records
        if any(platform)
    ]
