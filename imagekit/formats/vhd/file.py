"""A VHD's file: written from an image's, and the disk taken out of it, holes kept on both ways."""

import os
from collections.abc import Iterator, Sequence
from functools import partial

from imagekit.formats.vhd.footer import SECTOR
from imagekit.formats.vhd.header import BLOCK
from imagekit.formats.vhd.read import Vhd, read_vhd
from imagekit.formats.vhd.write import Layout
from imagekit.sparse import BLOCK as HASHED
from imagekit.sparse import BlockMap, extents, map_read, transfer

_FULL = b"\xff" * SECTOR


def write_file(made: Layout, image: int, length: int, target: int) -> None:
    """Write a VHD of an image (a descriptor, its bytes) to the empty file behind another descriptor."""
    os.ftruncate(target, made.length)
    _put(target, 0, made.head)
    for number in range(len(made.blocks)):
        _put(target, made.place(number), _FULL)
    transfer(image, target, _runs(made, length), holes=True)
    _put(target, made.length - SECTOR, made.footer)


def read_file(descriptor: int) -> Vhd:
    """Read the VHD behind a descriptor; VerificationError for what is none."""

    def read_at(offset: int, length: int) -> bytes:
        return os.pread(descriptor, length, offset)

    return read_vhd(read_at, os.fstat(descriptor).st_size)


def take_out(chain: Sequence[tuple[int, Vhd]], target: int) -> None:
    """Write the disk to the empty file behind a descriptor; `chain` begins with the parent of all."""
    os.ftruncate(target, chain[-1][1].size)
    for number, (descriptor, vhd) in enumerate(chain):
        runs = ((one.place, one.offset, one.length) for one in vhd.extents())
        transfer(descriptor, target, runs, holes=number == 0)  # a child's zeros lie over its parent's data


def map_chain(chain: Sequence[tuple[int, Vhd]]) -> BlockMap:
    """Hash the disk of a chain of VHDs, the parent of all first, without unpacking it."""
    touched = {
        number
        for descriptor, vhd in chain
        for start, end in _data(descriptor, vhd)
        for number in range(start // HASHED, -(-end // HASHED))
    }
    return map_read(chain[-1][1].size, sorted(touched), partial(read_chain, chain))


def read_chain(chain: Sequence[tuple[int, Vhd]], offset: int, length: int) -> bytes:
    """Return bytes of the disk of a chain of VHDs, the parent of all first; fewer past its end."""
    found = bytearray(max(0, min(length, chain[-1][1].size - offset)))
    for descriptor, vhd in chain:
        for one in vhd.extents(offset, offset + length):
            data = os.pread(descriptor, one.length, one.place)
            found[one.offset - offset : one.offset - offset + one.length] = data.ljust(one.length, b"\0")
    return bytes(found)


def _data(descriptor: int, vhd: Vhd) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of what a VHD may have of the disk; of a fixed one, its file's holes left out."""
    if vhd.header is None:
        return extents(descriptor, vhd.size)
    return ((one.offset, one.offset + one.length) for one in vhd.extents())


def _runs(made: Layout, length: int) -> Iterator[tuple[int, int, int]]:
    for number, index in enumerate(made.blocks):
        offset = index * BLOCK
        if offset < length:
            yield offset, made.place(number) + SECTOR, min(BLOCK, length - offset)


def _put(descriptor: int, at: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(descriptor, view, at)
        view, at = view[done:], at + done
