"""An initramfs: the "newc" form of cpio (Linux `Documentation/driver-api/early-userspace/buffer-format.rst`).

Pure and deterministic: owner 0, time 0, inode numbers counted, entries sorted by name.
"""

import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_MAGIC = b"070701"
_ALIGN = 4
_BLOCK = 512
_END = "TRAILER!!!"


@dataclass(frozen=True, slots=True)
class Entry:
    """A member: its name without a leading /, its mode with the type bits, a file's content or a link's target."""

    name: str
    mode: int
    data: bytes = b""


def file(name: str, data: bytes, *, executable: bool = False) -> Entry:
    """Return a plain file."""
    return Entry(name, stat.S_IFREG | (0o755 if executable else 0o644), data)


def folder(name: str) -> Entry:
    """Return a folder."""
    return Entry(name, stat.S_IFDIR | 0o755)


def link(name: str, target: str) -> Entry:
    """Return a symbolic link."""
    return Entry(name, stat.S_IFLNK | 0o777, target.encode())


def newc(entries: Iterable[Entry]) -> Iterator[bytes]:
    """Yield an archive, piece by piece. Folders come before what is in them, because names are sorted."""
    length = 0
    members = sorted(entries, key=lambda entry: entry.name.split("/"))
    for number, entry in enumerate([*members, Entry(_END, 0)], 1):
        for piece in (_header(entry, number if entry.name != _END else 0), _padded(entry.data)):
            length += len(piece)
            yield piece
    yield bytes(-length % _BLOCK)


def _header(entry: Entry, number: int) -> bytes:
    name = entry.name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    fields = (number, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, 0, 0, len(name), 0)
    return _padded(_MAGIC + b"".join(b"%08X" % field for field in fields) + name)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % _ALIGN)
