"""A tar as xapi's importer reads one from a stream: header by header, forward only."""

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from tests.fakes.xapi.body import Body, ShortError

BLOCK = 512
ZSTD = b"\x28\xb5\x2f\xfd"
_OCTAL = re.compile(rb"[ 0]*([0-7]*)[ \0]*")
_PIECE = 1 << 16


class TarError(Exception):
    """What is no tar."""


class Source(Protocol):
    """What can be read exactly."""

    def read(self, size: int) -> bytes:
        """Return so many bytes; ShortError when there are less."""


@dataclass(frozen=True)
class Member:
    """A file's header."""

    name: str
    size: int

    @property
    def padding(self) -> int:
        """How many zeros follow the data."""
        return -self.size % BLOCK


def member(data: bytes) -> Member:
    """Read a header of 512 bytes."""
    check = _number(data[148:156])
    if check != sum(data) - sum(data[148:156]) + 8 * 32:
        raise TarError("header checksum")
    kind = data[156:157]
    if kind not in {b"0", b"\0"}:
        raise TarError(f"member of type {kind!r}")
    name = data[:100].rstrip(b"\0")
    prefix = data[345:500].rstrip(b"\0") if data[257:262] == b"ustar" and data[262:264] != b"  " else b""
    return Member((prefix + b"/" + name if prefix else name).decode(), _number(data[124:136]))


def following(source: Source) -> Member:
    """Read the next header."""
    data = source.read(BLOCK)
    if not data.strip(b"\0"):
        raise ShortError
    return member(data)


def _number(data: bytes) -> int:
    digits = _OCTAL.fullmatch(data)
    if digits is None:
        raise TarError(f"number {data!r}")
    return int(digits[1] or b"0", 8)


class Unpacked:
    """A stream that is decompressed while it is read. `begun`: its first bytes, read already."""

    def __init__(self, body: Body, begun: bytes, *, zstd: bool) -> None:
        self._body, self._packed, self._plain = body, begun, b""
        self._decompress = _zstd() if zstd else zlib.decompressobj(31).decompress

    def read(self, size: int) -> bytes:
        """Return so many bytes of what was packed."""
        while len(self._plain) < size:
            packed, self._packed = self._packed, b""
            packed = packed or self._more()
            try:
                self._plain += self._decompress(packed)
            except Exception as error:
                raise TarError(str(error)) from error
        data, self._plain = self._plain[:size], self._plain[size:]
        return data

    def _more(self) -> bytes:
        size = min(_PIECE, self._body.left)
        if not size:
            raise ShortError
        return self._body.read(size)


def _zstd() -> Callable[[bytes], bytes]:
    import zstandard  # noqa: PLC0415 -- few tests pack by it

    return zstandard.ZstdDecompressor().decompressobj().decompress
