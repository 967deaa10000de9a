"""GUID partition tables: both headers and both arrays, their CRCs checked and compared.

UEFI Specification 2.10, section 5.3: the header is at sector 1, its backup in the last sector, each with its own
copy of the array; all numbers little-endian, GUIDs mixed-endian, CRCs of zlib's kind.
"""

import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from uuid import UUID

from imagekit.inspect.report import Kind, Partition, Segment, Table
from imagekit.inspect.window import SECTOR, Window

_MAGIC = b"EFI PART"
_HEADER = struct.Struct("<8sIIIIQQQQ16sQIII")
_ENTRY = struct.Struct("<16s16sQQQ72s")
_CRC_AT = 16
_LARGEST_ARRAY = 1 << 20  # bytes; the usual array has 16 KiB
_LEGACY_BOOTABLE = 1 << 2

_TYPES = {
    "c12a7328-f81f-11d2-ba4b-00a0c93ec93b": "EFI system",
    "21686148-6449-6e6f-744e-656564454649": "BIOS boot",
    "0fc63daf-8483-4772-8e79-3d69d8477de4": "Linux",
    "4f68bce3-e8cd-4db1-96e7-fbcaf984b709": "Linux root (x86-64)",
    "44479540-f297-41b2-9af7-d131d5f0458a": "Linux root (x86)",
    "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f": "Linux swap",
    "bc13c2ff-59e6-4262-a352-b275fd6f7172": "Linux /boot",
    "e6d6d379-f507-44c2-a23c-238f2a3df928": "Linux LVM",
    "a19d880f-05fc-4d3b-a006-743f0f84911e": "Linux RAID",
    "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7": "Microsoft basic data",
}


@dataclass(frozen=True, slots=True)
class _Copy:
    """One of the two copies, its places in sectors; `wrong` says what disqualifies it."""

    at: int
    guid: str
    other: int
    first: int
    last: int
    array_at: int
    array: bytes
    entry_size: int
    wrong: str


def is_gpt(disk: Window) -> bool:
    """Tell whether a GPT header stands at either of its places."""
    return any(disk.read(at * SECTOR, len(_MAGIC)) == _MAGIC for at in _places(disk))


def read_gpt(disk: Window) -> Table | None:
    """Read the GPT from its better copy; None when neither place has one."""
    if not is_gpt(disk):
        return None
    primary, backup = (_read_copy(disk, at) for at in _places(disk))
    names = (("primary", primary), ("backup", backup))
    problems = [f"{name} GPT: {copy.wrong}" for name, copy in names if copy.wrong]
    copy = backup if primary.wrong and not backup.wrong else primary
    if not problems:
        problems = _compare(primary, backup)
    partitions = [] if copy.wrong else _partitions(copy)
    problems += misplaced(partitions, disk.length)
    if not copy.wrong and any(_outside(partition, copy) for partition in partitions):
        problems.append("a partition reaches into the GPT itself")
    areas = [Segment(0, SECTOR, Kind.TABLE, "protective MBR"), *_areas(names)]
    return Table("gpt", copy.guid, tuple(partitions), tuple(problems), tuple(areas))


def misplaced(partitions: Sequence[Partition], size: int) -> list[str]:
    """Say which partitions leave the disk of `size` bytes, and which overlap."""
    problems = [
        f"partition {partition.number} ends beyond the disk"
        for partition in partitions
        if partition.start + partition.size > size
    ]
    ordered = sorted(partitions, key=lambda partition: partition.start)
    return problems + [
        f"partitions {left.number} and {right.number} overlap"
        for left, right in pairwise(ordered)
        if left.start + left.size > right.start
    ]


def _places(disk: Window) -> tuple[int, int]:
    return 1, max(disk.length // SECTOR - 1, 1)


def _read_copy(disk: Window, at: int) -> _Copy:
    sector = disk.read(at * SECTOR, SECTOR).ljust(SECTOR, b"\0")
    magic, _, size, crc, _, me, other, first, last, guid, array_at, count, entry_size, array_crc = (
        _HEADER.unpack_from(sector)
    )
    array = b""
    if magic != _MAGIC:
        wrong = "missing"
    elif not _HEADER.size <= size <= SECTOR or zlib.crc32(_without_crc(sector[:size])) != crc:
        wrong = "the header's checksum is wrong"
    elif me != at:
        wrong = f"the header says it is at sector {me}, but it is at sector {at}"
    elif entry_size < _ENTRY.size or entry_size % 8 or count * entry_size > _LARGEST_ARRAY:
        wrong = "the array's shape makes no sense"
    else:
        array = disk.read(array_at * SECTOR, count * entry_size)
        wrong = "" if zlib.crc32(array) == array_crc else "the array's checksum is wrong"
    return _Copy(at, str(UUID(bytes_le=guid)), other, first, last, array_at, array, entry_size, wrong)


def _without_crc(header: bytes) -> bytes:
    return header[:_CRC_AT] + bytes(4) + header[_CRC_AT + 4 :]


def _compare(primary: _Copy, backup: _Copy) -> list[str]:
    problems = []
    if (primary.guid, primary.array) != (backup.guid, backup.array):
        problems.append("the primary and the backup GPT differ")
    if primary.other != backup.at:
        problems.append(f"the primary GPT looks for its backup at sector {primary.other}, not in the last sector")
    return problems


def _partitions(copy: _Copy) -> list[Partition]:
    found = []
    for index in range(len(copy.array) // copy.entry_size):
        kind, guid, first, last, flags, name = _ENTRY.unpack_from(copy.array, index * copy.entry_size)
        if any(kind) and last >= first:
            found.append(
                Partition(
                    index + 1,
                    first * SECTOR,
                    (last - first + 1) * SECTOR,
                    _type(kind),
                    name.decode("utf-16-le", "replace").split("\0")[0],
                    str(UUID(bytes_le=guid)),
                    bool(flags & _LEGACY_BOOTABLE),
                )
            )
    return found


def _type(kind: bytes) -> str:
    guid = str(UUID(bytes_le=kind))
    return _TYPES.get(guid, guid)


def _outside(partition: Partition, copy: _Copy) -> bool:
    last = (partition.start + partition.size) // SECTOR - 1
    return partition.start // SECTOR < copy.first or last > copy.last


def _areas(copies: Iterable[tuple[str, _Copy]]) -> Iterable[Segment]:
    for name, copy in copies:
        if copy.wrong != "missing":
            yield Segment(copy.at * SECTOR, SECTOR, Kind.TABLE, f"{name} GPT header")
        if copy.array:
            yield Segment(copy.array_at * SECTOR, len(copy.array), Kind.TABLE, f"{name} GPT entries")
