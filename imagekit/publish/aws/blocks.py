"""The blocks of an image that go into an EBS snapshot: which, their bytes, and the checksums over them.

Checksums are those of the block map and nothing is hashed again: a file that changes while it is sent is refused
by the server, whose own hash then differs.
"""

import hashlib
import os
from base64 import b64encode
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from imagekit.errors import PublishError
from imagekit.sparse import BLOCK, BlockMap

UNMAPPED = bytes(0)
"""Stands for the SHA-256 of a block that the map does not have: zeros."""

_GIB = 1 << 30
_ZERO = hashlib.sha256(bytes(BLOCK)).digest()


@dataclass(frozen=True)
class Target:
    """Where the blocks go: an https:// endpoint, its region, a pending snapshot, its volume's GiB.

    `encrypted` is what StartSnapshot's answer says. A block that was never put into an encrypted snapshot reads
    back as garbage: then every block of the volume goes, zero or not.
    """

    endpoint: str
    region: str
    snapshot: str
    volume_size: int
    encrypted: bool


@dataclass(frozen=True)
class Uploaded:
    """What CompleteSnapshot asks for, over all blocks that the snapshot holds now; `sent` are this run's."""

    count: int
    checksum: str
    sent: int


def wanted(blocks: BlockMap, target: Target, only: Collection[int] | None = None) -> list[tuple[int, bytes]]:
    """Return (index, SHA-256 of the data there is) of each block to put, in order; no SHA-256 is a block of zeros.

    `only` are the blocks that differ from a parent snapshot, zero or not.
    """
    size = target.volume_size * _GIB // BLOCK
    if blocks.length > target.volume_size * _GIB:
        raise PublishError(f"an image of {blocks.length} bytes does not fit a volume of {target.volume_size} GiB")
    if only is not None:
        if any(not 0 <= index < size for index in only):
            raise ValueError("a block that differs lies in the volume")
        return _with_zeros(blocks, sorted(set(only)))
    if target.encrypted:
        return _with_zeros(blocks, range(size))
    return list(blocks.blocks)


def _with_zeros(blocks: BlockMap, indices: Iterable[int]) -> list[tuple[int, bytes]]:
    full = dict(blocks.blocks)
    return [(index, full.get(index, UNMAPPED)) for index in indices]


def read_block(descriptor: int, length: int, index: int) -> bytes:
    """Return a whole block of a file of `length` bytes: zeros where it has none."""
    size = max(0, min(BLOCK, length - index * BLOCK))
    data = os.pread(descriptor, size, index * BLOCK)
    if len(data) != size:
        raise changed()
    return data.ljust(BLOCK, b"\0")


def read_into(view: memoryview, descriptor: int, length: int, index: int, digest: bytes) -> str:
    """Read a whole block into a view of BLOCK bytes; return its checksum, Base64. `digest` is the plan's."""
    if digest == UNMAPPED:
        view[:] = bytes(BLOCK)
        return b64encode(_ZERO).decode()
    size = min(BLOCK, length - index * BLOCK)
    at = 0
    while at < size:
        got = os.preadv(descriptor, [view[at:size]], index * BLOCK + at)
        if not got:
            raise changed()
        at += got
    view[size:] = bytes(BLOCK - size)
    return b64encode(digest if size == BLOCK else hashlib.sha256(view).digest()).decode()


def digests(descriptor: int, length: int, plan: Iterable[tuple[int, bytes]]) -> bytes:
    """Return the LINEAR checksum: SHA-256 over the SHA-256 of each block of the plan, in order."""
    linear = hashlib.sha256()
    for index, digest in plan:
        linear.update(_padded(descriptor, length, index, digest))
    return linear.digest()


def _padded(descriptor: int, length: int, index: int, digest: bytes) -> bytes:
    """Return the SHA-256 of a whole block: a map's last block may be short, and what is put never is."""
    if digest == UNMAPPED:
        return _ZERO
    left = length - index * BLOCK
    if left >= BLOCK:
        return digest
    data = os.pread(descriptor, left, index * BLOCK)
    if hashlib.sha256(data).digest() != digest:
        raise changed()
    return hashlib.sha256(data + bytes(BLOCK - left)).digest()


def changed() -> PublishError:
    """Return the error for a file that is not the one that was measured."""
    return PublishError(
        "the image changed while it was uploaded", hint="let nothing write to it, then publish it again"
    )
