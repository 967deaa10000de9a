"""Members from what a recipe names: a folder, a tar, a single file. Names are checked here, once for all."""

import bz2
import errno
import gzip
import lzma
import os
import re
import shutil
import tarfile
import zlib
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote

import zstandard

from imagekit.errors import RecipeError
from imagekit.plan import Input, Json
from imagekit.root.tree import KINDS, XATTR, Member, Reference, from_tarinfo
from imagekit.sparse import attributes, walk

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".txz", ".tar.zst")

_OPENERS: tuple[tuple[bytes, Callable[[Path], Any]], ...] = (
    (b"\x1f\x8b", gzip.open),
    (b"BZh", bz2.open),
    (b"\xfd7zXZ\0", lzma.open),
    (b"\x28\xb5\x2f\xfd", zstandard.open),
)


# What a damaged or hostile tar makes its readers raise.
_UNREADABLE = (
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    zstandard.ZstdError,
    EOFError,
    ValueError,
    LookupError,
    OverflowError,
    RecursionError,
    MemoryError,
)
_OF_CONTENT = {None, errno.EINVAL}  # what tarfile and bz2 raise, and a seek beyond what a file can hold
_HOLES = 1 << 30  # bytes: tarfile reads them as zeros, and a tar of a few bytes can tell of an exabyte
_LONGEST_NAME = 255  # ext2's limit, and FAT's
_LONGEST_PATH = 3000  # bytes: with the folder that it is unpacked in, below Linux's 4096
_LONGEST_LINK = 1023  # bytes: what the smallest block of ext2 holds
_IDS = (1 << 32) - 1  # the last one means none
_MAJORS, _MINORS = 1 << 12, 1 << 16  # debugfs takes no more
_LIBARCHIVE = "LIBARCHIVE.xattr."
# Others (a Mac's) have no place in a file system of Linux.
_XATTR = re.compile(rf"{re.escape(XATTR)}(user|security|trusted|system)\.[^\0\n]+")


def packed(path: Path) -> bool:
    """Tell by its first bytes whether a file is packed, in a way that is read here."""
    return _opener(path) is not None


def _opener(path: Path) -> Callable[[Path], Any] | None:
    with path.open("rb") as file:
        head = file.read(8)
    return next((opener for magic, opener in _OPENERS if head.startswith(magic)), None)


def write_plain(inputs: Mapping[str, Input], out: Path, _options: Mapping[str, Json]) -> None:
    """Unpack a packed tar. A step function; its input is `packed`."""
    _unpack(inputs["packed"].path, out)


def _unpack(path: Path, plain: Path) -> None:
    opener = _opener(path)
    assert opener is not None  # noqa: S101 -- who calls has looked
    with _explained(path), opener(path) as file, plain.open("wb") as out:
        shutil.copyfileobj(file, out, 1 << 20)


def is_tar(path: Path) -> bool:
    """Tell by its name whether a file is a tar."""
    return path.name.endswith(TAR_SUFFIXES)


def clean(name: str, where: str) -> str:
    """Return a member's name relative to the root; RecipeError for one that leaves it or cannot be a name."""
    parts = [part for part in name.split("/") if part not in {"", "."}]
    if ".." in parts or "\0" in name:
        raise RecipeError(f"{where}: {name!r} leads out of the image", hint="names in a tree have no '..'")
    path = "/".join(parts)
    length = len(os.fsencode(path))
    if length > _LONGEST_NAME and any(len(os.fsencode(part)) > _LONGEST_NAME for part in parts):
        raise RecipeError(f"{where}: {name[:60]!r}… has a part of more than {_LONGEST_NAME} bytes")
    if length > _LONGEST_PATH:
        raise RecipeError(f"{where}: {name[:60]!r}… is longer than {_LONGEST_PATH} bytes")
    return path


def folder_members(folder: Path, name: str, to: str, epoch: int) -> Iterator[Member]:
    """Yield a folder's members, by reference to the input `name`.

    Owner 0:0, modes 0755 or 0644 by the owner's execute bit, every time the epoch: whose checkout it is, when and
    under which umask it was made, does not show.
    """
    first: dict[tuple[int, int], str] = {}
    for entry in walk(folder):
        below = entry.path[len(os.path.join(folder, "")) :]
        path = clean(f"{to}/{below}", str(folder))
        if entry.kind == "dir":
            yield Member(path, "dir", 0o755, epoch)
        elif entry.kind == "link":
            yield _checked(Member(path, "link", 0o777, epoch, target=os.readlink(entry.path)), str(folder))
        elif entry.key in first and entry.key is not None:
            yield Member(path, "hard", 0o644, epoch, target=first[entry.key])
        else:
            if entry.key is not None:
                first[entry.key] = path
            mode = 0o755 if entry.kind == "exec" else 0o644
            yield Member(path, "file", mode, epoch, size=entry.size, reference=Reference(name, below))


def kept_members(folder: Path, to: str, epoch: int, name: str = "") -> Iterator[tuple[Member, str]]:
    """Yield the members of a system's folder and where each lies below it: modes, owners and devices as they are.

    No time is later than the epoch. With a `name`, files are by reference to the input of that name, and all times
    are the epoch: when a user's folder was unpacked does not show.
    """
    first: dict[tuple[int, int], str] = {}
    start = len(os.path.join(folder, ""))
    for entry in walk(folder, every=True):
        below = entry.path[start:]
        path = clean(f"{to}/{below}", str(folder))
        hard = entry.key is not None and first.setdefault(entry.key, path) != path
        kind = "hard" if hard else "file" if entry.kind == "exec" else entry.kind
        member = Member(
            path,
            kind,
            entry.mode,
            epoch if name else min(entry.mtime, epoch),
            *entry.owner,
            size=0 if hard else entry.size,
            target=os.readlink(entry.path) if kind == "link" else first[entry.key] if hard and entry.key else "",
            device=entry.device,
            xattrs={} if hard else attributes(entry.path),
            reference=Reference(name, below) if name and kind == "file" else None,
        )
        yield _checked(member, str(folder)), below


@contextmanager
def opened_tar(path: Path, scratch: Path) -> Iterator[tarfile.TarFile]:
    """Open a tar for reading in any order; a packed one is unpacked into `scratch` first."""
    try:
        is_packed = packed(path)
        if is_packed:
            _unpack(path, scratch)
        with _explained(path):
            tar = tarfile.open(scratch if is_packed else path, "r:", errorlevel=2)  # noqa: SIM115 -- closed below
        with tar:
            yield tar
    finally:
        scratch.unlink(missing_ok=True)


def tar_members(tar: tarfile.TarFile, where: str, to: str, epoch: int) -> Iterator[tuple[Member, tarfile.TarInfo]]:
    """Yield a tar's members with the headers that their bytes are read by; modes and owners as recorded.

    `where` is what errors call it.
    """
    holes = 0
    with _explained(where):
        for info in iter(tar.next, None):
            tar.members = []  # type: ignore[attr-defined]  # tarfile keeps all that it has seen
            if not info.isreg() and info.type not in KINDS:
                raise RecipeError(
                    f"{where}: {info.name!r} is of a type that no image holds", details=repr(info.type)
                )
            if info.size < 0:
                raise tarfile.ReadError("a member of negative size")
            holes += _holes(info)
            if holes > _HOLES:
                raise RecipeError(
                    f"{where}: {info.name!r} is a sparse file with more than {_HOLES >> 30} GiB of holes",
                    hint="unpack the tar: in a folder, holes are kept",
                )
            info.name = clean(f"{to}/{info.name}", where)
            info.mtime = max(0, min(int(info.mtime), epoch))
            if info.islnk():
                info.linkname = clean(f"{to}/{info.linkname}", where)
            info.pax_headers = _xattrs(info.pax_headers)
            if info.name:
                yield _checked(from_tarinfo(info), where), info
        _check_end(tar)


def _xattrs(records: Mapping[str, str]) -> dict[str, str]:
    """Return the records of extended attributes, libarchive's own form, which bsdtar writes too, as star's.

    LIBARCHIVE.xattr.NAME: the name in percent encoding, the value in base64 without padding (libarchive,
    archive_write_set_format_pax.c). ValueError for what is none.
    """
    found = {}
    for name, value in records.items():
        if name.startswith(_LIBARCHIVE):
            data = b64decode(value + "=" * (-len(value) % 4), validate=True)
            found[XATTR + unquote(name.removeprefix(_LIBARCHIVE))] = data.decode("utf-8", "surrogateescape")
    return {name: value for name, value in {**found, **records}.items() if _XATTR.fullmatch(name)}


def _holes(info: tarfile.TarInfo) -> int:
    """Return how many bytes of a sparse member are not in the tar."""
    if not info.issparse():
        return 0
    stored = cast("list[tuple[int, int]]", info.sparse)
    return info.size - sum(size for _, size in stored)


def _check_end(tar: tarfile.TarFile) -> None:
    """Refuse a tar that breaks off: tarfile takes anything that is no header for the end."""
    file = tar.fileobj
    assert file is not None  # noqa: S101 -- for the type checker
    file.seek(tar.offset)
    if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError(f"neither a member nor the end at byte {tar.offset}")


def _checked(member: Member, where: str) -> Member:
    """Return the member; RecipeError for one that no file system of Linux holds."""
    target = os.fsencode(member.target)
    if member.kind == "link" and (not 0 < len(target) <= _LONGEST_LINK or b"\0" in target):
        raise RecipeError(f"{where}: the link {member.path!r} names nothing, or more than {_LONGEST_LINK} bytes")
    if not (0 <= member.uid < _IDS and 0 <= member.gid < _IDS):
        raise RecipeError(f"{where}: {member.path!r} has an owner of no system: {member.uid}:{member.gid}")
    if not (0 <= member.device[0] < _MAJORS and 0 <= member.device[1] < _MINORS):
        raise RecipeError(f"{where}: {member.path!r} has a device number of no system: {member.device}")
    return member


@contextmanager
def _explained(path: Path | str) -> Iterator[None]:
    try:
        yield
    except _UNREADABLE as error:
        raise RecipeError(f"{path} is no readable tar", details=f"{type(error).__name__}: {error}") from error
    except OSError as error:
        if error.errno not in _OF_CONTENT:  # else of the disk
            raise
        raise RecipeError(f"{path} is no readable tar", details=str(error)) from error
