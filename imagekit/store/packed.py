r"""A blob as it lies in a shared store: only its blocks that are not all zero, each packed by zstd (RFC 8878).

    16 bytes   b"imagekit blob 1\n"
    8 bytes    length of the block map, big-endian
    the map    as `BlockMap.to_bytes` writes it: its SHA-256 is the blob's digest
    a block    4 bytes, the length of its frame, big-endian; the frame. As many as the map has, in its order

Whoever reads it believes nothing: the map is known by the digest that was asked for, and each block by the map, so
what comes out is the blob or DamageError, and neither bombs nor wild lengths take more memory than a block.
"""

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import IO, Protocol

import zstandard

from imagekit.errors import VerificationError
from imagekit.sparse import BLOCK, BlockMap, in_rounds

MAGIC = b"imagekit blob 1\n"
_LARGEST = 1 << 39  # bytes of a blob of which only the digest is known: its map takes 40 MiB
_LEVEL = 1  # a farm's network is faster than better packing
_ROOM = 1024  # what zstd adds to a block that does not get smaller
_PAGE = 4096
_PACKERS = min(4, os.cpu_count() or 1)


class DamageError(VerificationError):
    """Bytes of a shared store that are not what was asked for."""


class Readable(Protocol):
    """What bytes are read from."""

    def read(self, size: int, /) -> bytes:
        """Return so many bytes, or fewer."""


def pack(blob: Path, blocks: BlockMap, out: IO[bytes]) -> None:
    """Write a blob in its packed form; DamageError when its bytes are not those of its map."""
    told = blocks.to_bytes()
    out.write(MAGIC + len(told).to_bytes(8, "big") + told)
    descriptor = os.open(blob, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with ThreadPoolExecutor(_PACKERS) as pool:
            for some in in_rounds(blocks.blocks):
                for frame in pool.map(partial(_frame, descriptor), some):
                    out.write(len(frame).to_bytes(4, "big") + frame)
    finally:
        os.close(descriptor)


def unpack(packed: Readable, digest: str, length: int | None, out: Path) -> BlockMap:
    """Write the blob of this digest, holes kept; DamageError when anything is not as it must be.

    `length` is what is known of it, None when nothing is.
    """
    blocks = _map(packed, digest, length)
    descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(descriptor, blocks.length)
        with ThreadPoolExecutor(_PACKERS) as pool:
            frames = ((index, want, _read_frame(packed)) for index, want in blocks.blocks)
            for some in in_rounds(frames):
                list(pool.map(partial(_put, descriptor, blocks.length), some))
    finally:
        os.close(descriptor)
    if packed.read(1):
        raise DamageError(f"{digest[:16]}: more bytes than its block map tells of")
    return blocks


def _map(packed: Readable, digest: str, length: int | None) -> BlockMap:
    head = _exactly(packed, len(MAGIC) + 8)
    size = int.from_bytes(head[-8:], "big")
    most = -(-(_LARGEST if length is None else length) // BLOCK)
    if head[: len(MAGIC)] != MAGIC or size > 8 + 40 * most:
        raise DamageError(f"{digest[:16]}: not a packed blob of that length")
    told = _exactly(packed, size)
    if hashlib.sha256(told).hexdigest() != digest:
        raise DamageError(f"{digest[:16]}: its block map is another's")
    try:
        blocks = BlockMap.from_bytes(told)
    except ValueError as error:
        raise DamageError(f"{digest[:16]}: {error}") from None
    if length is not None and blocks.length != length:
        raise DamageError(f"{digest[:16]}: {blocks.length} bytes, and its record says {length}")
    return blocks


def _frame(descriptor: int, block: tuple[int, bytes]) -> bytes:
    index, want = block
    data = os.pread(descriptor, BLOCK, index * BLOCK)
    if hashlib.sha256(data).digest() != want:
        raise DamageError("the cached result was damaged", hint="`imagekit cache verify` finds all that is")
    return zstandard.ZstdCompressor(_LEVEL, write_content_size=True).compress(data)


def _read_frame(packed: Readable) -> bytes:
    size = int.from_bytes(_exactly(packed, 4), "big")
    if size > BLOCK + _ROOM:
        raise DamageError("a block that is longer than any is")
    return _exactly(packed, size)


def _put(descriptor: int, length: int, item: tuple[int, bytes, bytes]) -> None:
    index, want, frame = item
    size = min(BLOCK, length - index * BLOCK)
    try:
        # The size that a frame tells is what the decoder would set aside.
        fits = zstandard.frame_content_size(frame) == size
        data = zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False) if fits else b""
    except zstandard.ZstdError:
        data = b""
    if hashlib.sha256(data).digest() != want:
        raise DamageError("a block's bytes are not those of its block map")
    for start, end in _runs(data):
        piece, at = memoryview(data)[start:end], index * BLOCK + start
        while piece:
            done = os.pwrite(descriptor, piece, at)
            piece, at = piece[done:], at + done


def _runs(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of what is not zero, by the page: what is sent whole takes on disk what it did."""
    pages = (at for at in range(0, len(data), _PAGE) if data[at : at + _PAGE].strip(b"\0"))
    start = end = 0
    for at in pages:
        if at > end:
            if end > start:
                yield start, end
            start = at
        end = min(at + _PAGE, len(data))
    if end > start:
        yield start, end


def _exactly(packed: Readable, size: int) -> bytes:
    """Read so many bytes, whatever pieces they come in; a hostile size takes no more than what is there."""
    pieces = list(_pieces(packed, size))
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _pieces(packed: Readable, size: int) -> Iterator[bytes]:
    while size:
        piece = packed.read(min(size, 4 * BLOCK))
        if not piece:
            raise DamageError("a blob that ends too early")
        size -= len(piece)
        yield piece
