"""A VHD's file: written from an image's, and the disk taken out of it, holes kept on both ways."""

import os
from collections.abc import Iterator, Sequence

from imagekit.formats.vhd.footer import SECTOR
from imagekit.formats.vhd.header import BLOCK
from imagekit.formats.vhd.read import Vhd, read_vhd
from imagekit.formats.vhd.write import Layout
from imagekit.sparse import transfer

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
