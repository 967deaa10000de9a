"""The footer: 512 bytes at the end of every VHD, and again at the start of those that grow.

Microsoft, "Virtual Hard Disk Image Format Specification" 1.0 (2006); what XenServer's own tools write and ask
for is in xapi-project/blktap (vhd/lib/libvhd.c). All numbers are big-endian.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from uuid import UUID

from imagekit.errors import VerificationError

SECTOR = 512
LARGEST = 2040 << 30
"""Bytes of the largest disk that a VHD holds."""

EPOCH = 946684800
"""2000-01-01T00:00:00Z, from which a VHD counts its seconds."""

ABSENT = 0xFFFFFFFFFFFFFFFF
"""The place of the header in a fixed VHD, which has none."""

_FORMAT = struct.Struct(">8sIIQI4sIIQQHBBII16sBB")
_COOKIE = b"conectix"
_VERSION = 0x00010000
_CHECKSUM = 64  # where it lies
_TAP = b"tap\0"
_TAP_VERSION = 0x00010003


class Kind(IntEnum):
    """How a disk's bytes lie in the file."""

    FIXED = 2
    DYNAMIC = 3
    DIFFERENCING = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Footer:
    """What a footer says. `size` and `original_size` are the disk's bytes; `time` is seconds since 2000."""

    size: int
    kind: Kind
    uuid: UUID
    time: int = 0
    header: int = SECTOR
    creator: bytes = _TAP
    creator_version: int = _TAP_VERSION
    host: bytes = bytes(4)
    geometry: tuple[int, int, int] = (0, 0, 0)
    original_size: int = 0
    saved: bool = False
    hidden: bool = False

    def to_bytes(self) -> bytes:
        """Return the 512 bytes."""
        cylinders, heads, sectors = self.geometry
        packed = _FORMAT.pack(
            _COOKIE,
            2,  # a bit that is always set
            _VERSION,
            self.header,
            self.time,
            self.creator,
            self.creator_version,
            int.from_bytes(self.host, "big"),
            self.original_size or self.size,
            self.size,
            cylinders,
            heads,
            sectors,
            self.kind,
            0,
            self.uuid.bytes,
            self.saved,
            self.hidden,
        )
        return sealed(packed.ljust(SECTOR, b"\0"), _CHECKSUM)


def read_footer(data: bytes, where: str) -> Footer:
    """Read a footer's 512 bytes; VerificationError for what is none, `where` telling which."""
    if len(data) != SECTOR or data[:8] != _COOKIE:
        raise VerificationError(f"not a VHD: there is no footer {where}", details=f"it begins with {data[:8]!r}")
    check_sum(data, _CHECKSUM, f"the footer {where}")
    fields = _FORMAT.unpack_from(data)
    _, _, version, header, time, creator, creator_version, host, original, size, c, h, s, kind, _, uuid = fields[
        :16
    ]
    if version >> 16 != _VERSION >> 16:
        raise VerificationError(f"the VHD is of version {version >> 16}, and 1 is the only one")
    if kind not in set(Kind):
        raise VerificationError(
            f"the VHD is of type {kind}, which is none", hint="2 fixed, 3 dynamic, 4 differencing"
        )
    if not 0 < size <= LARGEST or size % SECTOR:
        raise VerificationError(f"the VHD says that its disk has {size} bytes", details="sectors, up to 2040 GiB")
    return Footer(
        size=size,
        kind=Kind(kind),
        uuid=UUID(bytes=uuid),
        time=time,
        header=header,
        creator=creator,
        creator_version=creator_version,
        host=host.to_bytes(4, "big"),
        geometry=(c, h, s),
        original_size=original,
        saved=bool(fields[16]),
        hidden=bool(fields[17]),
    )


def geometry(size: int) -> tuple[int, int, int]:
    """Return a disk's cylinders, heads and sectors a track, as the specification's appendix and blktap do."""
    total = min(size // SECTOR, 65535 * 16 * 255)
    if total >= 65535 * 16 * 63:
        return total // 255 // 16, 16, 255
    sectors, tracks = 17, total // 17
    heads = max(4, (tracks + 1023) // 1024)
    if tracks >= heads * 1024 or heads > 16:  # noqa: PLR2004 -- the specification's
        sectors, heads = 31, 16
        tracks = total // sectors
    if tracks >= heads * 1024:
        sectors, heads = 63, 16
        tracks = total // sectors
    return tracks // heads, heads, sectors


def sealed(data: bytes, at: int) -> bytes:
    """Return a structure with its checksum, four bytes at `at`: the complement of the sum of its bytes."""
    return data[:at] + (~(sum(data) - sum(data[at : at + 4])) & 0xFFFFFFFF).to_bytes(4, "big") + data[at + 4 :]


def check_sum(data: bytes, at: int, what: str) -> None:
    """Raise VerificationError when a structure's checksum is wrong."""
    if sealed(data, at) != data:
        raise VerificationError(f"{what} is damaged: its checksum is wrong")
