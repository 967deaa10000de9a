"""A window on an image: reads that never leave it and never fail for want of bytes."""

import struct
from typing import Literal, NamedTuple, Protocol

SECTOR = 512
"""Bytes of one sector: the unit of MBR and GPT on every Xen disk."""


class Readable(Protocol):
    """What is read: a binary file, an mmap or a BytesIO."""

    def seek(self, offset: int, whence: Literal[0, 2] = 0, /) -> object: ...  # noqa: D102
    def read(self, size: int, /) -> bytes: ...  # noqa: D102
    def tell(self) -> int: ...  # noqa: D102


class Window(NamedTuple):
    """`length` bytes of a readable from `start`: a partition, or all of it."""

    file: Readable
    start: int
    length: int

    @classmethod
    def whole(cls, file: Readable) -> "Window":
        """Return the window on all of a readable."""
        file.seek(0, 2)
        return cls(file, 0, file.tell())

    def part(self, start: int, length: int) -> "Window":
        """Return the window on a part of this one, cut to what is there."""
        start = min(max(start, 0), self.length)
        return Window(self.file, self.start + start, max(min(length, self.length - start), 0))

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset`, fewer or none where the window ends."""
        size = min(size, self.length - offset)
        if offset < 0 or size <= 0:
            return b""
        self.file.seek(self.start + offset)
        return self.file.read(size)

    def unpack(self, form: struct.Struct, offset: int) -> tuple[int, ...]:
        """Return a record's fields; what lies outside the window counts as zero."""
        return form.unpack(self.read(offset, form.size).ljust(form.size, b"\0"))
