"""The ways a kernel is packed: what each begins with, and how to undo it in bounded memory.

Only a file's first stream is read, as Xen does it: what follows (Linux appends the unpacked size) is left alone.
"""

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import lz4.block
import zstandard

from imagekit.errors import KernelError
from imagekit.kernel import lzop

WINDOW = 128 << 20
"""Bytes of the largest dictionary we grant: Linux packs its kernels so (`xz_wrap.sh`, `zstd -22 --ultra`)."""

_OUT = 1 << 20  # the largest chunk that we yield
_ZSTD_IN = 128  # four bytes can say 128 KiB, and its decoder gives back all of it: 4 MiB at most
_XZ_SPARE = 1 << 20  # what liblzma needs beside the dictionary
_LZ4 = b"\x02\x21\x4c\x18"  # the legacy format, as Linux packs kernels
_LZ4_FRAME = b"\x04\x22\x4d\x18"  # what lz4(1) writes unless it is told -l
_LZ4_BLOCK = 8 << 20
_LZ4_MOST = _LZ4_BLOCK + _LZ4_BLOCK // 255 + 16  # bytes that such a block may be packed into
_DAMAGE = (lz4.block.LZ4BlockError, zlib.error, lzma.LZMAError, zstandard.ZstdError, OSError, EOFError, ValueError)


class _Decoder(Protocol):
    """What bz2 and lzma bring, and zlib nearly."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Packing:
    """One way of packing: its name, the bytes that it begins with, and the function that undoes it."""

    name: str
    magic: bytes
    _undo: Callable[[Iterator[bytes]], Iterator[bytes]]

    def undo(self, stream: Iterator[bytes]) -> Iterator[bytes]:
        """Yield what is packed in a stream, in chunks of a few MiB; KernelError where it is damaged."""
        try:
            yield from self._undo(stream)
        except _DAMAGE as error:
            raise KernelError(
                f"its {self.name} data are damaged, cut short, or want too much memory",
                details=str(error),
                hint="fetch or build the file again",
            ) from error


class _Inflate:
    """zlib's decoder with the face of the others."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)  # a gzip header, and nothing else

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def needs_input(self) -> bool:
        return not self._zlib.unconsumed_tail

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._zlib.decompress(self._zlib.unconsumed_tail or data, max_length)


def _decode(decoder: _Decoder, stream: Iterator[bytes]) -> Iterator[bytes]:
    while not decoder.eof:
        data = next(stream, None) if decoder.needs_input else b""
        chunk = decoder.decompress(data or b"", _OUT)
        if data is None and not chunk and not decoder.eof:
            raise EOFError("the data end too early")
        yield chunk


def _gzip(stream: Iterator[bytes]) -> Iterator[bytes]:
    return _decode(_Inflate(), stream)


def _bzip2(stream: Iterator[bytes]) -> Iterator[bytes]:
    return _decode(bz2.BZ2Decompressor(), stream)


def _xz(stream: Iterator[bytes]) -> Iterator[bytes]:
    return _decode(lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=WINDOW + _XZ_SPARE), stream)


def _lzma(stream: Iterator[bytes]) -> Iterator[bytes]:
    return _decode(lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=WINDOW + _XZ_SPARE), stream)


def _zstd(stream: Iterator[bytes]) -> Iterator[bytes]:
    decoder = zstandard.ZstdDecompressor(max_window_size=WINDOW).decompressobj()
    for chunk in stream:
        for offset in range(0, len(chunk), _ZSTD_IN):
            yield decoder.decompress(chunk[offset : offset + _ZSTD_IN])
            if decoder.eof:
                return
    raise EOFError("the data end too early")


def _lz4(stream: Iterator[bytes]) -> Iterator[bytes]:
    """Undo LZ4's legacy format, blocks of 8 MiB with their packed size before them; the last one is smaller.

    Linux, lib/decompress_unlz4.c: what follows a full block and cannot be a block's size is the unpacked size.
    """
    held = bytearray()

    def taken(count: int) -> bytes:
        while len(held) < count and (piece := next(stream, None)) is not None:
            held.extend(piece)
        data = bytes(held[:count])
        del held[:count]
        return data

    taken(len(_LZ4))
    while len(head := taken(4)) == 4:  # noqa: PLR2004 -- a number of 32 bits
        size = int.from_bytes(head, "little")
        if not 0 < size <= _LZ4_MOST:
            return
        data = taken(size)
        if len(data) < size:
            raise EOFError("the data end too early")
        block = lz4.block.decompress(data, uncompressed_size=_LZ4_BLOCK)
        yield block
        if len(block) < _LZ4_BLOCK:
            return
    if head:
        raise EOFError("the data end too early")


_PACKINGS = (
    Packing("gzip", b"\x1f\x8b", _gzip),
    Packing("bzip2", b"BZh", _bzip2),
    Packing("xz", b"\xfd7zXZ\0", _xz),
    Packing("lzma", b"\x5d\0\0", _lzma),
    Packing("lzo", lzop.MAGIC, lzop.unlzop),
    Packing("zstd", b"\x28\xb5\x2f\xfd", _zstd),
    Packing("lz4", _LZ4, _lz4),
)

HEAD = max(len(packing.magic) for packing in _PACKINGS)
"""The bytes that tell every packing."""


def packing_of(head: bytes) -> Packing | None:
    """Return how something that begins with `head` is packed, None if it is not; KernelError for LZ4's frames."""
    if head.startswith(_LZ4_FRAME):
        raise KernelError("packed into lz4's frames, which Xen does not read", hint="lz4 -l packs as Linux does")
    return next((packing for packing in _PACKINGS if head.startswith(packing.magic)), None)
