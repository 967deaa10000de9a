"""A sparse image, the machine that has it, and XVAs put together by hand, of which all can be lied about."""

import hashlib
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
import xxhash

from imagekit.formats.stream import PIECE
from imagekit.formats.xapi import Appliance, Interface
from imagekit.formats.xva import Xva, archive, tar
from imagekit.sparse import BlockMap, map_blocks

MIB = 1 << 20
APPLIANCE = Appliance(
    name='app <1> & "co"',
    description="two\nlines",
    memory=64 * MIB,
    kind="pvh",
    vcpus=2,
    cmdline="-l '*:info' --motto=\"it's\"",
    interfaces=(
        Interface(network="Größe"),
        Interface(bridge="xenbr1", mac="00:16:3e:5a:00:01"),
        Interface(network="Größe"),
    ),
    tags=("a", "b"),
    other_config={"owner": "farm"},
)


class Image(NamedTuple):
    """An image's file, and its blocks."""

    path: Path
    blocks: BlockMap

    def read_at(self, offset: int, length: int) -> bytes:
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read(length)


def image_of(path: Path, size: int, runs: Sequence[tuple[int, int]]) -> Image:
    """Return an image with data in these runs of (offset, length)."""
    with path.open("wb") as file:
        for at, length in runs:
            file.seek(at)
            file.write(random.Random(at).randbytes(length))  # noqa: S311 -- data, no secret
        file.truncate(size)
    return Image(path, map_blocks(path))


@pytest.fixture
def image(tmp_path: Path) -> Image:
    """Return an image of 20 MiB and three sectors: data in the middle, a zero block written, the end a hole."""
    made = image_of(tmp_path / "app.raw", 20 * MIB + 1536, ((3 * MIB + 77, 2 * MIB), (15 * MIB, 1)))
    with made.path.open("r+b") as file:
        file.seek(9 * MIB)
        file.write(bytes(MIB))
    return made._replace(blocks=map_blocks(made.path))


@pytest.fixture
def whole(image: Image) -> bytes:
    """Return the image's XVA."""
    return b"".join(archive(APPLIANCE, image.blocks).pieces(image.read_at))


def read(data: bytes, step: int = PIECE) -> dict[str, bytes]:
    """Return the disks of an XVA, which comes in pieces of `step` bytes."""
    xva = Xva(iter([data[at : at + step] for at in range(0, len(data), step)]))
    disks = {disk.reference: bytearray(disk.size) for disk in xva.facts.disks}
    for extent in xva.extents():
        disks[extent.disk.reference][extent.offset : extent.offset + len(extent.data)] = extent.data
    return {reference: bytes(data) for reference, data in disks.items()}


def sha1(name: str, data: bytes) -> bytes:
    return tar.padded(f"{name}.checksum", hashlib.sha1(data, usedforsecurity=False).hexdigest().encode())


def xxh64(name: str, data: bytes) -> bytes:
    return tar.padded(f"{name}.xxhash", f"{xxhash.xxh64_intdigest(data):016X}".encode())


def chunk(name: str, data: bytes, beside: Callable[[str, bytes], bytes] = sha1) -> bytes:
    """Return a chunk and its checksum."""
    return tar.padded(name, data) + beside(name, data)


def export(*disks: tuple[str, int], version: str = "2", extra: str = "") -> bytes:
    """Return an ova.xml, in its tar, of a machine with these disks of (reference, bytes)."""
    vm = _object("VM", "Ref:90", name_label="m", memory_static_max="1048576", VCPUs_max="1")
    objects = [vm, _object("SR", "Ref:91", content_type="user"), extra]
    for reference, size in disks:
        objects.append(_object("VBD", f"{reference}b", VM="Ref:90", VDI=reference, type="Disk"))
        objects.append(_object("VDI", reference, SR="Ref:91", virtual_size=str(size), type="user"))
    header = _struct(
        version=_struct(xapi_major=_value("1"), xapi_minor=_value("3"), export_vsn=_value(version)),
        objects=f"<value><array><data>{''.join(objects)}</data></array></value>",
    )
    return tar.padded("ova.xml", header.encode())


def _object(kind: str, reference: str, **fields: str) -> str:
    snapshot = _struct(**{name: _value(value) for name, value in fields.items()})
    return _struct(**{"class": _value(kind)}, id=_value(reference), snapshot=snapshot)


def _value(text: str) -> str:
    return f"<value>{text}</value>"


def _struct(**members: str) -> str:
    content = "".join(f"<member><name>{name}</name>{value}</member>" for name, value in members.items())
    return f"<value><struct>{content}</struct></value>"
