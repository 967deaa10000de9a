"""GNU tar with one member, the image: sparse by the old GNU form (type S), as `tar -cS` writes it.

Reading takes what GNU tar and Python's tarfile write of one file, and nothing else: no link, no second member.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence

from imagekit.errors import VerificationError
from imagekit.formats.stream import Stream

Run = tuple[int, int]
"""(offset, length) of data in the image."""

BLOCK = 512
_RECORD = 20 * BLOCK  # GNU tar's: the end is padded to it
_IN_HEADER, _IN_EXTENSION = 4, 21  # runs that have room there
_MAP_AT, _EXTENDED_AT, _REAL_AT = 386, 482, 483  # in the header
_EXTENSION_AT = _IN_EXTENSION * 24  # of the flag in an extension
_SUM = slice(148, 156)
_OCTAL = 1 << 33  # what 11 octal digits hold
_BASE_256 = 0x80
_LONGEST_NAME = 99
_MOST_RUNS = 1 << 20
_LARGEST_EXTRA = 64 * 1024  # bytes of a long name or of PAX records

OVERHEAD = 64 << 20
"""Bytes that a tar may have besides the image's own, at most: headers, the longest map, a large record's end."""


def start(name: str, size: int, runs: Sequence[Run]) -> bytes:
    """Return what stands before the data: the header and the sparse map that has no room in it.

    `runs` rise, do not touch, and are whole blocks, but for the last at the image's end.
    """
    raw = name.encode()
    if len(raw) > _LONGEST_NAME:
        raise ValueError("the member's name is too long")
    entries = list(runs)
    if not entries or sum(entries[-1]) < size:
        entries.append((size, 0))  # GNU tar's sign that it ends with a hole
    stored = sum(length for _, length in runs)
    head = bytearray(BLOCK)
    head[: len(raw)] = raw
    head[100:108], head[108:116], head[116:124] = b"0000644\0", _number(0, 8), _number(0, 8)
    head[124:136], head[136:148] = _number(stored, 12), _number(0, 12)
    head[156:157], head[257:265] = b"S", b"ustar  \0"
    head[265:269] = head[297:301] = b"root"
    first, rest = entries[:_IN_HEADER], entries[_IN_HEADER:]
    head[_MAP_AT : _MAP_AT + 24 * len(first)] = _entries(first)
    head[_EXTENDED_AT] = bool(rest)
    head[_REAL_AT : _REAL_AT + 12] = _number(size, 12)
    head[_SUM] = b"%06o\0 " % _checksum(head)
    extensions = []
    while rest:
        some, rest = rest[:_IN_EXTENSION], rest[_IN_EXTENSION:]
        extensions.append(_entries(some).ljust(_EXTENSION_AT, b"\0") + bytes([bool(rest)]) + bytes(7))
    return bytes(head) + b"".join(extensions)


def end(before: int) -> bytes:
    """Return the end: the last block filled up, two of zeros, and the rest of the record."""
    padded = -(-before // BLOCK) * BLOCK + 2 * BLOCK
    return bytes(-(-padded // _RECORD) * _RECORD - before)


def read(stream: Stream, size: int) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, bytes) of the one member's data; VerificationError unless its image has this size."""
    head = _first_header(stream)
    kind = head[156:157]
    if kind == b"S":
        real = _parse(head[_REAL_AT : _REAL_AT + 12])
        runs: Iterable[Run] = _map(stream, head, size)
    elif kind in {b"0", b"\0"}:
        real = _parse(head[124:136])
        runs = ((0, real),)
    else:
        raise VerificationError(f"the tar's member is no file: its type is {kind!r}")
    if real != size:
        raise VerificationError(f"the tar holds an image of {real} bytes, and the manifest says {size}")
    for offset, length in runs:
        at = offset
        while at < offset + length:
            data = stream.some(offset + length - at)
            if not data:
                raise VerificationError("the bundle ends too early")
            yield at, data
            at += len(data)
        if stream.exactly(-length % BLOCK).strip(b"\0"):
            raise VerificationError("the tar's last block is not filled up with zeros")
    _check_end(stream)


def _first_header(stream: Stream) -> bytes:
    """Return the member's header; of what tars put before it, long names and PAX records are passed over."""
    for _ in range(3):
        head = stream.exactly(BLOCK)
        if head[257:262] != b"ustar":
            raise VerificationError("what was bundled is not a tar")
        if _parse(head[_SUM]) != _checksum(head):
            raise VerificationError("what was bundled is not a tar: the header's checksum is wrong")
        if head[156:157] not in {b"L", b"x", b"g"}:
            return head
        length = _parse(head[124:136])
        if length > _LARGEST_EXTRA:
            raise VerificationError("the tar has a name or records beyond all measure")
        records = stream.exactly(-(-length // BLOCK) * BLOCK)
        if head[156:157] != b"L" and (b" size=" in records or b"GNU.sparse" in records):
            raise VerificationError("the tar is sparse in the PAX form: bundles have GNU's")
    raise VerificationError("the tar has no member")


def _map(stream: Stream, head: bytes, size: int) -> Iterator[Run]:
    """Return the runs of a sparse member, all of them checked before the first."""
    numbers = array("Q")
    ended = _take(numbers, head[_MAP_AT : _MAP_AT + 24 * _IN_HEADER])
    more = head[_EXTENDED_AT]
    while more:
        if len(numbers) > 2 * _MOST_RUNS:
            raise VerificationError(f"the tar's sparse map has more than {_MOST_RUNS} runs")
        extension = stream.exactly(BLOCK)
        ended = _take(numbers, extension[:_EXTENSION_AT]) or ended
        more = extension[_EXTENSION_AT]
    starts, lengths = numbers[::2], numbers[1::2]
    following = 0
    for offset, length in zip(starts, lengths, strict=True):
        if offset < following or offset + length > size:
            raise VerificationError("the tar's sparse map has runs that overlap, or lie outside the image")
        following = offset + length
    if any(length % BLOCK and offset + length != size for offset, length in zip(starts, lengths, strict=True)):
        raise VerificationError("the tar's sparse map has a run that is not whole blocks")
    if sum(lengths) != _parse(head[124:136]):
        raise VerificationError("the tar's sparse map and its size disagree")
    return zip(starts, lengths, strict=True)


def _take(numbers: "array[int]", raw: bytes) -> bool:
    """Add a piece of a map's offsets and lengths; tell whether it ended there."""
    for at in range(0, len(raw), 24):
        if not raw[at : at + 24].strip(b"\0"):
            return True
        numbers.extend((_parse(raw[at : at + 12]), _parse(raw[at + 12 : at + 24])))
    return False


def _check_end(stream: Stream) -> None:
    zeros = 0
    while data := stream.some(1 << 20):
        if data.strip(b"\0"):
            raise VerificationError("the tar goes on after the image")
        zeros += len(data)
    if zeros < 2 * BLOCK:
        raise VerificationError("the tar has no end")


def _entries(runs: Iterable[Run]) -> bytes:
    return b"".join(_number(value, 12) for run in runs for value in run)


def _number(value: int, width: int) -> bytes:
    if value < _OCTAL:
        return b"%0*o\0" % (width - 1, value)
    return bytes([_BASE_256]) + value.to_bytes(width - 1, "big")


def _parse(raw: bytes) -> int:
    if raw[0] == _BASE_256:
        value = int.from_bytes(raw[1:], "big")
        if value >> 63:
            raise VerificationError("the tar has a number beyond all measure")
        return value
    text = raw.split(b"\0", 1)[0].strip()
    if text.strip(b"01234567"):
        raise VerificationError("the tar has a number that is none")
    return int(text or b"0", 8)


def _checksum(head: bytes | bytearray) -> int:
    return sum(head) - sum(head[_SUM]) + 8 * ord(" ")
