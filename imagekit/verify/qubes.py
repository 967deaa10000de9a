"""What is for Qubes' dom0: a kernel's folder, read by tar(1) as dom0 reads it, and the commands beside it."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from imagekit.command import run
from imagekit.errors import VerificationError
from imagekit.formats import vm_kernel
from imagekit.formats.qvm import PVH_GRUB
from imagekit.sparse import digest_file
from imagekit.targets.qubes import README
from imagekit.verify.check import Check, passed
from imagekit.verify.claims import Claims
from imagekit.verify.kernel import check_facts
from imagekit.verify.pygrub import Taken
from imagekit.verify.subject import Subject

_TYPES = {"d", "-"}


def check_folder(subject: Subject) -> Iterator[Check]:
    """Check what tar(1) unpacks of the main file; the subject is the kernel that was taken out of it."""
    main, claims = subject.main or subject.path, subject.claims
    folder = vm_kernel.read(main)
    place = f"{folder.name}/{vm_kernel.VMLINUZ}"
    if claims is not None and claims.kernel.path != f"/{place}":
        raise VerificationError(
            f"the kernel is not where the sidecar has it: {place}", details=f"in the sidecar: {claims.kernel.path}"
        )
    yield _by_tar(main, folder, place)
    yield check_facts(subject, Taken(place, subject.path, digest_file(subject.path), "", ""))
    if claims is not None:
        _check_readme(claims)
        yield _commands(main, subject.beside(README))


def check_volume(subject: Subject) -> Iterator[Check]:
    """Check that the commands beside a root volume are of this one."""
    if subject.claims is not None:
        _check_readme(subject.claims)
        yield _commands(subject.main or subject.path, subject.beside(README))
    yield passed("root volume", f"{subject.length >> 20} MiB, for {PVH_GRUB}")


def _check_readme(claims: Claims) -> None:
    if README not in claims.companions:
        raise VerificationError(f"the sidecar names no {README}, which an artifact for Qubes comes with")


def _by_tar(main: Path, folder: vm_kernel.Folder, place: str) -> Check:
    """Check that tar lists the folder and its two files, all of them root's, and finds the same kernel."""
    lines = run("tar", "--numeric-owner", "-tvf", main, timeout=600).stdout.decode(errors="replace").splitlines()
    names = [line.rpartition(" ")[2] for line in lines]
    wanted = (f"{folder.name}/", f"{folder.name}/{vm_kernel.INITRAMFS}", place)
    if set(names) != set(wanted):
        raise VerificationError(
            f"tar finds other files in {main.name} than these: {', '.join(wanted)}",
            details="\n".join(lines)[:500],
        )
    if any(line[0] not in _TYPES or line.split()[1] != "0/0" for line in lines):
        raise VerificationError(f"{main.name} holds more than root's plain files", details="\n".join(lines)[:500])
    if run("tar", "-xOf", main, place, timeout=600).stdout != folder.kernel:
        raise VerificationError(f"tar finds another kernel in {main.name}")
    return passed("tar", f"{vm_kernel.PLACE}/{place}, root's")


def _commands(main: Path, readme: Path) -> Check:
    with main.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest not in readme.read_text(errors="replace"):
        raise VerificationError(f"{readme.name} tells of another file than {main.name}", hint="build it again")
    return passed("commands", f"{readme.name}, with the SHA-256 of {main.name}, {digest}")
