"""Partition tables: MBR with its logical partitions here, GPT next door; never a traceback, whatever the bytes.

MBR: the last 66 bytes of sector 0 hold four entries of 16 bytes and 55 AA; an extended partition chains further
tables (EBR), each with one partition and a pointer, relative to the extended partition's start.
https://en.wikipedia.org/wiki/Master_boot_record gives the bytes; libparted and the Linux kernel agree on them.
"""

import struct
from typing import NamedTuple

from imagekit.inspect import gpt
from imagekit.inspect.report import Kind, Partition, Segment, Table
from imagekit.inspect.window import SECTOR, Readable, Window

_ENTRIES = 446
_ENTRY = struct.Struct("<B3xB3xII")
_SIGNATURE = struct.Struct("<I")
_EXTENDED = {0x05, 0x0F, 0x85}
_PROTECTIVE = 0xEE
_FIRST_LOGICAL = 5
_MOST_LOGICAL = 128
_BOOTABLE = 0x80

_TYPES = {
    0x01: "FAT12",
    0x04: "FAT16",
    0x05: "extended",
    0x06: "FAT16",
    0x07: "NTFS or exFAT",
    0x0B: "FAT32",
    0x0C: "FAT32",
    0x0E: "FAT16",
    0x0F: "extended",
    0x82: "Linux swap",
    0x83: "Linux",
    0x85: "extended",
    0x8E: "Linux LVM",
    0xA5: "FreeBSD",
    0xEE: "protective (GPT)",
    0xEF: "EFI system",
    0xFD: "Linux RAID",
}


class _Raw(NamedTuple):
    """An entry as it stands: start and length in sectors."""

    flag: int
    type: int
    start: int
    length: int


def read_table(file: Readable) -> Table:
    """Read the partition table of a disk image; what is wrong with it is listed in its `problems`."""
    disk = Window.whole(file)
    sector = disk.read(0, SECTOR)
    entries = _entries(sector)
    if any(entry.type == _PROTECTIVE for entry in entries):
        table = gpt.read_gpt(disk)
        if table is not None:
            return table
        return _read_mbr(disk, sector, entries, ["the MBR announces a GPT, but there is none"])
    if not _is_mbr(sector, entries):
        return Table("none")
    stale = ["a GPT is there, but no protective MBR: it is ignored"] if gpt.is_gpt(disk) else []
    return _read_mbr(disk, sector, entries, stale)


def _entries(sector: bytes) -> list[_Raw]:
    if len(sector) < SECTOR or sector[-2:] != b"\x55\xaa":
        return []
    return [_Raw._make(_ENTRY.unpack_from(sector, _ENTRIES + 16 * index)) for index in range(4)]


def _is_mbr(sector: bytes, entries: list[_Raw]) -> bool:
    """Tell a table from the boot sector of a file system, which ends in 55 AA too."""
    if not entries or any(entry.flag not in {0, _BOOTABLE} for entry in entries):
        return False
    used = [entry for entry in entries if entry.type and entry.length]
    return all(entry.start for entry in used) and (bool(used) or not _is_boot_sector(sector))


def _is_boot_sector(sector: bytes) -> bool:
    return sector[0] in {0xEB, 0xE9} and sector[11:13] in {b"\0\2", b"\0\4", b"\0\x08", b"\0\x10"}


def _read_mbr(disk: Window, sector: bytes, entries: list[_Raw], problems: list[str]) -> Table:
    partitions = [
        _partition(number, entry)
        for number, entry in enumerate(entries, 1)
        if entry.type and entry.length and entry.type not in _EXTENDED
    ]
    areas = [Segment(0, SECTOR, Kind.TABLE, "MBR: boot code and partition table")]
    for entry in entries:
        if entry.type in _EXTENDED and entry.length:
            _follow(disk, entry.start, partitions, areas, problems)
    problems += gpt.misplaced(partitions, disk.length)
    (signature,) = _SIGNATURE.unpack_from(sector, 440)
    return Table("mbr", f"{signature:08x}", tuple(partitions), tuple(problems), tuple(areas))


def _follow(
    disk: Window, extended: int, partitions: list[Partition], areas: list[Segment], problems: list[str]
) -> None:
    """Add an extended partition's logical ones, table by table; a chain in a circle ends at once."""
    at, seen = extended, set[int]()
    number = max([_FIRST_LOGICAL - 1, *(partition.number for partition in partitions)]) + 1
    while at not in seen and len(seen) < _MOST_LOGICAL:
        seen.add(at)
        entries = _entries(disk.read(at * SECTOR, SECTOR))
        if not entries:
            problems.append(f"the chain of logical partitions breaks at sector {at}")
            return
        areas.append(Segment(at * SECTOR, SECTOR, Kind.TABLE, "table of a logical partition"))
        logical, following = entries[:2]
        if logical.type and logical.length:
            partitions.append(_partition(number, logical._replace(start=logical.start + at)))
            number += 1
        if following.type not in _EXTENDED or not following.length:
            return
        at = extended + following.start
    problems.append("the chain of logical partitions goes in a circle or is too long")


def _partition(number: int, entry: _Raw) -> Partition:
    return Partition(
        number,
        entry.start * SECTOR,
        entry.length * SECTOR,
        _TYPES.get(entry.type, f"type {entry.type:02x}"),
        bootable=entry.flag == _BOOTABLE,
    )
