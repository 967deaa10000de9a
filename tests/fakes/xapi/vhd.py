"""VHDs as xapi's importer reads them, as a stream, and as its exporter writes them.

The reader takes what vhd-tool takes (ocaml/libs/vhd), and beyond that tells what no writer should do: those are
complaints. Written for the tests alone; it shares nothing with imagekit's own reader and writer.
"""

import os
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.fakes.xapi.body import Body

SECTOR = 512
_FOOTER = struct.Struct(">8sIIQI4sIIQQHBBII16sB")
_HEADER = struct.Struct(">8sQQIIII16sI4x512s")
_BATMAP = struct.Struct(">8sQIII")
_NONE = 0xFFFFFFFF
_DYNAMIC, _DIFFERENCING = 3, 4
_ENTRIES = 1 << 22
_EPOCH = 946684800
_MIB = 1 << 20
_PAGE = 4096  # what blktap aligns blocks to
_ZEROS = bytes(2 * _MIB)
Complain = Callable[[str], object]


class VhdError(Exception):
    """What vhd-tool gives up on."""


@dataclass(frozen=True)
class Layout:
    """What footer and header tell; `block` in bytes."""

    size: int
    creator: bytes
    type: int
    header: int
    table: int
    entries: int
    block: int


def checksum(data: bytes, at: int) -> int:
    """Return the complement of the sum of all bytes but the four of the checksum itself."""
    return ~(sum(data) - sum(data[at : at + 4])) & 0xFFFFFFFF


def receive(body: Body, disk: int, size: int, complain: Complain, *, fresh: bool) -> None:
    """Write a VHD's sectors to a disk of `size` bytes. VhdError; ShortError when the stream ends early."""
    footer = body.read(SECTOR)
    layout = _header(body, *_footer(footer))
    _look(layout, size, complain)
    _forward(body, layout.table)
    table = body.read(-(-layout.entries * 4 // SECTOR) * SECTOR)
    entries = struct.unpack(f">{layout.entries}I", table[: layout.entries * 4])
    blocks = sorted((sector, index) for index, sector in enumerate(entries) if sector != _NONE)
    _batmap(body, layout, entries, blocks, complain)
    data = bytearray(layout.block)
    for sector, index in blocks:
        _forward(body, sector * SECTOR)
        _block(body, disk, index * layout.block, data, size, fresh=fresh)
    if body.length is not None:
        end = (body.length - 1) // SECTOR * SECTOR
        if end - body.at >= _PAGE:
            complain(f"VHD: {end - body.at} bytes between the last block and the footer")
        _forward(body, end)
    last = body.read(SECTOR)
    _footer(last)
    if last != footer:
        complain("VHD: the footer is not what its copy is")


def _footer(data: bytes) -> tuple[int, int, bytes, int]:
    """Return where the header is, the size, the creator and the type."""
    cookie, _, version, header, stamp, creator, _, _, _, size, _, _, _, kind, check, _, _ = _FOOTER.unpack_from(
        data
    )
    if cookie != b"conectix" or version != 0x10000:
        raise VhdError(f"Unsupported footer cookie or version: {cookie!r}")
    if kind not in {2, _DYNAMIC, _DIFFERENCING} or check != checksum(data, 64):
        raise VhdError("Invalid disk type or checksum")
    if stamp + _EPOCH > time.time() + 1800:
        raise VhdError("from the future")  # vhd-util's check, not vhd-tool's
    return header, size, creator, kind


def _header(body: Body, header: int, size: int, creator: bytes, kind: int) -> Layout:
    _forward(body, header)
    data = body.read(1024)
    cookie, next_, table, version, entries, block, check, *_ = _HEADER.unpack_from(data)
    if cookie != b"cxsparse" or next_ != (1 << 64) - 1 or version != 0x10000:
        raise VhdError(f"Expected cookie cxsparse, got {cookie!r}")
    if block < SECTOR or block & (block - 1) or block > 1 << 26 or entries > _ENTRIES:
        raise VhdError("block_size is not a power of 2, or too many of them")
    if check != checksum(data, 36):
        raise VhdError("Invalid checksum of the header")
    return Layout(size, creator, kind, header, table, entries, block)


def _look(layout: Layout, size: int, complain: Complain) -> None:
    """Tell what vhd-tool takes without a look."""
    if layout.size > size:
        complain(f"VHD: of {layout.size} bytes, for a VDI of {size}")
    if layout.entries * layout.block < layout.size:
        complain("VHD: the table is too short for the disk")
    if layout.type not in {_DYNAMIC, _DIFFERENCING}:
        complain("VHD: neither dynamic nor differencing")
    if layout.block != 2 * _MIB:
        complain("VHD: blocks of another size than 2 MiB")


def _batmap(
    body: Body, layout: Layout, entries: tuple[int, ...], blocks: list[tuple[int, int]], complain: Complain
) -> None:
    """Read the batmap, which vhd-tool skips, and which vhd-util wants of a VHD that says it is tap's."""
    if layout.creator != b"tap\0":
        return
    room = blocks[0][0] * SECTOR if blocks else (body.length or 0) - SECTOR
    if room - body.at < SECTOR:
        complain("VHD: of creator tap, without a batmap")
        return
    start = body.at
    data = body.read(SECTOR)
    cookie, offset, sectors, version, check = _BATMAP.unpack_from(data)
    whole = -(-layout.entries // 8)
    if cookie != b"tdbatmap" or version != 0x10002 or offset != start + SECTOR or sectors * SECTOR < whole:
        complain(f"VHD: no batmap: {cookie!r} {offset} {sectors} {version:#x}")
        return
    if offset + sectors * SECTOR > room:
        complain("VHD: the batmap reaches into the blocks")
        return
    bits = body.read(sectors * SECTOR)
    if check != ~sum(bits) & 0xFFFFFFFF:
        complain("VHD: the batmap's checksum is wrong")
    full = {index for index in range(layout.entries) if bits[index // 8] >> (7 - index % 8) & 1}
    if any(entries[index] == _NONE for index in full):
        complain("VHD: the batmap has blocks that the table has not")


def _block(body: Body, disk: int, start: int, data: bytearray, size: int, *, fresh: bool) -> None:
    """Write a block's present sectors; onto a fresh disk, a block of zeros needs no writing."""
    count = len(data) // SECTOR
    bitmap = body.read(-(-count // 8 // SECTOR) * SECTOR)[: -(-count // 8)]
    body.into(memoryview(data))
    zeros = fresh and data == _ZEROS[: len(data)]
    for first, last in _present(bitmap, count):
        at = start + first * SECTOR
        if start + last * SECTOR > size:
            raise VhdError("write past the end of the device")
        if not zeros:
            os.pwrite(disk, memoryview(data)[first * SECTOR : last * SECTOR], at)


def _present(bitmap: bytes, count: int) -> Iterator[tuple[int, int]]:
    """Yield runs of sectors whose bit is set."""
    if bitmap.count(0xFF) == len(bitmap):
        yield 0, count
        return
    bits = "".join(f"{one:08b}" for one in bitmap)[:count]
    at = bits.find("1")
    while at >= 0:
        end = bits.find("0", at)
        end = count if end < 0 else end
        yield at, end
        at = bits.find("1", end)


def _forward(body: Body, offset: int) -> None:
    if offset < body.at:
        raise VhdError(f"cannot skip backwards to {offset}")
    body.skip(offset - body.at)


def export(disk: int, size: int) -> Iterator[bytes]:
    """Yield a dynamic VHD of a disk: the table at 2048, no batmap, blocks in order."""
    block = 2 * _MIB
    entries = -(-size // block)
    held = [index for index in range(entries) if os.pread(disk, block, index * block).strip(b"\0")]
    footer = _signed(
        _FOOTER.pack(
            b"conectix",
            2,
            0x10000,
            512,
            0,
            b"caml",
            1,
            0,
            size,
            entries * block,
            *_geometry(size),
            3,
            0,
            bytes(15) + b"\1",
            0,
        ).ljust(SECTOR, b"\0"),
        64,
    )
    header = _HEADER.pack(b"cxsparse", (1 << 64) - 1, 2048, 0x10000, entries, block, 0, bytes(16), 0, bytes(512))
    room = -(-entries * 4 // SECTOR) * SECTOR
    table = [_NONE] * (room // 4)
    for order, index in enumerate(held):
        table[index] = (2048 + room) // SECTOR + order * (block // SECTOR + 1)
    yield footer + _signed(header.ljust(1024, b"\0"), 36) + bytes(SECTOR) + struct.pack(f">{len(table)}I", *table)
    for index in held:
        yield b"\xff" * SECTOR + os.pread(disk, block, index * block).ljust(block, b"\0")
    yield footer


def _signed(data: bytes, at: int) -> bytes:
    return data[:at] + struct.pack(">I", checksum(data, at)) + data[at + 4 :]


def _geometry(size: int) -> tuple[int, int, int]:
    sectors = min(size // SECTOR, 65535 * 16 * 255)
    return min(sectors // (16 * 63), 65535), 16, 63
