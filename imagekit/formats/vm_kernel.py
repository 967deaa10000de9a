"""A kernel's folder as Qubes OS keeps it under /var/lib/qubes/vm-kernels, in a tar for dom0.

    NAME/initramfs    what R4.0, R4.1 and the first of R4.2 ask for, whether the kernel wants one or not
    NAME/vmlinuz      the kernel, Linux or not

QubesOS/qubes-doc, "Kernel files structure"; qubes-core-admin, qubes/storage/kernels.py. The tar is POSIX's ustar
and not packed: a compressor's bytes depend on its version, and builds are compared by their sums. All in it is
root's, and has the time that the build was given.
"""

import io
import re
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from imagekit.errors import UnsuitedError, VerificationError
from imagekit.kernel.read import LARGEST

PLACE = "/var/lib/qubes/vm-kernels"
"""Where dom0 keeps such folders."""
EMPTY = bytes.fromhex("1f8b080000000000000303000000000000000000")
"""An initramfs with nothing in it, as `gzip -n </dev/null` writes it: Qubes' own package of GRUB has one."""

VMLINUZ, INITRAMFS = "vmlinuz", "initramfs"
_FILES = {VMLINUZ, INITRAMFS}
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
_MOST = 8  # members: a folder and its two files is all that is taken
_PIECE = 1 << 20
_AGAIN = "copy it again, or build it again"
_RECORD = tarfile.BLOCKSIZE


@dataclass(frozen=True, slots=True)
class Folder:
    """A kernel's folder: the kernel's name in Qubes, the kernel, its initramfs."""

    name: str
    kernel: bytes
    initramfs: bytes


def pack(name: str, files: Mapping[str, BinaryIO], out: BinaryIO, epoch: int) -> None:
    """Write the tar of a kernel's folder to an open file, piece by piece, and the same bytes every time.

    `files` are open: VMLINUZ, and INITRAMFS where it is no empty one; `epoch` is the time of all in it, in seconds
    since 1970. UnsuitedError for a file that is larger than any kernel.
    """
    given = {INITRAMFS: io.BytesIO(EMPTY), **files}
    sizes = {file: _size(file, given[file]) for file in (INITRAMFS, VMLINUZ)}
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        place = _member(name, epoch, 0o755)
        place.type = tarfile.DIRTYPE
        archive.addfile(place)
        for file, size in sizes.items():
            info = _member(f"{name}/{file}", epoch, 0o644)
            info.size = size
            archive.addfile(info, given[file])


def is_one(head: bytes) -> bool:
    """Tell by a file's first bytes, 1024 or all of them, whether it is such a tar: a folder, and one of its files.

    One of the two headers may be damaged, and the second cut off: `read` tells that.
    """
    first, second = _header(head[:_RECORD]), _header(rest := head[_RECORD : 2 * _RECORD])
    if second is None:
        damaged = len(rest) < _RECORD or any(rest)
        return damaged and first is not None and first.isdir()
    folder, _, file = second.name.partition("/")
    return file in _FILES and (first is None or (first.isdir() and first.name == folder))


def read(path: Path) -> Folder:
    """Return the folder in a tar; VerificationError for what dom0 had better not unpack."""
    found: dict[str, bytes] = {}
    name = ""
    try:
        with tarfile.open(path, mode="r:") as archive:
            for count, member in enumerate(archive):
                if count == _MOST:
                    raise VerificationError(f"{path} has more in it than the folder of a kernel")
                parts = PurePosixPath(member.name).parts
                name = name or (parts[0] if parts else "")
                if file := _checked(path, member, name, found):
                    found[file] = _data(archive, member)
            _check_end(path, archive.offset)
    except (tarfile.TarError, EOFError, UnicodeError, ValueError) as error:
        raise VerificationError(f"{path} is a damaged tar: {error}", hint=_AGAIN) from error
    if VMLINUZ not in found:
        raise VerificationError(f"{path} holds no {VMLINUZ}", hint="dom0 takes a folder with a kernel in it")
    return Folder(name, found[VMLINUZ], found.get(INITRAMFS, b""))


def _header(record: bytes) -> tarfile.TarInfo | None:
    """Return what a header says, None for one that is damaged, or none."""
    try:
        return tarfile.TarInfo.frombuf(record, "utf-8", "strict")
    except (tarfile.TarError, UnicodeError, ValueError):
        return None


def _size(name: str, file: BinaryIO) -> int:
    size = file.seek(0, io.SEEK_END)
    if size > LARGEST:
        raise UnsuitedError(
            f"the {name} is too large for Qubes' dom0: {size} bytes",
            details=f"no kernel and no ramdisk of over {LARGEST} bytes is taken",
        )
    file.seek(0)
    return size


def _member(name: str, epoch: int, mode: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.mode, info.mtime, info.uname, info.gname = mode, epoch, "root", "root"
    return info


def _checked(path: Path, member: tarfile.TarInfo, name: str, found: dict[str, bytes]) -> str:
    """Return the name of a member in the folder, "" of the folder itself; VerificationError for anything else."""
    if member.isdir() and member.name == name and _NAME.fullmatch(name):
        return ""
    file = member.name.removeprefix(f"{name}/")
    known = member.name == f"{name}/{file}" and file in _FILES and file not in found
    if not known or member.type not in {tarfile.REGTYPE, tarfile.AREGTYPE} or member.issparse():
        raise VerificationError(
            f"{path} holds what belongs in no kernel's folder: {member.name!r:.100}",
            hint=f"one folder with {VMLINUZ} and {INITRAMFS} is what dom0 takes",
        )
    if member.size > LARGEST:
        raise VerificationError(f"{path}: {file} has {member.size} bytes: more than any {file}")
    return file


def _data(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    data = file.read(member.size) if file else b""
    if len(data) != member.size:
        raise tarfile.ReadError(f"{member.name} ends too early")
    return data


def _check_end(path: Path, at: int) -> None:
    """Check what comes after the last member that was read: nothing but zeros, and some of them.

    tarfile takes a damaged header for the end; other readers go on after it, and might find members there.
    """
    with path.open("rb") as file:
        file.seek(at)
        record = file.read(_RECORD)
        if len(record) < _RECORD:
            raise tarfile.ReadError(f"it is cut, {at + len(record)} bytes from its start")
        if any(record):
            raise tarfile.ReadError(f"the header at byte {at} has a wrong checksum, or is none")
        at += _RECORD
        while piece := file.read(_PIECE):
            if more := piece.lstrip(b"\0"):
                raise VerificationError(
                    f"{path} has something after the tar's end, at byte {at + len(piece) - len(more)}",
                    details="a program that reads on might take it for one more file",
                    hint=_AGAIN,
                )
            at += len(piece)
