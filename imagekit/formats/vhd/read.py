"""A VHD that somebody made, read without belief: fixed, dynamic or differencing, by any tool.

What it says is held against its own length before any of it is used, and memory is bounded by its block table,
which a file has to bring along.
"""

import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from imagekit.errors import VerificationError
from imagekit.formats.vhd.footer import ABSENT, LARGEST, SECTOR, Footer, Kind, read_footer
from imagekit.formats.vhd.header import LENGTH, Header, Locator, read_header
from imagekit.sparse import ReadAt

_NONE = 0xFFFFFFFF
_MOST = 1 << 21  # blocks: twice what 2040 GiB have, so a table in memory stays small
_LONGEST_NAME = 4096  # bytes of a parent's name in a locator


@dataclass(frozen=True, slots=True)
class Extent:
    """Bytes of the disk that this file has: at `offset` of the disk, at `place` in the file."""

    offset: int
    length: int
    place: int


@dataclass(frozen=True)
class Vhd:
    """A VHD. `table` has for each block the sector of its bitmap; `header` and `table` are none in a fixed one."""

    footer: Footer
    header: Header | None
    table: "array[int]"
    _read_at: ReadAt

    @property
    def size(self) -> int:
        """The disk's bytes."""
        return self.footer.size

    @property
    def blocks(self) -> int:
        """How many blocks are in the file."""
        return len(self.table) - self.table.count(_NONE)

    def extents(self, start: int = 0, stop: int = LARGEST) -> Iterator[Extent]:
        """Yield what this file has of the disk between two offsets, rising; the rest is zeros, or the parent's."""
        stop = min(stop, self.size)
        if self.header is None:
            if start < stop:
                yield Extent(start, stop - start, start)
            return
        block = self.header.block
        for index in range(start // block, -(-stop // block)):
            if self.table[index] != _NONE:
                for one in self._of_block(index, block):
                    first, end = max(start, one.offset), min(stop, one.offset + one.length)
                    if first < end:
                        yield Extent(first, end - first, one.place + first - one.offset)

    def _of_block(self, index: int, block: int) -> Iterator[Extent]:
        bitmap, place, offset = _bitmap(block), self.table[index] * SECTOR, index * block
        length = min(block, self.size - offset)
        for start, end in _set_runs(self._read_at(place, bitmap), length // SECTOR):
            yield Extent(offset + start, end - start, place + bitmap + start)

    def parent_names(self) -> Iterator[tuple[bytes, str]]:
        """Yield (platform, name) of the parent, as each locator has it; what cannot be read is left out."""
        for one in self.header.locators if self.header else ():
            encoding = {b"MacX": "utf-8", b"W2ru": "utf-16-le", b"W2ku": "utf-16-le"}.get(one.platform)
            if encoding and 0 < one.length <= _LONGEST_NAME:
                yield one.platform, self._read_at(one.offset, one.length).decode(encoding, "replace")


def read_vhd(read_at: ReadAt, length: int) -> Vhd:
    """Read a VHD of `length` bytes; VerificationError for what is none, is cut off, or contradicts itself."""
    if length < SECTOR:
        raise VerificationError("not a VHD: it is shorter than a footer", details=f"{length} bytes")
    footer = read_footer(read_at(length - SECTOR, SECTOR), "at its end")
    if footer.kind is Kind.FIXED:
        return _fixed(footer, length, read_at)
    first = read_footer(read_at(0, SECTOR), "at its start")
    if (first.uuid, first.size, first.kind, first.header) != (
        footer.uuid,
        footer.size,
        footer.kind,
        footer.header,
    ):
        raise VerificationError("the VHD's two footers are of two disks")
    if footer.header % SECTOR or not SECTOR <= footer.header <= length - SECTOR - LENGTH:
        raise VerificationError(
            "the VHD's header lies outside of it", details=f"at {footer.header} of {length} bytes"
        )
    header = read_header(read_at(footer.header, LENGTH))
    if (footer.kind is Kind.DIFFERENCING) != (header.parent is not None):
        raise VerificationError(f"the VHD's type is {footer.kind}, and its header says the opposite of a parent")
    if header.parent == footer.uuid:
        raise VerificationError("the VHD is its own parent")
    return Vhd(footer, header, _table(read_at, length, footer, header), read_at)


def _fixed(footer: Footer, length: int, read_at: ReadAt) -> Vhd:
    if footer.header != ABSENT:
        raise VerificationError("the VHD is fixed, and names a header")
    if footer.size != length - SECTOR:
        raise VerificationError(
            "the VHD's disk is not what is before its footer",
            details=f"the footer says {footer.size} bytes, and there are {length - SECTOR}",
        )
    return Vhd(footer, None, array("I"), read_at)


def _table(read_at: ReadAt, length: int, footer: Footer, header: Header) -> "array[int]":
    count = -(-footer.size // header.block)
    if header.entries < count:
        raise VerificationError(
            "the VHD's block table is too short",
            details=f"{header.entries} entries, and the disk has {count} blocks",
        )
    if count > _MOST:
        raise VerificationError(
            "the VHD's blocks are too many", details=f"{count} of {header.block} bytes; 2 MiB is what tools write"
        )
    end = header.table + header.entries * 4
    if header.table % SECTOR or header.table < SECTOR or end > length - SECTOR:
        raise VerificationError("the VHD's block table lies outside of it", details=f"at {header.table} to {end}")
    table = array("I")
    table.frombytes(read_at(header.table, count * 4))
    if sys.byteorder == "little":
        table.byteswap()
    _check_places(table, length, footer, header, end)
    return table


def _check_places(table: "array[int]", length: int, footer: Footer, header: Header, end: int) -> None:
    """Hold that no block lies over another, over the metadata, or past the end."""
    places = sorted(sector for sector in table if sector != _NONE)
    stride = (_bitmap(header.block) + header.block) // SECTOR
    if places and (places[-1] + stride) * SECTOR > length - SECTOR:
        raise VerificationError(
            "the VHD is cut off: a block lies past its end", details=f"sector {places[-1]} of {length // SECTOR}"
        )
    if any(left + stride > right for left, right in pairwise(places)):
        raise VerificationError("two blocks of the VHD lie over each other")
    taken = [(0, SECTOR), (footer.header, footer.header + LENGTH), (header.table, end)]
    taken += [_area(one, length) for one in header.locators]
    if any(_overlaps(places, stride, start, stop) for start, stop in taken):
        raise VerificationError("a block of the VHD lies over its header or its table")


def _area(one: Locator, length: int) -> tuple[int, int]:
    if one.offset + one.length > length:
        raise VerificationError("the name of the VHD's parent lies outside of it")
    return one.offset, one.offset + one.length


def _overlaps(places: list[int], stride: int, start: int, stop: int) -> bool:
    """Tell whether one of the rising places lies over the bytes from start to stop."""
    number = bisect_left(places, -(-stop // SECTOR))  # the first that begins after them
    return number > 0 and (places[number - 1] + stride) * SECTOR > start


def _bitmap(block: int) -> int:
    """Return the bytes of a block's bitmap: one bit a sector, whole sectors."""
    return -(-block // SECTOR // 8 // SECTOR) * SECTOR


def _set_runs(bitmap: bytes, sectors: int) -> Iterator[tuple[int, int]]:
    """Yield (start, end), in bytes, of the sectors whose bits are set."""
    if bitmap[: sectors // 8] == b"\xff" * (sectors // 8) and sectors % 8 == 0:
        yield 0, sectors * SECTOR
        return
    bits = f"{int.from_bytes(bitmap, 'big'):0{len(bitmap) * 8}b}"[:sectors]
    end = 0
    while (start := bits.find("1", end)) >= 0:
        end = bits.find("0", start)
        end = sectors if end < 0 else end
        yield start * SECTOR, end * SECTOR
