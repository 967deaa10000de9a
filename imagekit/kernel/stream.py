"""Streams of bytes: iterators of chunks, so that no packed kernel is ever in memory as a whole."""

import mmap
from collections.abc import Iterable, Iterator
from itertools import chain

from imagekit.errors import KernelError

CHUNK = 64 * 1024
"""Bytes read at once."""

Readable = bytes | bytearray | mmap.mmap
"""What a kernel is read from: slices of it are bytes, and cost a copy."""

_MIB = 1 << 20


class Budget:
    """Bytes that may still be unpacked, by all the layers of a file together."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.left = limit

    def metered(self, stream: Iterable[bytes]) -> Iterator[bytes]:
        """Pass a stream on and count it; KernelError when the budget is spent."""
        for chunk in stream:
            self.left -= len(chunk)
            if self.left < 0:
                raise KernelError(
                    f"unpacks to more than {self.limit // _MIB} MiB",
                    hint="unpack it yourself if it is no bomb: a kernel that is not packed has no such limit",
                )
            yield chunk


def chunks(data: Readable, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
    """Yield data[start:stop] piece by piece."""
    for offset in range(start, len(data) if stop is None else stop, CHUNK):
        yield bytes(data[offset : min(offset + CHUNK, len(data) if stop is None else stop)])
        if isinstance(data, mmap.mmap):
            _forget(data, offset)


def _forget(data: mmap.mmap, offset: int) -> None:
    """Give read pages back, or a large packed file would count as our memory."""
    page = offset - offset % mmap.PAGESIZE
    data.madvise(mmap.MADV_DONTNEED, page, min(CHUNK, len(data) - page))


def peek(stream: Iterator[bytes], length: int) -> tuple[bytes, Iterator[bytes]]:
    """Return the first bytes of a stream, at least `length` if there are so many, and the stream as it was."""
    head = b""
    for chunk in stream:
        head += chunk
        if len(head) >= length:
            break
    return head, chain((head,), stream)


class Feed:
    """A stream read by number of bytes."""

    def __init__(self, stream: Iterator[bytes]) -> None:
        self._stream = stream
        self._held = bytearray()

    def take(self, length: int) -> bytes:
        """Return exactly `length` bytes; EOFError when there are fewer."""
        while len(self._held) < length:
            chunk = next(self._stream, None)
            if chunk is None:
                raise EOFError("the data end too early")
            self._held += chunk
        taken = bytes(self._held[:length])
        del self._held[:length]
        return taken
