"""VHDs of others, and hostile ones."""

import os
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.command import run
from imagekit.errors import VerificationError
from imagekit.formats import vhd
from imagekit.sparse import map_blocks
from tests.formats.vhd.conftest import Raw, read, wrapped

MIB = 1 << 20


def read_bytes(data: bytes) -> vhd.Vhd:
    """Read a VHD, and all of its disk."""
    found = vhd.read_vhd(lambda offset, length: data[offset : offset + length], len(data))
    for extent in found.extents():
        assert 0 <= extent.offset < extent.offset + extent.length <= found.size
        assert extent.place + extent.length <= len(data)
    return found


@pytest.mark.parametrize(
    "form", ["subformat=dynamic", "subformat=dynamic,force_size=on", "subformat=fixed,force_size=on"]
)
def test_what_qemu_makes(raw: Raw, tmp_path: Path, form: str) -> None:
    disk, path, back, own = raw(9 * MIB, {0: b"a", 5 * MIB: b"b" * MIB}), *(tmp_path / name for name in "pbo")
    run("qemu-img", "convert", "-O", "vpc", "-o", form, disk, path)
    run("qemu-img", "convert", "-f", "vpc", "-O", "raw", path, back)
    with path.open("rb") as file, own.open("wb") as target:
        found = vhd.read_file(file.fileno())
        vhd.take_out([(file.fileno(), found)], target.fileno())
    assert found.footer.creator in {b"qemu", b"qem2"}
    length = min(back.stat().st_size, found.size)
    os.truncate(back, length)
    os.truncate(own, length)
    assert map_blocks(own) == map_blocks(back)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    disk = tmp_path_factory.mktemp("sample") / "disk.raw"
    with disk.open("wb") as file:
        file.truncate(8 * MIB)
        os.pwrite(file.fileno(), b"one", 0)
        os.pwrite(file.fileno(), b"two", 5 * MIB)
    return wrapped(disk).read_bytes()


def summed(data: bytes, at: int) -> bytes:
    """Return a structure with its checksum mended."""
    cleared = data[:at] + bytes(4) + data[at + 4 :]
    return data[:at] + struct.pack(">I", ~sum(cleared) & 0xFFFFFFFF) + data[at + 4 :]


def footers(data: bytes, at: int, value: bytes) -> bytes:
    """Return the VHD with both footers changed."""
    made = summed(data[:at] + value + data[at + len(value) : 512], 64)
    return made + data[512:-512] + made


def header(data: bytes, at: int, value: bytes) -> bytes:
    """Return the VHD with its header changed."""
    old = data[512:1536]
    return data[:512] + summed(old[:at] + value + old[at + len(value) :], 36) + data[1536:]


def entry(data: bytes, index: int, value: int) -> bytes:
    """Return the VHD with an entry of its table changed."""
    at = 1536 + index * 4
    return data[:at] + struct.pack(">I", value) + data[at + 4 :]


HOSTILE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda _: b"", "shorter than a footer"),
    "no footer": (lambda data: data[:-512] + bytes(512), "no footer at its end"),
    "cut off": (lambda data: data[: len(data) // 2], "no footer at its end"),
    "checksum": (lambda data: data[:-1] + b"x", "its checksum is wrong"),
    "first footer": (lambda data: bytes(512) + data[512:], "no footer at its start"),
    "two disks": (lambda data: summed(data[:68] + bytes(16) + data[84:512], 64) + data[512:], "of two disks"),
    "version": (lambda data: footers(data, 12, b"\0\2\0\0"), "version 2"),
    "type": (lambda data: footers(data, 60, b"\0\0\0\7"), "type 7"),
    "no size": (lambda data: footers(data, 48, bytes(8)), "0 bytes"),
    "huge": (lambda data: footers(data, 48, b"\x7f" + bytes(7)), "its disk has"),
    "header elsewhere": (lambda data: footers(data, 16, b"\0" * 6 + b"\xfe\0"), "no header where"),
    "header outside": (lambda data: footers(data, 16, b"\x7f" + bytes(7)), "header lies outside"),
    "header": (lambda data: data[:512] + bytes(1024) + data[1536:], "no header where"),
    "header version": (lambda data: header(data, 24, b"\0\2\0\0"), "header is of version 2"),
    "block size": (lambda data: header(data, 32, b"\0\0\0\7"), "blocks have 7 bytes"),
    "short table": (lambda data: header(data, 28, b"\0\0\0\1"), "block table is too short"),
    "table outside": (lambda data: header(data, 28, b"\xff\xff\xff\xff"), "block table lies outside"),
    "table far": (lambda data: header(data, 16, b"\x7f" + bytes(7)), "block table lies outside"),
    "parent": (lambda data: header(data, 40, b"p" * 16), "the opposite of a parent"),
    "past the end": (lambda data: entry(data, 0, 0xFFFFFF), "a block lies past its end"),
    "twice": (lambda data: entry(data, 1, struct.unpack(">I", data[1536:1540])[0]), "over each other"),
    "overlap": (lambda data: entry(data, 1, struct.unpack(">I", data[1536:1540])[0] + 8), "over each other"),
    "over the table": (lambda data: entry(data, 0, 2), "over its header or its table"),
    "fixed": (lambda data: footers(data, 60, b"\0\0\0\2"), "is fixed, and names a header"),
    "differencing": (lambda data: footers(data, 60, b"\0\0\0\4"), "the opposite of a parent"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile(sample: bytes, name: str) -> None:
    change, words = HOSTILE[name]
    with pytest.raises(VerificationError) as caught:
        read_bytes(change(sample))
    assert words in f"{caught.value.brief} {caught.value.details}"


@given(st.data())
def test_mutated(sample: bytes, data: st.DataObject) -> None:
    spots = st.integers(0, 8191) | st.integers(len(sample) - 512, len(sample) - 1)
    changed = bytearray(sample)
    for spot, value in data.draw(st.lists(st.tuples(spots, st.integers(0, 255)), min_size=1, max_size=8)):
        changed[spot] = value
    if data.draw(st.booleans()):
        changed[:512] = changed[-512:] = summed(bytes(changed[:512]), 64)
        changed[512:1536] = summed(bytes(changed[512:1536]), 36)
    with suppress(VerificationError):
        read_bytes(bytes(changed))


def test_its_own_parent(raw: Raw) -> None:
    disk = raw(2 * MIB, {0: b"x"})
    parent = vhd.Parent(UUID(int=1), 0, "p")
    made = vhd.difference(map_blocks(disk), map_blocks(raw(2 * MIB, name="e.raw")), parent, 0)
    data = bytearray(b"".join(made.pieces(lambda offset, length: disk.read_bytes()[offset : offset + length])))
    data[512 + 40 : 512 + 56] = made.uuid.bytes
    data[512:1536] = summed(bytes(data[512:1536]), 36)
    with pytest.raises(VerificationError, match="its own parent"):
        read_bytes(bytes(data))


def test_some_sectors_are_the_parents(raw: Raw) -> None:
    path = wrapped(raw(2 * MIB, {0: b"x" * 2 * MIB}))
    data = bytearray(path.read_bytes())
    bitmap = struct.unpack(">I", data[1536:1540])[0] * 512
    data[bitmap : bitmap + 512] = b"\x0f".ljust(511, b"\0") + b"\x01"
    found = [(one.offset // 512, one.length // 512) for one in read_bytes(bytes(data)).extents()]
    assert found == [(4, 4), (4095, 1)]
    assert read(path).blocks == 1
