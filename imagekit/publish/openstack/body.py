"""A part of a file as the body of a request, which can be sent again, and is hashed on the way.

keystoneauth sends a request again with a new token when the old one has run out: an open file would go on where it
stopped, and the rest would be taken for all.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

_PIECE = 1 << 20


@dataclass
class Body:
    """So many bytes of a file; `algorithms` are hashlib's names, `go_on` raises when the user has ended it."""

    path: Path
    offset: int
    length: int
    algorithms: tuple[str, ...]
    go_on: Callable[[], None]
    sums: dict[str, str] = field(default_factory=dict)
    """Of the last time that it was sent whole, in hex."""

    def __len__(self) -> int:
        """Return the bytes: requests makes the Content-Length of it."""
        return self.length

    def __iter__(self) -> Iterator[bytes]:
        """Yield it from the beginning."""
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

    def summed(self, name: str) -> str:
        """Return its hash, of what was sent or else read anew."""
        if name not in self.sums:
            self.algorithms = (name,)
            for _ in self:
                pass
        return self.sums[name]
