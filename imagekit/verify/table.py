"""The partition table, as sfdisk (util-linux) and sgdisk (GPT fdisk) read it: libparted made it."""

import json
import re
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from uuid import UUID

from imagekit.command import find
from imagekit.disk import Layout
from imagekit.errors import VerificationError
from imagekit.verify.check import Check, missing, passed
from imagekit.verify.claims import Claims
from imagekit.verify.scratch import DISK, Scratch
from imagekit.verify.subject import Subject

_LAYOUTS: Mapping[str, Layout] = {"dos": "mbr", "gpt": "gpt"}
# libparted's choice by the file system: FAT16 below 32 MiB is 4, with CHS 6, with LBA e; FAT32 b or c.
_MBR_TYPES = {"ext": {"83"}, "fat16": {"4", "6", "e"}, "fat32": {"b", "c"}}
_GPT_TYPES = {"ext": "0FC63DAF-8483-4772-8E79-3D69D8477DE4", "fat": "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7"}


@dataclass(frozen=True, slots=True)
class Spot:
    """The file system's place: `offset` and `size` in bytes, `number` of its partition; 0 without a table."""

    layout: Layout
    offset: int
    size: int
    number: int

    @property
    def root(self) -> str:
        """The place in GRUB's words."""
        return f"(hd0,{self.number - 1})" if self.number else "(hd0)"


@dataclass(frozen=True, slots=True)
class _Table:
    layout: Layout
    id: str
    partitions: tuple[Mapping[str, str | int], ...]

    def spot(self, length: int) -> Spot:
        """Return the first partition's place."""
        if not self.partitions:
            return Spot("plain", 0, length, 0)
        first = self.partitions[0]
        # `node` is the disk's name and the number.
        number = int(re.sub(r".*\D", "", str(first["node"])))
        return Spot(self.layout, int(first["start"]) * 512, int(first["size"]) * 512, number)


def check_table(subject: Subject, room: Scratch) -> Generator[Check, None, Spot]:
    """Check the table against the sidecar and return where the file system lies; by the sidecar without sfdisk."""
    claims = subject.claims
    if claims is not None and find("sfdisk") is None:
        yield missing("partition table", "sfdisk")
        place = claims.layout
        return Spot(place.disk, place.offset, subject.length - place.offset, int(place.disk != "plain"))
    table = _read(room)
    spot = table.spot(subject.length)
    if spot.offset + spot.size > subject.length:
        raise VerificationError(
            "the partition reaches beyond the end of the disk",
            details=f"it ends at byte {spot.offset + spot.size}, the disk at {subject.length}",
        )
    if claims is not None:
        _compare(table, spot, claims)
    yield passed("partition table", f"{spot.layout}, the file system at byte {spot.offset}, {spot.size} bytes")
    if table.layout == "gpt":
        yield from _check_copies(room)
    return spot


def _read(room: Scratch) -> _Table:
    done = room.run("sfdisk", "--json", DISK, ok=range(2))
    if done.status:  # it knows no table there
        return _Table("plain", "", ())
    told = json.loads(done.stdout.decode(errors="replace"), strict=False)["partitiontable"]
    partitions = tuple(told.get("partitions", ()))
    layout = _LAYOUTS.get(told["label"])
    if layout is None:
        raise VerificationError(
            f"the disk has a partition table of the kind {told['label']}, which none boots from"
        )
    # A FAT boot sector ends as an MBR does, and has no partitions.
    return _Table(layout if partitions else "plain", told["id"], partitions)


def _compare(table: _Table, spot: Spot, claims: Claims) -> None:
    place = claims.layout
    told: dict[str, tuple[object, object]] = {
        "layout": (spot.layout, place.disk),
        "number of partitions": (len(table.partitions), int(place.disk != "plain")),
        "file system's offset": (spot.offset, place.offset),
    }
    if table.partitions and place.identity is not None:
        raw, first, kind = bytes.fromhex(place.identity), table.partitions[0], place.filesystem.type
        if place.disk == "mbr":
            fits = first["type"] in _MBR_TYPES["ext" if kind.startswith("ext") else kind]
            told["disk's signature"] = (table.id, f"0x{_signature(raw):08x}")
            told["partition's type"] = (first["type"], first["type"] if fits else f"one for {kind}")
        else:
            told["disk's GUID"] = (table.id, _guid(raw[:16]))
            told["partition's GUID"] = (first["uuid"], _guid(raw[16:]))
            told["partition's type"] = (first["type"], _GPT_TYPES[kind[:3]])
    for what, (seen, claimed) in told.items():
        if seen != claimed:
            raise VerificationError(f"the {what} is {seen}", details=f"by its sidecar it should be {claimed}")


def _check_copies(room: Scratch) -> Iterator[Check]:
    if find("sgdisk") is None:
        yield missing("GPT", "sgdisk")
        return
    done = room.run("sgdisk", "-v", DISK, ok=range(256))
    # Its exit status is 0 whatever it finds.
    said = (done.stdout + done.stderr).decode(errors="replace")
    if "No problems found" not in said or re.search("Caution|Warning|ERROR", said):
        raise VerificationError("the two copies of the GPT are not both whole", details=said.strip()[:2000])
    yield passed("GPT", "both copies whole and equal")


def _signature(raw: bytes) -> int:
    # 0 would mean that there is none.
    return int.from_bytes(bytes([raw[0] or 1]) + raw[1:4], "little")


def _guid(raw: bytes) -> str:
    """Return 16 bytes, as a GPT stores them, as a GUID of version 8 (RFC 9562)."""
    guid = UUID(bytes_le=raw)
    number = guid.int & ~(0xF << 76) & ~(0b11 << 62) | 0x8 << 76 | 0b10 << 62
    return str(UUID(int=number)).upper()
