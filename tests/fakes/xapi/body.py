"""A request's body as a stream of exact reads, cut or stalled where a fault says so."""

from tests.fakes.xapi.faults import Fault
from tests.fakes.xapi.http import Exchange

_PIECE = 1 << 20


class ShortError(Exception):
    """The body ended before it was due: the client went away, or sent less than it takes."""


class Body:
    """Reads what was announced and no further; with no length, to the connection's end."""

    def __init__(self, exchange: Exchange, fault: Fault) -> None:
        self._exchange, self._fault = exchange, fault
        self.length = exchange.length
        self.at = 0
        self.cut = False

    @property
    def left(self) -> int:
        """How many bytes are still announced."""
        return (self.length or 0) - self.at

    def read(self, size: int) -> bytes:
        """Read exactly so many bytes."""
        buffer = bytearray(size)
        self.into(memoryview(buffer))
        return bytes(buffer)

    def into(self, view: memoryview) -> None:
        """Fill a buffer."""
        if self.length is not None and len(view) > self.left:
            raise ShortError
        done = 0
        while done < len(view):
            got = self._exchange.reader.readinto(view[done : done + self._most()])
            if not got:
                self.cut = True
                raise ShortError
            done += got
            self.at += got
            if self._fault.kind in {"cut", "stall"} and self.at >= self._fault.bytes:
                self._break()

    def skip(self, size: int) -> None:
        """Read past so many bytes."""
        while size > 0:
            self.read(step := min(size, _PIECE))
            size -= step

    def _most(self) -> int:
        if self._fault.kind in {"cut", "stall"}:
            return max(1, min(_PIECE, self._fault.bytes - self.at))
        return _PIECE

    def _break(self) -> None:
        self.cut = True
        (self._exchange.hang if self._fault.kind == "stall" else self._exchange.reset)()
