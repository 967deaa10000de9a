"""One entry of the tree, and the deterministic PAX tar that a whole tree is kept in.

The tar is POSIX.1-2001 (pax), entries sorted by name, owners by number. A file that comes from a user's folder is
kept by reference, so that gigabytes are read once and written once, into the image. It has no entry of its own:
20,000 of them take tarfile seconds. The first entry, `.`, tells of them all in the vendor record
IMAGEKIT.references, a JSON list of [path, mode, mtime, size, the step input that it lies in, the path below that];
its records IMAGEKIT.digest.INPUT hold those folders' digests, so the tar's bytes still tell the content.
"""

import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
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
    """Where a file's bytes lie: below a step's input."""

    input: str
    path: str


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
        (member.path, member.mode, member.mtime, member.size, member.reference.input, member.reference.path)
        for member in referred
        if member.reference is not None
    ]
    info = to_tarinfo(Member(".", "dir", 0o755))
    info.pax_headers = {_DIGEST + name: digest for name, digest in sorted(digests.items())}
    info.pax_headers[_REFERENCES] = json.dumps(references, separators=(",", ":"))
    return info


def read_root(path: Path) -> Iterator[tuple[Member, IO[bytes] | None]]:
    """Yield each member and, for a file that lies in the tar, a readable that is valid until the next one.

    First come those that are referred to.
    """
    try:
        with tarfile.open(path, "r:") as tar:
            first = tar.next()
            for member in _referred(first.pax_headers[_REFERENCES] if first else ""):
                yield member, None
            for info in iter(tar.next, None):
                member = from_tarinfo(info)
                tar.members = []  # type: ignore[attr-defined]  # tarfile keeps all that it has seen
                yield member, tar.extractfile(info) if info.isreg() else None
    except (tarfile.TarError, KeyError, ValueError, TypeError) as error:
        raise BuildError(f"{path} is no root tar", details=f"{type(error).__name__}: {error}") from error


def _referred(text: str) -> Iterator[Member]:
    for path, mode, mtime, size, name, below in json.loads(text):
        yield Member(path, "file", mode, mtime, size=size, reference=Reference(name, below))
