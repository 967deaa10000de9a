"""One entry of the tree, and the deterministic PAX tar that a whole tree is kept in.

The tar is POSIX.1-2001 (pax), entries sorted by name, owners by number. A file that comes from a user's folder or
tar is kept by reference, so that gigabytes are read once and written once, into the image. It has no entry of its
own: 20,000 of them take tarfile seconds. The first entry, `.`, tells of them all in the vendor record
IMAGEKIT.references, a JSON list of [path, mode, mtime, size, the step input that it lies in, the path below that],
followed, where they are not 0 and empty, by [uid, gid, extended attributes in base64], and for a file that lies in
a tar by the byte at which it begins there; its records IMAGEKIT.digest.INPUT hold the digests of those folders and
tars, so the tar's bytes still tell the content.
"""

import json
import tarfile
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

from imagekit.errors import BuildError

_REFERENCES = "IMAGEKIT.references"
_DIGEST = "IMAGEKIT.digest."
XATTR = "SCHILY.xattr."
"""The pax record of an extended attribute begins so (star, GNU tar)."""


KINDS: Mapping[bytes, str] = {
    tarfile.DIRTYPE: "dir",
    tarfile.REGTYPE: "file",
    tarfile.SYMTYPE: "link",
    tarfile.LNKTYPE: "hard",
    tarfile.CHRTYPE: "char",
    tarfile.BLKTYPE: "block",
    tarfile.FIFOTYPE: "fifo",
}
_TYPES = {kind: number for number, kind in KINDS.items()}


@dataclass(frozen=True, slots=True)
class Reference:
    """Where a file's bytes lie: below a step's input that is a folder, or from `offset` of one that is a tar."""

    input: str
    path: str
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class Member:
    """One entry: `path` is relative to the root, without `.` or `..`; `mtime` is in seconds since 1970.

    `target` is a symbolic link's text, or the member that a hard link names; `device` is (major, minor).
    """

    path: str
    kind: str
    mode: int = 0o644
    mtime: int = 0
    uid: int = 0
    gid: int = 0
    size: int = 0
    target: str = ""
    device: tuple[int, int] = (0, 0)
    xattrs: Mapping[str, bytes] = field(default_factory=dict)
    reference: Reference | None = None


def to_tarinfo(member: Member) -> tarfile.TarInfo:
    """Return the member's tar header; the same member gives the same bytes."""
    info = tarfile.TarInfo(member.path)
    info.type = _TYPES[member.kind]
    info.mode, info.mtime = member.mode, member.mtime
    info.uid, info.gid = member.uid, member.gid
    info.linkname = member.target
    info.devmajor, info.devminor = member.device
    info.pax_headers = {
        XATTR + name: value.decode("utf-8", "surrogateescape") for name, value in sorted(member.xattrs.items())
    }
    info.size = member.size
    return info


def from_tarinfo(info: tarfile.TarInfo) -> Member:
    """Return the member that a tar header tells of; KeyError for a type that no file system holds."""
    return Member(
        path=info.name,
        kind=KINDS[tarfile.REGTYPE if info.isreg() else info.type],
        mode=info.mode & 0o7777,
        mtime=int(info.mtime),
        uid=info.uid,
        gid=info.gid,
        size=info.size,
        target=info.linkname,
        device=(info.devmajor, info.devminor) if info.isdev() and not info.isfifo() else (0, 0),
        xattrs={
            name.removeprefix(XATTR): value.encode("utf-8", "surrogateescape")
            for name, value in info.pax_headers.items()
            if name.startswith(XATTR)
        },
    )


def first_entry(referred: Iterable[Member], digests: Mapping[str, str]) -> tarfile.TarInfo:
    """Return the entry that tells of the members by reference, and of the folders that they lie in."""
    references = [
        _row(member, member.reference) for member in sorted(referred, key=_place) if member.reference is not None
    ]
    info = to_tarinfo(Member(".", "dir", 0o755))
    info.pax_headers = {_DIGEST + name: digest for name, digest in sorted(digests.items())}
    info.pax_headers[_REFERENCES] = json.dumps(references, separators=(",", ":"))
    return info


def _place(member: Member) -> tuple[str, str, int]:
    """Return what sorts references in the order in which their bytes are best read."""
    found = member.reference
    return ("", "", 0) if found is None else (found.input, found.path, found.offset or 0)


def _row(member: Member, found: Reference) -> list[object]:
    xattrs = {name: b64encode(value).decode() for name, value in sorted(member.xattrs.items())}
    row = [member.path, member.mode, member.mtime, member.size, found.input, found.path]
    more = [member.uid, member.gid, xattrs]
    if found.offset is not None:
        return [*row, *more, found.offset]
    return [*row, *more] if any(more) else row


def read_root(path: Path) -> Iterator[tuple[Member, IO[bytes] | None]]:
    """Yield each member and, for a file that lies in the tar, a readable that is valid until the next one.

    First come those that are referred to.
    """
    try:
        with tarfile.open(path, "r:") as tar:
            for member, info in _read(tar):
                yield member, tar.extractfile(info) if info is not None and info.isreg() else None
    except (tarfile.TarError, KeyError, ValueError, TypeError) as error:
        raise BuildError(f"{path} is no root tar", details=f"{type(error).__name__}: {error}") from error


def read_referring(path: Path, name: str) -> Iterator[Member]:
    """Yield the members of a root tar that is a step's input `name`, files that lie in it by reference to it."""
    try:
        with tarfile.open(path, "r:") as tar:
            for member, info in _read(tar):
                if info is None or not info.isreg():
                    yield member
                else:
                    yield replace(member, reference=Reference(name, "", info.offset_data))
    except (tarfile.TarError, KeyError, ValueError, TypeError) as error:
        raise BuildError(f"{path} is no root tar", details=f"{type(error).__name__}: {error}") from error


def _read(tar: tarfile.TarFile) -> Iterator[tuple[Member, tarfile.TarInfo | None]]:
    """Yield the members, each with its header when it has one."""
    first = tar.next()
    for member in _referred(first.pax_headers[_REFERENCES] if first else ""):
        yield member, None
    for info in iter(tar.next, None):
        tar.members = []  # type: ignore[attr-defined]  # tarfile keeps all that it has seen
        yield from_tarinfo(info), info


def _referred(text: str) -> Iterator[Member]:
    for path, mode, mtime, size, name, below, *more in json.loads(text):
        uid, gid, xattrs, *place = more or (0, 0, {})
        yield Member(
            path,
            "file",
            mode,
            mtime,
            uid,
            gid,
            size,
            xattrs={name: b64decode(value) for name, value in xattrs.items()},
            reference=Reference(name, below, place[0] if place else None),
        )
