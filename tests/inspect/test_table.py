"""Partition tables, made by sfdisk, and broken by hand and by hypothesis."""

import io
import json
import mmap
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.command import run
from imagekit.inspect.table import read_table

MIB = 1 << 20
GPT = """label: gpt
label-id: 11111111-2222-3333-4444-555555555555
start=2048, size=4096, type=L, name="boot", uuid=aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee, attrs="LegacyBIOSBootable"
start=8192, size=2048, type=U
"""
MBR = """label: dos
label-id: 0x1234abcd
2048,2048,83,*
4096,2048,82
6144,8192,E
8192,1024,83
12288,1024,c
"""
SECOND = 10240  # the sector of the second logical partition's table


def table_of(folder: Path, script: str, mib: int = 16) -> Path:
    image = folder / "table.img"
    with image.open("wb") as file:
        file.truncate(mib * MIB)
    run("sfdisk", "-q", image, stdin=script.encode())
    return image


@pytest.mark.parametrize("script", [MBR, GPT])
def test_it_reads_what_sfdisk_reads(tmp_path: Path, script: str) -> None:
    image = table_of(tmp_path, script)
    told = json.loads(run("sfdisk", "--json", image).text())["partitiontable"]
    with image.open("rb") as file:
        table = read_table(file)
    expected = [(row["start"] * 512, row["size"] * 512) for row in told["partitions"] if row["type"] != "f"]
    expected = [place for place in expected if place != (6144 * 512, 8192 * 512)]  # the extended one holds others
    assert [(partition.start, partition.size) for partition in table.partitions] == expected
    assert table.problems == ()
    assert int(table.identity.replace("-", ""), 16) == int(told["id"].replace("-", ""), 16)


def test_an_mbr_in_full(tmp_path: Path) -> None:
    with table_of(tmp_path, MBR).open("rb") as file:
        table = read_table(file)
    first, swap, *logical = table.partitions
    assert (table.kind, table.identity) == ("mbr", "1234abcd")
    assert (first.number, first.type, first.bootable) == (1, "Linux", True)
    assert swap.type == "Linux swap"
    assert [(partition.number, partition.type) for partition in logical] == [(5, "Linux"), (6, "FAT32")]
    assert [area.start for area in table.areas] == [0, 6144 * 512, SECOND * 512]


def test_a_gpt_in_full(tmp_path: Path) -> None:
    with table_of(tmp_path, GPT).open("rb") as file:
        table = read_table(file)
    first, second = table.partitions
    assert (table.kind, table.identity) == ("gpt", "11111111-2222-3333-4444-555555555555")
    assert (first.name, first.type, first.bootable) == ("boot", "Linux", True)
    assert first.guid == "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
    assert second.type == "EFI system"
    assert len(table.areas) == 5


def test_a_map_of_memory_will_do(tmp_path: Path) -> None:
    image = table_of(tmp_path, GPT)
    with image.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert len(read_table(mapped).partitions) == 2


def spoilt(image: Path, change: Callable[[bytearray], None]) -> io.BytesIO:
    data = bytearray(image.read_bytes())
    change(data)
    return io.BytesIO(data)


def sealed(data: bytearray, at: int) -> None:
    """Make a header's checksums right again."""
    (array_at,) = struct.unpack_from("<Q", data, at + 72)
    struct.pack_into("<I", data, at + 88, zlib.crc32(data[array_at * 512 : array_at * 512 + 16384]))
    data[at + 16 : at + 20] = bytes(4)
    struct.pack_into("<I", data, at + 16, zlib.crc32(data[at : at + 92]))


def test_a_broken_primary_gives_way_to_the_backup(tmp_path: Path) -> None:
    def change(data: bytearray) -> None:
        data[512 + 56] ^= 1

    table = read_table(spoilt(table_of(tmp_path, GPT), change))
    assert table.problems == ("primary GPT: the header's checksum is wrong",)
    assert table.identity == "11111111-2222-3333-4444-555555555555"
    assert len(table.partitions) == 2


def test_both_copies_broken_is_told(tmp_path: Path) -> None:
    def change(data: bytearray) -> None:
        data[2 * 512] ^= 1
        data[-512:] = bytes(512)

    table = read_table(spoilt(table_of(tmp_path, GPT), change))
    assert table.problems == ("primary GPT: the array's checksum is wrong", "backup GPT: missing")
    assert (table.kind, table.partitions) == ("gpt", ())


def test_copies_that_differ_are_told(tmp_path: Path) -> None:
    def change(data: bytearray) -> None:
        data[2 * 512 + 56] ^= 1  # a letter of the name
        struct.pack_into("<Q", data, 512 + 32, 99)
        sealed(data, 512)

    table = read_table(spoilt(table_of(tmp_path, GPT), change))
    assert table.problems == (
        "the primary and the backup GPT differ",
        "the primary GPT looks for its backup at sector 99, not in the last sector",
    )


@pytest.mark.parametrize(
    "at,form,value,problem",
    [
        (24, "<Q", 7, "primary GPT: the header says it is at sector 7, but it is at sector 1"),
        (84, "<I", 64, "primary GPT: the array's shape makes no sense"),
        (80, "<I", 1 << 30, "primary GPT: the array's shape makes no sense"),
    ],
)
def test_a_header_that_makes_no_sense_is_told(
    tmp_path: Path, at: int, form: str, value: int, problem: str
) -> None:
    def change(data: bytearray) -> None:
        struct.pack_into(form, data, 512 + at, value)
        sealed(data, 512)

    assert problem in read_table(spoilt(table_of(tmp_path, GPT), change)).problems


def test_partitions_that_overlap_or_leave_the_disk_are_told(tmp_path: Path) -> None:
    def change(data: bytearray) -> None:
        struct.pack_into("<II", data, 446 + 16 + 8, 3000, 1 << 31)

    table = read_table(spoilt(table_of(tmp_path, MBR), change))
    assert "partition 2 ends beyond the disk" in table.problems
    assert "partitions 1 and 2 overlap" in table.problems


def test_a_partition_in_the_gpt_itself_is_told(tmp_path: Path) -> None:
    def change(data: bytearray) -> None:
        struct.pack_into("<Q", data, 2 * 512 + 32, 10)
        sealed(data, 512)

    assert (
        "a partition reaches into the GPT itself" in read_table(spoilt(table_of(tmp_path, GPT), change)).problems
    )


def test_an_mbr_that_announces_a_gpt_alone_is_told(tmp_path: Path) -> None:
    def change(data: bytearray) -> None:
        data[512:1024] = data[-512:] = bytes(512)

    table = read_table(spoilt(table_of(tmp_path, GPT), change))
    assert table.kind == "mbr"
    assert table.problems == ("the MBR announces a GPT, but there is none",)


def test_a_gpt_without_its_protective_mbr_is_told(tmp_path: Path) -> None:
    def change(data: bytearray) -> None:
        data[446 + 4] = 0x83

    table = read_table(spoilt(table_of(tmp_path, GPT), change))
    assert table.kind == "mbr"
    assert table.problems == ("a GPT is there, but no protective MBR: it is ignored",)


def test_a_chain_of_logical_partitions_that_breaks_or_turns_back_ends(tmp_path: Path) -> None:
    def cut(data: bytearray) -> None:
        data[SECOND * 512 + 510] = 0

    def turn(data: bytearray) -> None:
        at = SECOND * 512 + 446 + 16
        data[at + 4] = 5
        struct.pack_into("<II", data, at + 8, 0, 9)

    image = table_of(tmp_path, MBR)
    assert f"the chain of logical partitions breaks at sector {SECOND}" in read_table(spoilt(image, cut)).problems
    (problem,) = read_table(spoilt(image, turn)).problems
    assert problem == "the chain of logical partitions goes in a circle or is too long"


@pytest.mark.parametrize(
    "data",
    [b"", b"x" * 100, bytes(MIB), bytes(510) + b"\x55\xaa", b"\xeb\x3c\x90mkfs.fat\0\2".ljust(510) + b"\x55\xaa"],
)
def test_no_table(data: bytes) -> None:
    table = read_table(io.BytesIO(data))
    assert table.partitions == ()
    assert table.kind == ("mbr" if data == bytes(510) + b"\x55\xaa" else "none")


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    return [table_of(tmp_path_factory.mktemp("table"), script, 10).read_bytes() for script in (MBR, GPT)]


@given(data=st.data())
def test_no_bytes_make_it_raise(tables: list[bytes], data: st.DataObject) -> None:
    image = bytearray(data.draw(st.sampled_from(tables)))
    places = st.one_of(st.integers(440, 1600), st.integers(1, 17000).map(lambda back: len(image) - back))
    changes = st.lists(st.tuples(places, st.binary(min_size=1, max_size=8)), max_size=6)
    for at, new in data.draw(changes):
        image[at : at + len(new)] = new
    if data.draw(st.booleans()):
        sealed_at = data.draw(st.sampled_from([512, len(image) - 512]))
        image[sealed_at + 72 : sealed_at + 80] = struct.pack("<Q", data.draw(st.integers(0, 30)))
        sealed(image, sealed_at)
    table = read_table(io.BytesIO(image[: data.draw(st.sampled_from([len(image), 513, 1024, 20000]))]))
    assert all(partition.size > 0 for partition in table.partitions)
