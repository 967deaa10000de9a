"""The partition table, as sfdisk (util-linux) and sgdisk (GPT fdisk) read it: libparted made it."""

import json
import re
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from uuid import UUID

from imagekit.disk import Layout, partition_identity
from imagekit.errors import VerificationError
from imagekit.programs import find
from imagekit.verify.check import Check, missing, passed
from imagekit.verify.claims import Claims, Disk
from imagekit.verify.scratch import DISK, Scratch
from imagekit.verify.subject import Subject

_LAYOUTS: Mapping[str, Layout] = {"dos": "mbr", "gpt": "gpt"}
# libparted's choice by the file system: FAT16 below 32 MiB is 4, with CHS 6, with LBA e; FAT32 b or c.
_MBR_TYPES = {"fat16": {"4", "6", "e"}, "fat32": {"b", "c"}, "LVM": {"8e"}}
_MBR_LINUX = {"83"}
_GPT_TYPES = {
    "fat16": "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7",
    "fat32": "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7",
    "LVM": "E6D6D379-F507-44C2-A23C-238F2A3DF928",
}
_GPT_LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"


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
class Spots:
    """What a loader reads, and the root's place: a boot partition and the one behind it, or one and the same."""

    boot: Spot
    root: Spot


@dataclass(frozen=True, slots=True)
class _Table:
    layout: Layout
    id: str
    partitions: tuple[Mapping[str, str | int], ...]

    def spots(self, length: int) -> list[Spot]:
        """Return the partitions' places; the whole disk's without a table."""
        if not self.partitions:
            return [Spot("plain", 0, length, 0)]
        return [
            # `node` is the disk's name and the number.
            Spot(
                self.layout, int(one["start"]) * 512, int(one["size"]) * 512,
                int(re.sub(r".*\D", "", str(one["node"]))),
            )
            for one in self.partitions
        ]  # fmt: skip


def check_table(subject: Subject, room: Scratch) -> Generator[Check, None, Spots]:
    """Check the table against the sidecar and return where things lie; by the sidecar without sfdisk."""
    claims = subject.claims
    if claims is not None and find("sfdisk") is None:
        yield missing("partition table", "sfdisk")
        return _claimed(claims.layout, subject.length)
    table = _read(room)
    places = table.spots(subject.length)
    for place in places:
        if place.offset + place.size > subject.length:
            raise VerificationError(
                "the partition reaches beyond the end of the disk",
                details=f"it ends at byte {place.offset + place.size}, the disk at {subject.length}",
            )
    apart = claims is not None and claims.layout.boot is not None
    spots = Spots(places[0], places[-1] if apart else places[0])
    spot = spots.root
    if claims is not None:
        _compare(table, spots, claims)
    before = f"/boot at byte {spots.boot.offset}, " if apart else ""
    yield passed(
        "partition table", f"{spot.layout}, {before}the file system at byte {spot.offset}, {spot.size} bytes"
    )
    if table.layout == "gpt":
        yield from _check_copies(room)
    return spots


def _claimed(place: Disk, length: int) -> Spots:
    count = int(place.disk != "plain") + int(place.boot is not None)
    root = Spot(place.disk, place.offset, length - place.offset, count)
    if place.boot is None:
        return Spots(root, root)
    return Spots(Spot(place.disk, place.offset - place.boot.size, place.boot.size, 1), root)


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


def _compare(table: _Table, spots: Spots, claims: Claims) -> None:
    place = claims.layout
    told: dict[str, tuple[object, object]] = {
        "layout": (spots.root.layout, place.disk),
        "number of partitions": (len(table.partitions), int(place.disk != "plain") + int(place.boot is not None)),
        "file system's offset": (spots.root.offset, place.offset),
    }
    if place.boot is not None:
        told["boot partition's offset"] = (spots.boot.offset, place.offset - place.boot.size)
    if table.partitions and place.identity is not None:
        raw = bytes.fromhex(place.identity)
        kinds = [*(["ext2"] if place.boot else []), "LVM" if place.lvm else place.filesystem.type]
        told |= _identities(table, raw)
        for index, (partition, kind) in enumerate(zip(table.partitions, kinds, strict=False)):
            told |= _of_partition(place.disk, partition, kind, raw, index)
    for what, (seen, claimed) in told.items():
        if seen != claimed:
            raise VerificationError(f"the {what} is {seen}", details=f"by its sidecar it should be {claimed}")


def _identities(table: _Table, raw: bytes) -> dict[str, tuple[object, object]]:
    if table.layout == "mbr":
        return {"disk's signature": (table.id, f"0x{_signature(raw):08x}")}
    return {"disk's GUID": (table.id, _guid(raw[:16]))}


def _of_partition(
    layout: Layout, partition: Mapping[str, str | int], kind: str, raw: bytes, index: int
) -> dict[str, tuple[object, object]]:
    """Return what is seen of a partition, and what should be; `index` counts from 0."""
    seen, which = partition["type"], "partition's" if not index else "second partition's"
    if layout == "mbr":
        fits = seen in _MBR_TYPES.get(kind, _MBR_LINUX)
        return {f"{which} type": (seen, seen if fits else f"one for {kind}")}
    return {
        f"{which} GUID": (partition["uuid"], _guid(partition_identity(raw, index))),
        f"{which} type": (seen, _GPT_TYPES.get(kind, _GPT_LINUX)),
    }


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
