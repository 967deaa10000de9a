"""Disks, and the VHDs that we and qemu-img make of them."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from imagekit.formats import vhd
from imagekit.sparse import map_blocks

Raw = Callable[..., Path]


@pytest.fixture
def raw(tmp_path: Path) -> Raw:
    """Return a function that makes a sparse disk: raw(size, {offset: bytes}, name="disk.raw")."""

    def made(size: int, data: Mapping[int, bytes] | None = None, name: str = "disk.raw") -> Path:
        path = tmp_path / name
        with path.open("wb") as file:
            file.truncate(size)
            for offset, piece in (data or {}).items():
                os.pwrite(file.fileno(), piece, offset)
        return path

    return made


def written(disk: Path, out: Path, made: vhd.Layout) -> Path:
    """Write a VHD of a disk."""
    with disk.open("rb") as image, out.open("wb") as file:
        vhd.write_file(made, image.fileno(), disk.stat().st_size, file.fileno())
    return out


def wrapped(disk: Path, epoch: int = 0) -> Path:
    """Write the dynamic VHD of a disk beside it."""
    return written(disk, disk.with_suffix(".vhd"), vhd.layout(map_blocks(disk), epoch))


def read(path: Path) -> vhd.Vhd:
    """Read a VHD's structures."""
    data = path.read_bytes()
    return vhd.read_vhd(lambda offset, length: data[offset : offset + length], len(data))
