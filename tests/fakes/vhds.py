"""VHDs for the tests of the server: by qemu-img, and by hand where every field is to be as the test wants it."""

import struct
from pathlib import Path

from imagekit.command import run

SECTOR, BLOCK = 512, 2 << 20
_NONE = 0xFFFFFFFF


def by_qemu(raw: Path) -> bytes:
    """Return qemu-img's dynamic VHD of a raw file."""
    made = raw.with_suffix(".vhd")
    run("qemu-img", "convert", "-f", "raw", "-O", "vpc", "-o", "subformat=dynamic,force_size=on", raw, made)
    return made.read_bytes()


def built(
    size: int,
    blocks: dict[int, bytes],
    *,
    creator: bytes = b"tap\0",
    kind: int = 3,
    bitmaps: dict[int, bytes] | None = None,
    order: list[int] | None = None,
    batmap: bool = True,
    last: bytes | None = None,
) -> bytes:
    """Return a VHD with these blocks; `order` is theirs in the file."""
    entries = -(-size // BLOCK)
    footer = _footer(size, creator, kind)
    table = [_NONE] * (-(-entries // 128) * 128)
    at = 1536 + len(table) * 4 + (2 * SECTOR if batmap else 0)
    body = b""
    for index in order or sorted(blocks):
        table[index] = (at + len(body)) // SECTOR
        body += (bitmaps or {}).get(index, b"\xff" * SECTOR) + blocks[index].ljust(BLOCK, b"\0")
    header = struct.pack(">8sQQIII", b"cxsparse", (1 << 64) - 1, 1536, 0x10000, entries, BLOCK)
    head = footer + _signed(header.ljust(1024, b"\0"), 36) + struct.pack(f">{len(table)}I", *table)
    return head + (_batmap(len(head), set(blocks)) if batmap else b"") + body + (footer if last is None else last)


def _footer(size: int, creator: bytes, kind: int) -> bytes:
    times = (2, 0x10000, 512, 1, creator, 0x10003, 0, size, size, 1, 4, 17, kind, 0, bytes(range(16)), 0)
    return _signed(struct.pack(">8sIIQI4sIIQQHBBII16sB", b"conectix", *times).ljust(SECTOR, b"\0"), 64)


def _batmap(start: int, present: set[int]) -> bytes:
    bits = bytearray(SECTOR)
    for index in present:
        bits[index // 8] |= 0x80 >> index % 8
    check = ~sum(bits) & 0xFFFFFFFF
    return struct.pack(">8sQIII", b"tdbatmap", start + SECTOR, 1, 0x10002, check).ljust(SECTOR, b"\0") + bytes(
        bits
    )


def _signed(data: bytes, at: int) -> bytes:
    return data[:at] + struct.pack(">I", ~sum(data) & 0xFFFFFFFF) + data[at + 4 :]
