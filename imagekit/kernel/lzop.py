"""The container of lzop(1), which is also how Linux packs a kernel by LZO.

Format: lzop 1.04's source, `conf.h` and `lzop.c`; numbers are big-endian. Xen's libxenguest reads the same subset
(`xg_dom_bzimageloader.c`).
"""

import struct
import zlib
from collections.abc import Iterator

from lzallright import LZOCompressor, LZOError

from imagekit.kernel.stream import Feed

MAGIC = b"\x89LZO\0\r\n\x1a\n"

_BLOCK = 256 * 1024  # lzop writes no larger ones; Linux reads none
_OLDEST = 0x0940  # since then a level byte and a 64-bit time
_ADLER_UNPACKED, _ADLER_PACKED, _CRC_UNPACKED, _CRC_PACKED = 0x1, 0x2, 0x100, 0x200
_EXTRA, _FILTER = 0x40, 0x800


def unlzop(stream: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the unpacked blocks of an lzop file's first part; ValueError or EOFError where it is damaged."""
    feed = Feed(stream)
    flags = _header(feed)
    while size := _number(feed):
        packed_size = _number(feed)
        if not 0 < packed_size <= size <= _BLOCK:
            raise ValueError(f"a block of {packed_size} bytes that unpacks to {size}")
        adler = _number(feed) if flags & _ADLER_UNPACKED else None
        feed.take(4 * _unread_sums(flags, packed=packed_size < size))
        yield _block(feed.take(packed_size), size, adler)


def _header(feed: Feed) -> int:
    fixed = feed.take(len(MAGIC) + 8)
    _, version, _, _, _, _ = struct.unpack(f">{len(MAGIC)}sHHHBB", fixed)
    flags = _number(feed)
    if version < _OLDEST or flags & (_EXTRA | _FILTER):
        raise ValueError(f"lzop version {version:#06x} with flags {flags:#x}")
    feed.take(12)  # mode and time
    feed.take(feed.take(1)[0] + 4)  # name, and the header's checksum
    return flags


def _number(feed: Feed) -> int:
    return int.from_bytes(feed.take(4))


def _unread_sums(flags: int, *, packed: bool) -> int:
    """Return how many checksums follow that we do not compare."""
    of_packed = (flags & _ADLER_PACKED > 0) + (flags & _CRC_PACKED > 0)
    return (flags & _CRC_UNPACKED > 0) + (of_packed if packed else 0)


def _block(packed: bytes, size: int, adler: int | None) -> bytes:
    unpacked = packed if len(packed) == size else _unlzo(packed, size)
    if len(unpacked) != size:
        raise ValueError(f"a block of {len(unpacked)} bytes that should be {size}")
    if adler is not None and zlib.adler32(unpacked) != adler:
        raise ValueError("a block's checksum is wrong")
    return unpacked


def _unlzo(packed: bytes, size: int) -> bytes:
    try:
        return bytes(LZOCompressor.decompress(packed, size))
    except LZOError as error:
        # Its own text may hold all of the data.
        raise ValueError(f"a block that is no LZO ({type(error).__name__})") from None
