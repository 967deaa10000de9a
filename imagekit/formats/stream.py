"""Bytes that come in pieces: read as asked for, and made on other threads one piece ahead."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from imagekit.errors import VerificationError

_T = TypeVar("_T")
_R = TypeVar("_R")

PIECE = 1 << 20
"""Bytes of a piece, at most."""


class Stream:
    """A reader of pieces of `what`, the words for it in an error."""

    def __init__(self, pieces: Iterator[bytes], what: str) -> None:
        self._pieces = pieces
        self._what = what
        self._left = memoryview(b"")

    def some(self, most: int) -> bytes:
        """Return at least one byte and `most` at most; nothing at the end."""
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._left = memoryview(piece)
        data, self._left = self._left[:most], self._left[most:]
        return bytes(data)

    def exactly(self, count: int) -> bytes:
        """Return so many bytes; VerificationError when there are fewer."""
        pieces = []
        while count:
            data = self.some(count)
            if not data:
                raise VerificationError(f"{self._what} ends too early")
            pieces.append(data)
            count -= len(data)
        return b"".join(pieces)


def ahead(items: Iterator[_T]) -> Iterator[_T]:
    """Yield the items, the next one made on a thread meanwhile."""
    with _threads(1) as pool:
        following = pool.submit(_next, items)
        while item := following.result():
            following = pool.submit(_next, items)
            yield item[0]


@contextmanager
def _threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """Lend threads, which are not waited for.

    The garbage collector may close a generator that nobody read to its end, and may do so on a thread that is just
    starting or ending another: to wait for one there would be to wait for ever.
    """
    pool = ThreadPoolExecutor(count)
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _next(items: Iterator[_T]) -> tuple[_T, ...]:
    for item in items:
        return (item,)
    return ()


def mapped(function: Callable[[_T], _R], items: Iterator[_T], threads: int) -> Iterator[_R]:
    """Yield function(item) in order, so many at a time on threads, two more in waiting."""
    with _threads(threads) as pool:
        waiting: deque[Future[_R]] = deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > threads + 2:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
