"""The tar of an XVA: plain files by POSIX's ustar, which xapi's reader (mirage/ocaml-tar) and every other takes.

Reading takes plain files only: no link, no long name, no PAX records; xapi writes none.
"""

from dataclasses import dataclass

from imagekit.errors import VerificationError
from imagekit.formats.stream import PIECE, Stream

BLOCK = 512
END = bytes(2 * BLOCK)
"""What ends it: xapi writes two blocks of zeros, and no more."""

_NAME, _PREFIX, _SIZE, _SUM = slice(0, 100), slice(345, 500), slice(124, 136), slice(148, 156)
_TYPE = slice(156, 157)
_MAGIC = slice(257, 262)
_PLAIN = {b"0", b"\0"}
_LARGEST_END = 16 << 20


@dataclass(frozen=True, slots=True)
class Member:
    """A file: its name, its bytes."""

    name: str
    size: int


def header(name: str, size: int) -> bytes:
    """Return a file's header: mode 0400 as xapi's, no owner, no time. The name is ASCII, 100 bytes at most."""
    head = bytearray(BLOCK)
    head[: len(name)] = name.encode("ascii")
    head[100:124] = b"0000400\0" + 2 * b"0000000\0"
    head[_SIZE], head[136:148] = b"%011o\0" % size, b"%011o\0" % 0
    head[_SUM], head[156:157] = b" " * 8, b"0"
    head[257:265] = b"ustar\x0000"
    head[329:345] = 2 * b"0000000\0"
    head[_SUM] = b"%06o\0 " % sum(head)
    return bytes(head)


def padding(size: int) -> bytes:
    """Return what fills a file's last block up."""
    return bytes(-size % BLOCK)


def padded(name: str, data: bytes) -> bytes:
    """Return a whole small file."""
    return header(name, len(data)) + data + padding(len(data))


def space(size: int) -> int:
    """Return the bytes that a file takes with its header."""
    return BLOCK + size + -size % BLOCK


def read_header(stream: Stream) -> Member | None:
    """Return the next file, or None at the end; its data are to be read next, and their padding."""
    head = stream.exactly(BLOCK)
    if not head.strip(b"\0"):
        return None
    if head[_SUM].replace(b"\0", b" ").strip().lstrip(b"0") != b"%o" % (
        sum(head) - sum(head[_SUM]) + 8 * ord(" ")
    ):
        raise VerificationError("the XVA is no tar, or damaged: a header's checksum is wrong")
    if head[_TYPE] not in _PLAIN:
        raise VerificationError("the XVA has a member that is no plain file", details=f"type {head[_TYPE]!r}")
    name = _text(head[_NAME])
    prefix = _text(head[_PREFIX]) if head[_MAGIC] == b"ustar" else ""
    return Member(f"{prefix}/{name}" if prefix else name, _number(head[_SIZE]))


def read_small(stream: Stream, member: Member, most: int) -> bytes:
    """Return a file's data, its padding read; VerificationError when it is longer than `most` bytes."""
    if member.size > most:
        raise VerificationError(f"{member.name} has {member.size} bytes: more than any XVA's")
    data = stream.exactly(member.size)
    stream.exactly(-member.size % BLOCK)
    return data


def read_end(stream: Stream) -> None:
    """Read what fills the last record up, so that a packing's own checksum is reached; there is no more."""
    left = _LARGEST_END
    while data := stream.some(PIECE):
        left -= len(data)
        if left < 0 or data.strip(b"\0"):
            raise VerificationError("the XVA goes on after its end")


def _text(raw: bytes) -> str:
    try:
        return raw.split(b"\0", 1)[0].decode()
    except UnicodeDecodeError as error:
        raise VerificationError("the XVA has a name that is no text") from error


def _number(raw: bytes) -> int:
    text = raw.replace(b"\0", b" ").strip()
    if text.strip(b"01234567"):
        raise VerificationError("the XVA has a number that is none", details=repr(raw))
    return int(text or b"0", 8)
