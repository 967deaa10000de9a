"""Wrappings: each kind, nested, damaged, and larger than they look."""

import mmap
import random
import struct
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.errors import KernelError
from imagekit.kernel import unpack
from imagekit.kernel.stream import CHUNK, Feed, chunks
from tests.kernel.elf_builder import PACKERS, lzop

MIXED = random.Random(1).randbytes(700_000) + bytes(2_000_000) + b"end"  # noqa: S311 -- not for keys
SMALL = b"\x7fELF, more or less"


def unpacked(data: bytes, limit: int = 64 << 20) -> tuple[bytes, tuple[str, ...]]:
    inside, names = unpack(data, limit)
    return bytes(inside[:]), names


@pytest.mark.parametrize("packing", PACKERS)
def test_each_packing(packing: str) -> None:
    assert unpacked(PACKERS[packing](MIXED)) == (MIXED, (packing,))


@pytest.mark.parametrize("packing", PACKERS)
def test_what_follows_is_left_alone(packing: str) -> None:
    assert unpacked(PACKERS[packing](SMALL) + b"\x1f\x8b and more") == (SMALL, (packing,))


@pytest.mark.parametrize("packing", PACKERS)
def test_nothing_packed(packing: str) -> None:
    assert unpacked(PACKERS[packing](b"")) == (b"", (packing,))


def test_what_is_not_packed_comes_back_itself() -> None:
    assert unpack(SMALL) == (SMALL, ())
    assert unpack(SMALL)[0] is SMALL


def test_nesting() -> None:
    data = PACKERS["gzip"](PACKERS["zstd"](PACKERS["lzo"](MIXED)))
    assert unpacked(data) == (MIXED, ("gzip", "zstd", "lzo"))
    with pytest.raises(KernelError, match="more than 3 times"):
        unpack(PACKERS["xz"](data))


@pytest.mark.parametrize("packing", PACKERS)
def test_cut_short(packing: str) -> None:
    packed = PACKERS[packing](MIXED)
    for length in (len(packed) // 2, len(packed) - 1, 12):
        with pytest.raises(KernelError, match=f"its {packing} data are damaged"):
            unpack(packed[:length])


@pytest.mark.parametrize("packing", sorted(set(PACKERS) - {"zstd", "lzma", "lz4"}))  # these have no checksum here
def test_a_flipped_bit(packing: str) -> None:
    packed = bytearray(PACKERS[packing](MIXED))
    packed[len(packed) // 2] ^= 1
    with pytest.raises(KernelError, match=f"its {packing} data are damaged"):
        unpack(bytes(packed))


@pytest.mark.parametrize("packing", PACKERS)
def test_a_bomb(packing: str) -> None:
    with pytest.raises(KernelError, match="unpacks to more than 2 MiB"):
        unpack(PACKERS[packing](MIXED), 2 << 20)


def test_the_layers_share_one_limit() -> None:
    data = PACKERS["gzip"](PACKERS["zstd"](MIXED))
    assert unpacked(data, len(PACKERS["zstd"](MIXED)) + len(MIXED))[0] == MIXED
    with pytest.raises(KernelError, match="unpacks to more"):
        unpack(data, len(PACKERS["zstd"](MIXED)) + len(MIXED) - 1)


def test_lz4_s_frames_are_told_by_name() -> None:
    with pytest.raises(KernelError, match="packed into lz4's frames"):
        unpack(b"\x04\x22\x4d\x18" + bytes(20))


@pytest.mark.parametrize("length", [(8 << 20) - 1, 8 << 20, (8 << 20) + 1, 20 << 20])
@pytest.mark.parametrize("sized", [False, True])
def test_lz4_blocks(length: int, sized: bool) -> None:
    """Linux appends the unpacked size, which may look like a block's."""
    data = (MIXED * (length // len(MIXED) + 1))[:length]
    packed = PACKERS["lz4"](data) + (struct.pack("<I", length) if sized and length != 8 << 20 else b"")
    assert unpacked(packed) == (data, ("lz4",))


def test_dictionaries_have_a_limit() -> None:
    huge_lzma = b"\x5d" + struct.pack("<IQ", 0xFFFFFFFF, 1 << 40) + bytes(100)
    parameters = zstandard.ZstdCompressionParameters(window_log=28)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    huge_zstd = packer.compress(SMALL) + packer.flush()
    for data in (huge_lzma[:1] + b"\0\0" + huge_lzma[3:], huge_zstd):
        with pytest.raises(KernelError, match="want too much memory"):
            unpack(data)


@pytest.mark.parametrize("flags", [0, 0x1, 0x3, 0x100, 0x303])
def test_lzop_checksums(flags: int) -> None:
    assert unpacked(lzop(MIXED, flags=flags)) == (MIXED, ("lzo",))


@pytest.mark.parametrize(
    "packed, details",
    [
        (lzop(SMALL, flags=0x800), "flags 0x800"),
        (lzop(SMALL, flags=0x40), "flags 0x40"),
        (lzop(SMALL, version=0x0930), "version 0x0930"),
        (lzop(MIXED, block=1 << 20), "a block of"),
        (lzop(bytes(999)).replace(struct.pack(">I", 999), struct.pack(">I", 998)), "a block of 999 bytes"),
        (lzop(SMALL, flags=0)[:-30] + struct.pack(">II", 99, 9) + bytes(20), "no LZO"),
    ],
)
def test_lzop_that_we_do_not_take(packed: bytes, details: str) -> None:
    with pytest.raises(KernelError, match="its lzo data") as caught:
        unpack(packed)
    assert details in caught.value.details


def test_lzop_with_a_wrong_checksum() -> None:
    with pytest.raises(KernelError, match="its lzo data") as caught:
        unpack(lzop(SMALL).replace(SMALL, SMALL.upper()))
    assert caught.value.details == "a block's checksum is wrong"


def test_a_mapped_file_is_read_whole_from_any_place(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(MIXED)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        assert b"".join(chunks(data)) == MIXED
        assert b"".join(chunks(data, 5000, 5000 + 3 * CHUNK)) == MIXED[5000 : 5000 + 3 * CHUNK]


@settings(deadline=None)
@given(st.lists(st.binary()), st.lists(st.integers(0, 20)))
def test_a_feed_gives_what_was_in_the_stream(pieces: list[bytes], lengths: list[int]) -> None:
    feed, whole = Feed(iter(pieces)), b"".join(pieces)
    for length in lengths:
        if length > len(whole):
            with pytest.raises(EOFError):
                feed.take(length)
            return
        assert feed.take(length) == whole[:length]
        whole = whole[length:]
