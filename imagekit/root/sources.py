"""Members from what a recipe names: a folder, a tar, a single file. Names are checked here, once for all."""

import bz2
import gzip
import lzma
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import zstandard

from imagekit.errors import RecipeError
from imagekit.root.tree import KINDS, XATTR, Member, Reference, from_tarinfo
from imagekit.sparse import walk

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".txz", ".tar.zst")

_OPENERS: tuple[tuple[bytes, Callable[[Path], Any]], ...] = (
    (b"\x1f\x8b", gzip.open),
    (b"BZh", bz2.open),
    (b"\xfd7zXZ\0", lzma.open),
    (b"\x28\xb5\x2f\xfd", zstandard.open),
)


def is_tar(path: Path) -> bool:
    """Tell by its name whether a file is a tar."""
    return path.name.endswith(TAR_SUFFIXES)


def clean(name: str, where: str) -> str:
    """Return a member's name relative to the root; RecipeError for one that leaves it or cannot be a name."""
    parts = [part for part in name.split("/") if part not in {"", "."}]
    if ".." in parts or "\0" in name:
        raise RecipeError(f"{where}: {name!r} leads out of the image", hint="names in a tree have no '..'")
    if any(len(os.fsencode(part)) > 255 for part in parts):  # noqa: PLR2004 -- ext2's and FAT's limit
        raise RecipeError(f"{where}: {name[:60]!r}… has a part of more than 255 bytes")
    return "/".join(parts)


def folder_members(folder: Path, name: str, to: str, epoch: int) -> Iterator[Member]:
    """Yield a folder's members, by reference to the input `name`.

    Owner 0:0 and modes 0755 or 0644 by the owner's execute bit: whose checkout it is, and under which umask it was
    made, does not show.
    """
    first: dict[tuple[int, int], str] = {}
    for entry in walk(folder):
        below = os.path.relpath(entry.path, folder)
        path = clean(f"{to}/{below}", str(folder))
        mtime = max(0, min(entry.mtime, epoch))
        if entry.kind == "dir":
            yield Member(path, "dir", 0o755, mtime)
        elif entry.kind == "link":
            yield Member(path, "link", 0o777, mtime, target=os.readlink(entry.path))
        elif entry.key in first and entry.key is not None:
            yield Member(path, "hard", 0o644, mtime, target=first[entry.key])
        else:
            if entry.key is not None:
                first[entry.key] = path
            mode = 0o755 if entry.kind == "exec" else 0o644
            yield Member(path, "file", mode, mtime, size=entry.size, reference=Reference(name, below))


@contextmanager
def opened_tar(path: Path, scratch: Path) -> Iterator[tarfile.TarFile]:
    """Open a tar for reading in any order; a packed one is unpacked into `scratch` first."""
    with path.open("rb") as file:
        head = file.read(8)
    opener = next((opener for magic, opener in _OPENERS if head.startswith(magic)), None)
    try:
        if opener is not None:
            with opener(path) as packed, scratch.open("wb") as plain:
                shutil.copyfileobj(packed, plain, 1 << 20)
        with tarfile.open(scratch if opener else path, "r:", errorlevel=2) as tar:
            yield tar
    except (tarfile.TarError, lzma.LZMAError, zstandard.ZstdError, EOFError, gzip.BadGzipFile) as error:
        raise RecipeError(f"{path} is no readable tar", details=f"{type(error).__name__}: {error}") from error
    finally:
        scratch.unlink(missing_ok=True)


def tar_members(tar: tarfile.TarFile, where: str, to: str, epoch: int) -> Iterator[tuple[Member, tarfile.TarInfo]]:
    """Yield a tar's members with the headers that their bytes are read by; modes and owners as recorded."""
    for info in tar:
        if not info.isreg() and info.type not in KINDS:
            raise RecipeError(f"{where}: {info.name!r} is of a type that no image holds", details=repr(info.type))
        info.name = clean(f"{to}/{info.name}", where)
        info.mtime = max(0, min(int(info.mtime), epoch))
        if info.islnk():
            info.linkname = clean(f"{to}/{info.linkname}", where)
        info.pax_headers = {name: value for name, value in info.pax_headers.items() if name.startswith(XATTR)}
        if info.name:
            yield from_tarinfo(info), info
