"""An XVA packed as a whole: by gzip or zstd, which xapi takes apart by itself."""

import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Literal, Protocol

import zstandard

from imagekit.errors import VerificationError
from imagekit.formats.stream import PIECE

Packing = Literal["gzip", "zstd"]

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_WINDOW = 1 << 27  # what zstd(1) takes without being told
_STEP = 1 << 16  # compressed bytes that are taken apart at a time: a bomb's are 64 MiB then, at most


class _Packer(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


def pack(pieces: Iterator[bytes], packing: Packing) -> Iterator[bytes]:
    """Yield the pieces packed, without a name and a time; equal versions of the libraries give equal bytes."""
    packer = _PACKERS[packing]()
    for piece in pieces:
        if packed := packer.compress(piece):
            yield packed
    yield packer.flush()


def unpack(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the tar that comes packed or not; VerificationError when the packing is damaged."""
    head = b""
    for piece in pieces:
        head += piece
        if len(head) >= len(_ZSTD):
            break
    whole = _again(head, pieces)
    if head.startswith(_GZIP):
        return _inflate(whole)
    return _unzstd(whole) if head.startswith(_ZSTD) else whole


def _again(head: bytes, pieces: Iterator[bytes]) -> Iterator[bytes]:
    yield head
    yield from pieces


def _inflate(pieces: Iterator[bytes]) -> Iterator[bytes]:
    reader = zlib.decompressobj(16 + zlib.MAX_WBITS)
    for piece in pieces:
        data = piece
        while data:
            if reader.eof:
                reader = zlib.decompressobj(16 + zlib.MAX_WBITS)
            try:
                yield reader.decompress(data, PIECE)
            except zlib.error as error:
                raise VerificationError("the XVA's gzip is damaged", details=str(error)) from error
            data = reader.unused_data if reader.eof else reader.unconsumed_tail
    if not reader.eof:
        raise VerificationError("the XVA's gzip ends too early")


def _unzstd(pieces: Iterator[bytes]) -> Iterator[bytes]:
    context = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
    reader = context.decompressobj()
    for piece in pieces:
        data = piece
        while data:
            if reader.eof:
                reader = context.decompressobj()
            step, data = data[:_STEP], data[_STEP:]
            try:
                yield reader.decompress(step)
            except zstandard.ZstdError as error:
                raise VerificationError("the XVA's zstd is damaged", details=str(error)) from error
            data = reader.unused_data + data
    if not reader.eof:
        raise VerificationError("the XVA's zstd ends too early")


_PACKERS: Mapping[str, Callable[[], _Packer]] = {
    "gzip": lambda: zlib.compressobj(wbits=16 + zlib.MAX_WBITS),
    "zstd": lambda: zstandard.ZstdCompressor(write_checksum=True).compressobj(),
}
