"""Partition tables: sfdisk and sgdisk find in order what libparted writes; identities come from the content."""

import json
import os
import re
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imagekit.command import run
from imagekit.disk import libparted_version, write_disk
from imagekit.disk.layout import Layout, Spot
from imagekit.disk.stamp import stamp_gpt
from imagekit.disk.table import write_table
from imagekit.errors import BuildError, ToolError
from imagekit.executor import SourceInput
from imagekit.root import write_root

MIB, GIB, SECTOR = 1 << 20, 1 << 30, 512
LINUX, BASIC = "0FC63DAF-8483-4772-8E79-3D69D8477DE4", "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7"

Compose = Callable[..., Path]


@pytest.fixture
def compose(tmp_path: Path) -> Compose:
    """Return a function that makes a disk: compose("gpt", text="a", …)."""

    def compose_it(layout: str, text: str = "a", **changed: object) -> Path:
        folder = tmp_path / str(len(os.listdir(tmp_path)))
        folder.mkdir()
        write_root({}, folder / "root", {"trees": [], "files": {"/text": text}, "epoch": 1})
        options = {
            "layout": layout,
            "disk_size": None,
            "filesystem_size": None,
            "unit": MIB,
            "free": 0,
            "type": "ext2",
            "label": "",
            "block_size": 0,
            "epoch": 946684800,
            **changed,
        }
        write_disk({"root": SourceInput(folder / "root")}, folder / "disk", options)
        return folder / "disk"

    return compose_it


def table(disk: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("sfdisk", "--json", disk).stdout)["partitiontable"]
    return found


def in_order(disk: Path) -> bool:
    """Tell whether neither sfdisk nor sgdisk finds anything to complain of."""
    by_sfdisk = run("sfdisk", "--verify", disk).stdout
    by_sgdisk = run("sgdisk", "-v", disk).stdout
    return b"No errors detected" in by_sfdisk and b"No problems found" in by_sgdisk


@pytest.mark.parametrize(
    "kind, codes", [("ext2", {"83"}), ("ext4", {"83"}), ("fat16", {"4", "6", "e"}), ("fat32", {"b", "c"})]
)
def test_mbr(kind: str, codes: set[str], compose: Compose) -> None:
    disk = compose("mbr", type=kind)
    found = table(disk)
    assert (found["label"], found["sectorsize"]) == ("dos", SECTOR)
    (partition,) = found["partitions"]
    assert (partition["start"], partition["size"]) == (2048, (disk.stat().st_size - MIB) // SECTOR)
    assert partition["bootable"] is True
    assert partition["type"] in codes
    assert b"No errors detected" in run("sfdisk", "--verify", disk).stdout
    assert re.fullmatch("0x[0-9a-f]{8}", found["id"])


@pytest.mark.parametrize("kind, code", [("ext2", LINUX), ("ext3", LINUX), ("fat32", BASIC)])
def test_gpt(kind: str, code: str, compose: Compose) -> None:
    disk = compose("gpt", type=kind)
    found = table(disk)
    sectors = disk.stat().st_size // SECTOR
    assert (found["label"], found["firstlba"], found["lastlba"]) == ("gpt", 34, sectors - 34)
    (partition,) = found["partitions"]
    assert (partition["start"], partition["size"], partition["type"]) == (2048, sectors - 4096, code)
    assert in_order(disk)


@pytest.mark.parametrize("size", [10 * MIB, 10 * MIB + 512 * 1024, 10 * MIB + 1024, 3 * GIB, 2047 * GIB])
@pytest.mark.parametrize("layout", ["mbr", "gpt"])
def test_disks_of_fixed_size(layout: Layout, size: int, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with disk.open("wb") as file:
        file.truncate(size)
    write_table(disk, layout, Spot(size, MIB, 5 * MIB), "ext2", bytes(range(32)))
    (partition,) = table(disk)["partitions"]
    assert (partition["start"] % 2048, partition["size"] * SECTOR) == (0, 5 * MIB)
    assert layout == "mbr" or in_order(disk)
    assert disk.stat().st_size == size
    assert disk.stat().st_blocks * 512 < 200_000


def test_an_mbr_of_more_than_2_tib_is_refused(tmp_path: Path) -> None:
    disk, size = tmp_path / "disk", 3 << 40
    with disk.open("wb") as file:
        file.truncate(size)
    with pytest.raises(BuildError, match="libparted could not write the msdos table"):
        write_table(disk, "mbr", Spot(size, MIB, size - MIB), "ext2", bytes(32))


def guids(disk: Path) -> list[tuple[bytes, bytes]]:
    """Return (disk GUID, partition GUID) of both copies, their checksums checked."""
    data = disk.read_bytes()
    found = []
    for at in (SECTOR, len(data) - SECTOR):
        header = bytearray(data[at : at + 92])
        (crc,) = struct.unpack_from("<I", header, 16)
        first, count, length, entries_crc = struct.unpack_from("<QIII", header, 72)
        entries = data[first * SECTOR : first * SECTOR + count * length]
        header[16:20] = bytes(4)
        assert (zlib.crc32(header), zlib.crc32(entries)) == (crc, entries_crc)
        found.append((bytes(header[56:72]), entries[16:32]))
    return found


def test_gpt_identities_come_from_the_content(compose: Compose) -> None:
    (first, backup), (again, _), (other, _) = (guids(compose("gpt", text)) for text in "aab")
    assert first == backup == again
    assert len({*first, *other}) == 4
    for guid in first:
        assert (guid[7] >> 4, guid[8] >> 6) == (8, 2)


def test_mbr_signatures_come_from_the_content(compose: Compose) -> None:
    first, again, other = (table(compose("mbr", text))["id"] for text in "aab")
    assert first == again != other


@pytest.mark.parametrize("first_byte", [0, 1, 255])
def test_no_signature_is_zero(first_byte: int, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with disk.open("wb") as file:
        file.truncate(8 * MIB)
    write_table(disk, "mbr", Spot(8 * MIB, MIB, 7 * MIB), "ext2", bytes([first_byte]) + bytes(31))
    assert table(disk)["id"] == f"0x{first_byte or 1:08x}"


@pytest.mark.parametrize("layout", ["plain", "mbr", "gpt"])
def test_equal_content_gives_equal_disks(layout: str, compose: Compose) -> None:
    assert compose(layout).read_bytes() == compose(layout).read_bytes()


@pytest.mark.parametrize("kind", ["ext2", "ext4", "fat16"])
def test_the_table_leaves_the_file_system_alone(kind: str, compose: Compose) -> None:
    plain = compose("plain", type=kind).read_bytes()
    for layout in ("mbr", "gpt"):
        inside = compose(layout, type=kind).read_bytes()[MIB : MIB + len(plain)]
        # FAT's boot sector counts the sectors before it.
        skipped = SECTOR if kind == "fat16" else 0
        assert inside[skipped:] == plain[skipped:]


def test_a_disk_in_the_place_of_another(tmp_path: Path) -> None:
    """libparted remembers devices by their names, with their sizes."""
    path = tmp_path / "disk"
    for size in (8 * MIB, 16 * MIB, 4 * MIB):
        path.unlink(missing_ok=True)
        with path.open("wb") as file:
            file.truncate(size)
        write_table(path, "gpt", Spot(size, MIB, size - 2 * MIB), "ext2", bytes(32))
        assert in_order(path)


def test_a_gib_of_nothing_takes_no_room(compose: Compose) -> None:
    disk = compose("gpt", unit=GIB)
    assert (disk.stat().st_size, disk.stat().st_blocks * 512 < 3 * MIB) == (GIB, True)
    disk = compose("mbr", disk_size=64 * GIB)
    assert (disk.stat().st_size, disk.stat().st_blocks * 512 < 20 * MIB) == (64 * GIB, True)


def test_disk_and_file_system_of_fixed_sizes(compose: Compose) -> None:
    disk = compose("gpt", disk_size=20 * MIB, filesystem_size=5 * MIB)
    (partition,) = table(disk)["partitions"]
    assert (disk.stat().st_size, partition["size"] * SECTOR) == (20 * MIB, 5 * MIB)
    assert in_order(disk)
    disk = compose("plain", filesystem_size=5 * MIB + 1024)
    assert disk.stat().st_size == 6 * MIB
    run("e2fsck", "-f", "-n", disk)
    with pytest.raises(BuildError, match="needs a file system of 2 MiB"):
        compose("mbr", disk_size=2 * MIB)


def test_libparted_is_known_by_its_version() -> None:
    assert re.fullmatch(r"\d+(\.\d+)+", libparted_version())


def test_without_pyparted_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "parted", None)
    with pytest.raises(ToolError, match="needs pyparted") as caught:
        libparted_version()
    assert "imagekit[disk]" in caught.value.hint


def test_a_disk_without_the_table_that_is_to_be_stamped(tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(bytes(MIB))
    with (tmp_path / "disk").open("r+b") as file, pytest.raises(BuildError, match="no GPT where one belongs"):
        stamp_gpt(file, MIB, bytes(32))
