"""VHDs of ours: byte for byte what XenServer's tools want, and read back by readers of others."""

import json
import os
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.command import run
from imagekit.errors import UsageError
from imagekit.formats import vhd
from imagekit.sparse import map_blocks
from tests.formats.vhd.conftest import Raw, read, wrapped

MIB, GIB = 1 << 20, 1 << 30
SIZES = [
    512,
    MIB,
    2 * MIB,
    2 * MIB + 512,
    7 * MIB,
    64 * MIB,
    504 * MIB,
    1016 * MIB,
    4 * GIB,
    127 * GIB,
    2040 * GIB,
]


def checksum(data: bytes) -> int:
    return ~sum(data) & 0xFFFFFFFF


@pytest.mark.parametrize("size", SIZES)
def test_others_read_the_same_disk(raw: Raw, size: int, tmp_path: Path) -> None:
    disk = raw(size, {0: b"first", size - 7: b"the end", size // 2: b"middle"})
    path = wrapped(disk)
    told = json.loads(run("qemu-img", "info", "--output=json", path).stdout)
    assert (told["format"], told["virtual-size"]) == ("vpc", vhd.disk_size(size))
    os.truncate(disk, vhd.disk_size(size))
    run("qemu-img", "compare", "-f", "raw", "-F", "vpc", disk, path)
    assert b"Dynamic" in run("vhdiinfo", path).stdout
    back = tmp_path / "back"
    with path.open("rb") as file, back.open("wb") as target:
        vhd.take_out([(file.fileno(), vhd.read_file(file.fileno()))], target.fileno())
    assert map_blocks(back) == map_blocks(disk)


def test_the_first_1536_bytes(raw: Raw) -> None:
    path = wrapped(raw(4 * MIB, {3 * MIB: b"x"}), epoch=946684800 + 7)
    data = path.read_bytes()
    found = read(path).footer
    fields = ("conectix", 2, 0x10000, 512, 7, "tap\0", 0x10003, 0, 4 * MIB, 4 * MIB, 120, 4, 17, 3, 0)
    packed = struct.pack(
        ">8sIIQI4sIIQQHBBII16sBB",
        *(f.encode() if isinstance(f, str) else f for f in fields),
        found.uuid.bytes,
        0,
        0,
    ).ljust(512, b"\0")
    footer = packed[:64] + struct.pack(">I", checksum(packed)) + packed[68:]
    assert data[:512] == footer == data[-512:]
    packed = struct.pack(">8sQQIII", b"cxsparse", 2**64 - 1, 1536, 0x10000, 2, 0x200000).ljust(1024, b"\0")
    assert data[512:1536] == packed[:36] + struct.pack(">I", checksum(packed)) + packed[40:]
    table = struct.unpack(">128I", data[1536:2048])
    assert (table[0], table[2:]) == (0xFFFFFFFF, (0xFFFFFFFF,) * 126)
    assert table[1] % 8 == 7, "data begin on 4 KiB"
    bitmap = table[1] * 512
    assert data[bitmap : bitmap + 512] == b"\xff" * 512
    assert data[bitmap + 512 + MIB :][:1] == b"x"
    assert len(data) == bitmap + 512 + 2 * MIB + 512
    cookie, at, sectors, version, sums = struct.unpack(">8sQIII", data[2048:2076])
    assert (cookie, at, sectors, version) == (b"tdbatmap", 2560, 1, 0x10002)
    assert data[at : at + 512] == b"\x40".ljust(512, b"\0"), "the second block is full"
    assert sums == checksum(data[at : at + 512])


def test_the_same_bytes_whatever_the_holes(raw: Raw) -> None:
    one = wrapped(raw(9 * MIB, {5 * MIB: b"x"}, "one.raw"))
    other = wrapped(raw(9 * MIB, {0: bytes(9 * MIB), 5 * MIB: b"x"}, "other.raw"))
    assert one.read_bytes() == other.read_bytes()
    assert one.stat().st_blocks < 4096
    assert wrapped(raw(9 * MIB, {5 * MIB: b"y"}, "third.raw")).read_bytes() != one.read_bytes()


@settings(max_examples=25)
@given(
    st.integers(1, 24),
    st.dictionaries(st.integers(0, 24 * MIB // 512 - 1), st.binary(min_size=1, max_size=600), max_size=6),
)
def test_there_and_back(tmp_path_factory: pytest.TempPathFactory, halves: int, data: dict[int, bytes]) -> None:
    folder = tmp_path_factory.mktemp("vhd")
    size = halves * MIB - 512
    disk = folder / "disk.raw"
    with disk.open("wb") as file:
        file.truncate(size)
        for sector, piece in data.items():
            if sector * 512 + len(piece) <= size:
                os.pwrite(file.fileno(), piece, sector * 512)
    made = vhd.layout(map_blocks(disk), 0)
    path = wrapped(disk)
    with disk.open("rb") as image:
        streamed = b"".join(made.pieces(lambda offset, length: os.pread(image.fileno(), length, offset)))
    assert (len(streamed), streamed) == (made.length, path.read_bytes())
    back = folder / "back"
    with path.open("rb") as file, back.open("wb") as target:
        vhd.take_out([(file.fileno(), vhd.read_file(file.fileno()))], target.fileno())
    assert back.read_bytes() == disk.read_bytes().ljust(made.size, b"\0")


@pytest.mark.parametrize(
    "size, geometry",
    [
        (2 * MIB, (60, 4, 17)),
        (504 * MIB, (1010, 13, 78)),
        (2040 * GIB, (65535, 16, 255)),
    ],
)
def test_geometry(size: int, geometry: tuple[int, int, int]) -> None:
    cylinders, heads, sectors = vhd.geometry(size)
    assert cylinders * heads * sectors * 512 <= size
    if sectors in {17, 255}:
        assert (cylinders, heads, sectors) == geometry


def test_what_no_vhd_holds() -> None:
    assert vhd.disk_size(2040 * GIB) == 2040 * GIB
    with pytest.raises(UsageError, match="2040 GiB at most"):
        vhd.disk_size(2040 * GIB + 1)
    assert vhd.disk_size(0) == 2 * MIB


def test_a_difference(raw: Raw, tmp_path: Path) -> None:
    old = raw(12 * MIB, {0: b"kept", 5 * MIB: b"old", 9 * MIB: b"gone"}, "old.raw")
    new = raw(12 * MIB, {0: b"kept", 5 * MIB: b"new"}, "new.raw")
    parent = wrapped(old)
    footer = read(parent).footer
    made = vhd.difference(map_blocks(new), map_blocks(old), vhd.Parent(footer.uuid, footer.time, parent.name), 0)
    assert made.blocks == (2, 4), "what changed, and what became zeros"
    child = tmp_path / "child.vhd"
    with new.open("rb") as image, child.open("wb") as file:
        vhd.write_file(made, image.fileno(), 12 * MIB, file.fileno())
    found = read(child)
    assert found.header is not None
    assert (found.footer.kind, found.header.parent, found.header.parent_name) == (
        vhd.Kind.DIFFERENCING,
        footer.uuid,
        "old.vhd",
    )
    assert dict(found.parent_names()) == {b"MacX": "file://./old.vhd", b"W2ru": ".\\old.vhd"}
    assert b"Differential" in run("vhdiinfo", child).stdout
    back = tmp_path / "back"
    with parent.open("rb") as one, child.open("rb") as two, back.open("wb") as target:
        chain = [(file.fileno(), vhd.read_file(file.fileno())) for file in (one, two)]
        vhd.take_out(chain, target.fileno())
    assert map_blocks(back) == map_blocks(new)
    with pytest.raises(UsageError, match="its parent's size"):
        vhd.difference(map_blocks(raw(20 * MIB)), map_blocks(old), vhd.Parent(footer.uuid, 0, "old.vhd"), 0)
    with pytest.raises(UsageError, match="name of a VHD's parent"):
        vhd.Parent(footer.uuid, 0, "a/b.vhd")
