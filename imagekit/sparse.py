"""Sparse files: where their data lies, their digest by 512 KiB blocks, and copies that keep the holes.

Digest of an image: SHA-256 over its length (8 bytes, big-endian) and then, for each 512 KiB block that is not all
zero, its index (8 bytes, big-endian) and its SHA-256 (32 bytes). Holes are never read and a zero block counts as
a hole, so equal content has one digest on every file system, and 100 GiB of nothing costs nothing. 512 KiB is the
block of Amazon's EBS direct APIs: the list that makes the digest is the list that an upload needs.
"""

import errno
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain, pairwise
from pathlib import Path
from stat import S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IMODE
from typing import NamedTuple, TypeVar

from imagekit.errors import UsageError

BLOCK = 512 * 1024
"""Bytes of one block."""

_T = TypeVar("_T")
_ZERO = bytes(BLOCK)
_DIGEST = 32
_LONGEST = 1 << 63  # off_t
_HASHERS = min(4, os.cpu_count() or 1)
_FEW = 2  # blocks that are hashed sooner than a thread has started
_ROUND = 64  # blocks in flight: 32 MiB, whatever the file's size
_FICLONE = 0x40049409  # linux/fs.h
_NO_CLONE = {errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.ETXTBSY}


ReadAt = Callable[[int, int], bytes]
"""(offset, length) → so many bytes, fewer past the end."""


@dataclass(frozen=True)
class BlockMap:
    """The blocks of a file that are not all zero: its length in bytes, and (index, SHA-256) in index order.

    The last block may be short; its SHA-256 is over what is there. ValueError for what no file can have.
    """

    length: int
    blocks: tuple[tuple[int, bytes], ...]

    def __post_init__(self) -> None:
        if not 0 <= self.length < _LONGEST:
            raise ValueError("no file is of such a length")
        if any(left >= right for (left, _), (right, _) in pairwise(self.blocks)):
            raise ValueError("a block map's indexes rise")
        if self.blocks and not 0 <= self.blocks[0][0] <= self.blocks[-1][0] < -(-self.length // BLOCK):
            raise ValueError("a block map's blocks lie in the file")
        if any(len(block) != _DIGEST for _, block in self.blocks):
            raise ValueError("a block's SHA-256 is 32 bytes")

    @cached_property
    def digest(self) -> str:
        """The digest of the whole, 64 hex characters."""
        whole = hashlib.sha256(self.length.to_bytes(8, "big"))
        for index, block in self.blocks:
            whole.update(index.to_bytes(8, "big") + block)
        return whole.hexdigest()

    def to_bytes(self) -> bytes:
        """Return the map as the bytes that its digest is made of."""
        return b"".join(
            (self.length.to_bytes(8, "big"), *(index.to_bytes(8, "big") + block for index, block in self.blocks))
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> "BlockMap":
        """Read a map back; ValueError when the bytes cannot be one."""
        if len(data) % 40 != 8:  # noqa: PLR2004 -- a length, then records of 8 + 32
            raise ValueError("a block map is 8 bytes and records of 40")
        records = (data[at : at + 40] for at in range(8, len(data), 40))
        blocks = tuple((int.from_bytes(record[:8], "big"), record[8:]) for record in records)
        return cls(int.from_bytes(data[:8], "big"), blocks)


def map_blocks(path: Path) -> BlockMap:
    """Hash a file's data, block by block, on as many threads as pay."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        length = os.fstat(descriptor).st_size
        return map_read(length, _touched(descriptor, length), partial(_pread, descriptor))
    finally:
        os.close(descriptor)


def map_read(length: int, touched: Iterable[int], read_at: ReadAt) -> BlockMap:
    """Hash what is read, of `length` bytes; `touched` are the rising numbers of the blocks that may hold data."""

    def hashed(index: int) -> tuple[int, bytes] | None:
        data = read_at(index * BLOCK, BLOCK)
        if data == _ZERO[: len(data)]:
            return None
        return index, hashlib.sha256(data).digest()

    rounds = in_rounds(touched)
    first = next(rounds)
    if len(first) <= _FEW:  # the last round, too
        return BlockMap(length, tuple(block for block in map(hashed, first) if block is not None))
    with ThreadPoolExecutor(_HASHERS) as pool:
        found = [block for some in chain([first], rounds) for block in pool.map(hashed, some) if block is not None]
    return BlockMap(length, tuple(found))


def _pread(descriptor: int, offset: int, length: int) -> bytes:
    return os.pread(descriptor, length, offset)


def digest_file(path: Path) -> str:
    """Return a file's digest."""
    return map_blocks(path).digest


def digest_tree(path: Path, *, kept: bool = False) -> str:
    """Return the digest of a folder's content: names, types, the owner's execute bit, bytes, links hard and soft.

    Owners, times, the other mode bits and the order of the folder's entries are the builder's, not the content's.
    With `kept`, for a tree that is a system's, modes, owners, device numbers and extended attributes count too.
    """
    whole = hashlib.sha256()
    first: dict[tuple[int, int], bytes] = {}
    with ThreadPoolExecutor(_HASHERS) as pool:
        entries = list(walk(path, every=kept))
        contents = chain.from_iterable(pool.map(_contents, in_rounds(entries)))
        for entry, content in zip(entries, contents, strict=True):
            name = os.fsencode(entry.path[len(os.path.join(path, "")) :])
            # Two names of one file are one file in the image, and two equal files are two.
            twin = b"" if entry.key is None else first.setdefault(entry.key, name)
            status = (_status(entry),) if kept else ()
            for field in (name, entry.kind.encode(), content, b"" if twin == name else twin, *status):
                whole.update(len(field).to_bytes(8, "big") + field)
    return whole.hexdigest()


class Entry(NamedTuple):
    """One entry of a folder: kind is `dir`, `link`, `file` or `exec`; `char`, `block`, `fifo` if asked for.

    `key` tells hard links of one file; `mode` is the permission bits, `owner` (uid, gid), `device` (major, minor).
    """

    path: str
    kind: str
    size: int
    mtime: int
    key: tuple[int, int] | None
    state: tuple[int, int, int]
    mode: int
    owner: tuple[int, int]
    device: tuple[int, int]


def walk(folder: str | Path, *, every: bool = False) -> Iterator[Entry]:
    """Yield a folder's entries below it, sorted by name, links not followed; UsageError on other kinds.

    With `every`, devices and pipes are entries too, and sockets, which only mean something to who made them, none.
    """
    above = [_children(folder)]
    while above:
        child = next(above[-1], None)
        if child is None:
            above.pop()
            continue
        entry = _entry(child, every=every)
        if entry is None:
            continue
        yield entry
        if entry.kind == "dir":
            above.append(_children(child.path))


def _children(folder: str | Path) -> "Iterator[os.DirEntry[str]]":
    with os.scandir(folder) as found:
        return iter(sorted(found, key=lambda child: os.fsencode(child.name)))


def attributes(path: str) -> dict[str, bytes]:
    """Return a file's extended attributes, links not followed; those of SELinux are the builder's machine's."""
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            return {}
        raise
    return {
        name: os.getxattr(path, name, follow_symlinks=False)
        for name in sorted(names)
        if name != "security.selinux"
    }


def fingerprint(path: Path) -> bytes:
    """Return what changes when a source changes: sizes, times and inodes, without reading any content."""
    whole = hashlib.sha256()
    status = path.stat()
    whole.update(repr((status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)).encode())
    if path.is_dir():
        for entry in walk(path, every=True):
            # A folder's own times change when a reader's temporary file comes and goes; its entries tell enough.
            state = () if entry.kind == "dir" else (entry.size, *entry.state)
            # From the folder on: it may be named relatively here, and absolutely where a step was shipped to.
            whole.update(repr((entry.path.removeprefix(str(path)), entry.kind, state)).encode())
    return whole.digest()


def extents(descriptor: int, length: int) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of each run of data, in bytes; a file system without SEEK_DATA gives one run."""
    end = 0
    while end < length:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole from here on
                return
            raise
        end = min(os.lseek(descriptor, start, os.SEEK_HOLE), length)
        yield start, end


def copy(source: Path, target: int) -> None:
    """Copy a file onto the empty file behind a descriptor: by reflink, else by its data runs, the holes kept.

    Without reflinks ext4 does copy_file_range(2) page by page through a pipe: reading and writing on two threads
    takes a third of the time.
    """
    descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.ioctl(target, _FICLONE, descriptor)
        except OSError as error:
            if error.errno not in _NO_CLONE:
                raise
            _copy_data(descriptor, target)
    finally:
        os.close(descriptor)


def _copy_data(source: int, target: int) -> None:
    length = os.fstat(source).st_size
    os.ftruncate(target, length)
    transfer(source, target, ((start, start, end - start) for start, end in extents(source, length)))


def transfer(source: int, target: int, runs: Iterable[tuple[int, int, int]], *, holes: bool = False) -> None:
    """Copy runs, each (place in the source, place in the target, bytes), from one descriptor to the other.

    With `holes`, blocks that are all zero are not written. OSError when the source ends before.
    """

    def chunk(place: tuple[int, int, int]) -> None:
        here, there, size = place
        piece = os.pread(source, size, here)
        if len(piece) < size:
            raise OSError(errno.EIO, "the file became shorter while it was copied")
        if holes and piece == _ZERO[:size]:
            return
        data = memoryview(piece)
        while data:
            done = os.pwrite(target, data, there)
            data, there = data[done:], there + done

    chunks = (
        (here + at, there + at, min(BLOCK, size - at))
        for here, there, size in runs
        for at in range(0, size, BLOCK)
    )
    with ThreadPoolExecutor(_HASHERS) as pool:
        for some in in_rounds(chunks):
            list(pool.map(chunk, some))


def allocated(path: Path) -> int:
    """Return the bytes that a file takes on disk."""
    return path.stat().st_blocks * 512


def _touched(descriptor: int, length: int) -> Iterator[int]:
    following = 0
    for start, end in extents(descriptor, length):
        for index in range(max(following, start // BLOCK), -(-end // BLOCK)):
            yield index
            following = index + 1


def in_rounds(items: Iterable[_T]) -> Iterator[list[_T]]:
    """Yield items by the round: what a pool of threads may have in flight."""
    some: list[_T] = []
    for item in items:
        some.append(item)
        if len(some) == _ROUND:
            yield some
            some = []
    yield some


_KINDS = {S_IFDIR: "dir", S_IFLNK: "link", S_IFREG: "file"}
_SPECIAL = {S_IFCHR: "char", S_IFBLK: "block", S_IFIFO: "fifo"}


def _entry(child: "os.DirEntry[str]", *, every: bool) -> Entry | None:
    status = child.stat(follow_symlinks=False)
    form = S_IFMT(status.st_mode)
    kind = _KINDS.get(form) or (_SPECIAL.get(form) if every else None)
    if kind is None and every:
        return None
    if kind is None:
        raise UsageError(
            f"{child.path} is neither a file, a folder nor a symbolic link",
            hint="device nodes, pipes and sockets come in a tar, not in a folder",
        )
    regular = kind == "file"
    device = (os.major(status.st_rdev), os.minor(status.st_rdev)) if kind in {"char", "block"} else (0, 0)
    return Entry(
        child.path,
        "exec" if regular and status.st_mode & 0o100 else kind,
        status.st_size if regular else 0,
        int(status.st_mtime),
        (status.st_dev, status.st_ino) if regular and status.st_nlink > 1 else None,
        (status.st_mtime_ns, status.st_ctime_ns, status.st_ino),
        S_IMODE(status.st_mode),
        (status.st_uid, status.st_gid),
        device,
    )


def _status(entry: Entry) -> bytes:
    return repr((entry.mode, entry.owner, entry.device, attributes(entry.path))).encode()


def _contents(entries: list[Entry]) -> list[bytes]:
    return [_content(entry) for entry in entries]


def _content(entry: Entry) -> bytes:
    if entry.kind == "link":
        return os.fsencode(os.readlink(entry.path))
    if entry.kind not in {"file", "exec"}:
        return b""
    with open(entry.path, "rb", buffering=0) as file:
        # file_digest makes a buffer of 256 KiB each time: too much for small files by the thousand.
        if entry.size <= BLOCK:
            return hashlib.sha256(file.read()).digest()
        return hashlib.file_digest(file, "sha256").digest()
