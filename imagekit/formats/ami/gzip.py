"""One gzip member made by several threads, the same bytes however many they are; and bounded reading of it.

Blocks of 1 MiB are raw deflate, each on its own, each ended at a byte; the checksum is put together of theirs.
"""

import os
import struct
from collections.abc import Iterator
from typing import cast

from isal import igzip_lib, isal_zlib

from imagekit.errors import VerificationError
from imagekit.formats.stream import PIECE, mapped

# No name, no time, Unix.
_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\x03"
_LEVEL = 1
_DAMAGED = cast("type[Exception]", igzip_lib.IsalError)  # its stub says that it is an instance
_THREADS = min(4, os.cpu_count() or 1)


def pack(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the gzip member of what comes; the pieces' bounds are part of the result."""
    checksum = length = 0
    yield _HEADER
    for packed, its_checksum, its_length in mapped(_deflate, pieces, _THREADS):
        checksum = isal_zlib.crc32_combine(checksum, its_checksum, its_length)
        length += its_length
        yield packed
    yield isal_zlib.compress(b"", _LEVEL, -15) + struct.pack("<II", checksum, length & 0xFFFFFFFF)


def unpack(pieces: Iterator[bytes], most: int) -> Iterator[bytes]:
    """Yield what gzip members hold; VerificationError when one is damaged, or they hold more than `most` bytes."""
    reader: igzip_lib.IgzipDecompressor | None = None
    whole = False
    for piece in pieces:
        data = piece
        while data or (reader and not reader.needs_input):
            reader = reader or igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
            out, data = _inflated(reader, data), b""
            most -= len(out)
            if most < 0:
                raise VerificationError("the bundle holds more than the manifest says")
            if out:
                yield out
            if reader.eof:
                data, reader, whole = reader.unused_data, None, True
    if reader or not whole:
        raise VerificationError("the bundle ends too early")


def _inflated(reader: igzip_lib.IgzipDecompressor, data: bytes) -> bytes:
    try:
        return reader.decompress(data, PIECE)
    except _DAMAGED as error:
        raise VerificationError("what was bundled is no gzip, or damaged", details=str(error)) from error


def _deflate(piece: bytes) -> tuple[bytes, int, int]:
    packer = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, -15)
    packed = packer.compress(piece) + packer.flush(isal_zlib.Z_FULL_FLUSH)
    return packed, isal_zlib.crc32(piece), len(piece)
