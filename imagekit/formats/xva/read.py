"""An XVA read as a stream: what ova.xml says, then the disks' data, each chunk checked as it comes.

Places are found as xapi finds them: numbers that are left out stand for so many chunks of zeros, each as long as
the disk's first; an empty chunk takes a number and no place (xapi sends one every five seconds, to keep a
connection alive). Facts: xen-api, ocaml/xapi/stream_vdi.ml, `recv_all_vdi`.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from imagekit.errors import ToolError, VerificationError
from imagekit.formats.stream import Stream
from imagekit.formats.xva import tar, xmlrpc
from imagekit.formats.xva.facts import Disk, Facts, facts_of
from imagekit.formats.xva.packing import unpack

_LARGEST_XML = 32 << 20
_LARGEST_CHUNK = 16 << 20
_LARGEST_SUM = 64
_MOST_EMPTY = 1 << 16  # chunks that only keep a connection alive: days of them
_DIGITS = 8
_WITHOUT_TABLE = 2  # export_vsn
_BEFORE = "-1"  # a number that is before all others, as text and as number

Sum = Callable[[bytes], str]


@dataclass(frozen=True, slots=True)
class Extent:
    """Bytes of a disk at an offset; what no extent has is zero."""

    disk: Disk
    offset: int
    data: bytes


class Xva:
    """An XVA under way: `facts` at once, and `extents` once."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        """Read ova.xml from pieces of an XVA, packed by gzip, by zstd or not; VerificationError if it is none."""
        self._stream = Stream(unpack(pieces), "the XVA")
        member = tar.read_header(self._stream)
        if member is None or member.name != "ova.xml":
            raise VerificationError("an XVA begins with ova.xml", details=f"this with {member and member.name!r}")
        self.facts: Facts = facts_of(xmlrpc.load(tar.read_small(self._stream, member, _LARGEST_XML)))

    def extents(self) -> Iterator[Extent]:
        """Yield the disks' data, disk by disk, offsets rising; VerificationError where it is not as it must be."""
        for disk in sorted(self.facts.disks, key=lambda disk: disk.reference):
            yield from self._disk(disk)
        self._end()

    def _disk(self, disk: Disk) -> Iterator[Extent]:
        offset = chunk = empty = 0
        last = _BEFORE
        while offset < disk.size:
            member = self._next(f"a chunk of {disk.reference}")
            number = _number(member, disk, last)
            data = tar.read_small(self._stream, member, min(_LARGEST_CHUNK, disk.size))
            self._check(member, data)
            chunk = chunk or len(data)
            empty += not data
            offset += (int(number) - int(last) - 1) * chunk
            if offset + len(data) > disk.size or empty > _MOST_EMPTY or not chunk:
                raise VerificationError(f"the chunks of {disk.reference} do not fit its size", details=member.name)
            if data:
                yield Extent(disk, offset, data)
            offset += len(data)
            last = number

    def _check(self, member: tar.Member, data: bytes) -> None:
        beside = self._next(f"the checksum of {member.name}")
        name, _, kind = beside.name.rpartition(".")
        function = _SUMS.get(kind)
        if name != member.name or function is None:
            raise VerificationError(f"{member.name} has no checksum beside it", details=f"but {beside.name!r}")
        expected = tar.read_small(self._stream, beside, _LARGEST_SUM)
        actual = function(data)
        if actual.encode() != expected:
            raise VerificationError(
                f"{member.name} is damaged",
                details=f"its checksum is {actual}, not {expected.decode(errors='replace')}",
            )

    def _next(self, what: str) -> tar.Member:
        member = tar.read_header(self._stream)
        if member is None:
            raise VerificationError(f"the XVA ends before {what}")
        return member

    def _end(self) -> None:
        member = tar.read_header(self._stream)
        if member is not None and self.facts.version.export < _WITHOUT_TABLE:
            # Exports of before 2007 have all checksums once more.
            tar.read_small(self._stream, member, _LARGEST_XML)
            member = tar.read_header(self._stream)
        if member is not None:
            raise VerificationError("the XVA goes on after its disks", details=member.name)
        tar.read_end(self._stream)


def _number(member: tar.Member, disk: Disk, last: str) -> str:
    reference, _, number = member.name.rpartition("/")
    if reference != disk.reference or not (number.isascii() and number.isdigit() and len(number) == _DIGITS):
        raise VerificationError(f"the XVA has {member.name!r}, where a chunk of {disk.reference} belongs")
    if number <= last:
        raise VerificationError(f"the chunks of {disk.reference} do not rise", details=f"{number} after {last}")
    return number


def _sha1(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


def _xxh64(data: bytes) -> str:
    try:
        import xxhash  # noqa: PLC0415 -- an extra, for exports of 2022 and later
    except ModuleNotFoundError as error:
        raise ToolError(
            "this XVA's checksums are XXH64: they need xxhash", hint="pip install 'imagekit[xcp]'"
        ) from error
    return xxhash.xxh64_hexdigest(data).upper()


_SUMS: dict[str, Sum] = {"checksum": _sha1, "xxhash": _xxh64}
