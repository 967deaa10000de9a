"""The image through a real Linux kernel, mounted read-only in libguestfs' appliance: one launch for all."""

import hashlib
from collections.abc import Mapping

from imagekit.appliance import fish
from imagekit.errors import VerificationError
from imagekit.filesystem import CHECKS, Lvm
from imagekit.filesystem.guestfs import checking
from imagekit.programs import find
from imagekit.sparse import digest_file
from imagekit.verify.check import Check, missing, passed
from imagekit.verify.claims import Claims, Filesystem
from imagekit.verify.pygrub import Taken
from imagekit.verify.scratch import DISK, Scratch
from imagekit.verify.table import Spots

_SECONDS = 600
_LARGEST = 1 << 30  # bytes; a menu may name a file without end
_KERNEL = "kernel-by-linux"
_FIELDS = ("type", "UUID", "label")


def check_by_linux(room: Scratch, spots: Spots, path: str, taken: Taken | None, claims: Claims | None) -> Check:
    """Check that Linux finds the file system whole, mounts it, walks it, and reads the right kernel at `path`.

    That is the one that pygrub took or, where pygrub could take none, the sidecar's.
    """
    if find("guestfish") is None:
        return missing("Linux", "guestfish")
    device = root_device(spots, claims)
    fields, names = _guestfish(room, spots, device, path, claims)
    if claims is not None:
        _compare(fields, claims.layout.filesystem)
    if taken is not None:
        _compare_kernel(room, path, taken)
    elif claims is not None and digest_file(room.folder / _KERNEL) != claims.kernel.digest:
        raise VerificationError(f"Linux reads another kernel at {path} than the sidecar claims")
    whole = f"finds the {fields['type']} whole, " if _check(claims) else ""
    same = "same kernel" if taken is not None else "kernel of the sidecar"
    return passed("Linux", f"{whole}mounts it, reads {len(names)} files and folders, and the {same}")


def root_device(spots: Spots, claims: Claims | None) -> str:
    """Return what the appliance calls the root's device."""
    lvm = claims.layout.lvm if claims is not None else None
    if lvm is not None:
        return Lvm(lvm.group, lvm.volume).device
    return f"/dev/sda{spots.root.number or ''}"


def _check(claims: Claims | None) -> str:
    """Return what checks the root's file system, where nothing on this side of the machine does; else ""."""
    if claims is None:
        return ""
    kind = claims.layout.filesystem.type
    if kind.startswith("ext") and claims.layout.lvm is not None:
        return CHECKS["ext"]
    return CHECKS.get(kind, "")


def _guestfish(
    room: Scratch, spots: Spots, device: str, path: str, claims: Claims | None
) -> tuple[Mapping[str, str], list[str]]:
    """Return type, UUID and label of the root, and the names of all files; the kernel is put into the room."""
    check = _check(claims)
    apart = spots.boot != spots.root
    done = fish(
        room.folder / DISK,
        [
            ("vfs-type", device),
            ("vfs-uuid", device),
            ("vfs-label", device),
            *([("debug", "sh", checking(check, device))] if check else []),
            ("mount-ro", device, "/"),
            *([("mount-ro", f"/dev/sda{spots.boot.number}", "/boot")] if apart else []),
            ("download-offset", path, str(room.folder / _KERNEL), "0", str(_LARGEST)),
            ("find", "/"),
        ],
        folder=room.folder,
        timeout=_SECONDS,
    )
    if done.status:
        raise VerificationError("Linux cannot read the file system", details=done.complaint())
    lines = done.text().split("\n")
    if check:
        lines.pop(len(_FIELDS))  # what the check said: nothing
    names = [line for line in lines[len(_FIELDS) :] if line]
    return dict(zip(_FIELDS, lines, strict=False)), names


def _compare(fields: Mapping[str, str], claimed: Filesystem) -> None:
    if claimed.type.startswith("fat"):
        return
    wanted = dict(zip(_FIELDS, (claimed.type, claimed.uuid, claimed.label), strict=True))
    for what, seen in fields.items():
        if seen != wanted[what]:
            raise VerificationError(
                f"the file system's {what} is {seen!r} for Linux", details=f"its sidecar says {wanted[what]!r}"
            )


def _compare_kernel(room: Scratch, path: str, taken: Taken) -> None:
    digests = []
    for kernel in (room.folder / _KERNEL, taken.kernel):
        with kernel.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    if digests[0] != digests[1]:
        raise VerificationError(
            f"Linux reads another kernel at {path} than pygrub", details=f"{digests[0]}, and pygrub {digests[1]}"
        )
