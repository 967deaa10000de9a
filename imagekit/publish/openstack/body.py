"""A part of a file as the body of a request, which can be sent again, and is hashed on the way.

keystoneauth sends a request again with a new token when the old one has run out: an open file would go on where it
stopped, and the rest would be taken for all.
"""

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

_PIECE = _MIB = 1 << 20
_TELL_EVERY = 10.0  # seconds


@dataclass
class Body:
    """So many bytes of a file; `algorithms` are hashlib's names, `go_on` raises when the user has ended it.

    `note` is told now and then how much was sent.
    """

    path: Path
    offset: int
    length: int
    algorithms: tuple[str, ...]
    go_on: Callable[[], None]
    note: Callable[[str], None] = lambda _: None
    sums: dict[str, str] = field(default_factory=dict)
    """Of the last time that it was sent whole, in hex."""

    def __len__(self) -> int:
        """Return the bytes: requests makes the Content-Length of it."""
        return self.length

    def __iter__(self) -> Iterator[bytes]:
        """Yield it from the beginning, as what is sent."""
        sent, told = 0, time.monotonic()
        for piece in self._pieces():
            yield piece
            sent += len(piece)
            if time.monotonic() - told > _TELL_EVERY:
                told = time.monotonic()
                self.note(f"{sent // _MIB} of {self.length // _MIB} MiB sent")

    def summed(self, name: str) -> str:
        """Return its hash, of what was sent or else read anew."""
        if name not in self.sums:
            self.algorithms = (name,)
            for _ in self._pieces():
                pass
        return self.sums[name]

    def _pieces(self) -> Iterator[bytes]:
        hashes = {name: hashlib.new(name, usedforsecurity=False) for name in self.algorithms}
        self.sums.clear()
        with self.path.open("rb", buffering=0) as file:
            at, end = self.offset, self.offset + self.length
            while at < end:
                self.go_on()
                piece = os.pread(file.fileno(), min(_PIECE, end - at), at)
                if not piece:
                    break  # it was cut meanwhile: fewer bytes than announced are an error of the connection's
                for one in hashes.values():
                    one.update(piece)
                at += len(piece)
                if at == end:  # nothing asks for more than was announced
                    self.sums |= {name: one.hexdigest() for name, one in hashes.items()}
                yield piece
