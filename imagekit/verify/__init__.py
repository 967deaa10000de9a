"""Reads an artifact back by tools other than those that made it.

    for check in verify(Path("app.ebs")):
        print(check.name, check.verdict, check.seen)

The artifact is opened for reading only, and nothing is left behind.
"""

import errno
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir

from imagekit.errors import UsageError, VerificationError
from imagekit.guests import READS
from imagekit.kernel import Way
from imagekit.store import full_disk
from imagekit.unwrap import Form, form_of
from imagekit.verify.ami import check_ami, opened
from imagekit.verify.check import Check, skipped
from imagekit.verify.claims import Claims
from imagekit.verify.content import check_content
from imagekit.verify.ebs import check_ebs
from imagekit.verify.files import files
from imagekit.verify.filesystem import check_filesystem, check_group
from imagekit.verify.grub import by_grub, check_grub
from imagekit.verify.kernel import check_kernel
from imagekit.verify.linux import check_by_linux, root_device
from imagekit.verify.menu import PATH as MENU
from imagekit.verify.menu import Menu, check_menu, parse_menu
from imagekit.verify.pygrub import Taken, take
from imagekit.verify.qubes import check_folder, check_volume
from imagekit.verify.scratch import DISK, Scratch, scratch
from imagekit.verify.subject import Subject, identify
from imagekit.verify.table import Spot, Spots, check_table
from imagekit.verify.wrapped import check_cloud, check_xcp, taken_out
from imagekit.verify.xen import check_xen

__all__ = ["Check", "Claims", "kernel_of", "mounts", "verify"]

_SYSTEMS: Mapping[str, Callable[[Subject], Iterator[Check]]] = {
    "ami": check_ami,
    "ebs": check_ebs,
    "openstack": check_cloud,
    "rackspace": check_cloud,
    "qubes": check_volume,
    "xcp": check_xcp,
    "xen": check_xen,
}
_WRAPPED = {"openstack", "rackspace", "xcp"}
"""Targets whose main file may wrap the disk."""
_OBEYING = {"ami", "ebs"}
"""Targets whose loader reads menu.lst and nothing else."""


def verify(
    path: Path, *, target: str | None = None, guestfs: bool = False, private_key: Path | None = None
) -> Iterator[Check]:
    """Yield each check of an artifact as it passes; `path` is its main file or its sidecar.

    Without a sidecar `target` says what it is to be, and only what needs no sidecar is checked. `guestfs` has a
    real Linux kernel mount it, too; `private_key` opens an AMI bundle. VerificationError (exit 6) on the first
    lie; UsageError for what is no artifact; ToolError (exit 4) when e2fsck or pygrub is missing: what else is
    missing makes a skipped check.
    """
    with _plainly(path):
        subject = identify(path, target)
        if subject.target == "ami":
            with opened(subject, private_key) as (check, image):
                yield check
                yield from _check_all(image, guestfs=guestfs)
        elif subject.target == "qubes" and _is_folder(subject):
            with taken_out(subject) as (checks, kernel):
                yield from checks
                yield from check_content(kernel)
                yield from check_folder(kernel)
        elif subject.target in _WRAPPED:
            with taken_out(subject) as (checks, image):
                yield from checks
                yield from _check_all(image, guestfs=guestfs)
        else:
            yield from _check_all(subject, guestfs=guestfs)


def kernel_of(path: Path) -> tuple[bytes, str]:
    """Return the kernel that pygrub takes from a raw disk, and its command line; VerificationError for none."""
    with _plainly(path), scratch(path.absolute()) as room:
        taken = take(room)
        return taken.kernel.read_bytes(), taken.cmdline


def mounts(disk: Path, claims: Claims | None) -> list[tuple[str, str]]:
    """Return (device, path) of what a Linux mounts of a raw disk, the root first; /boot by the claims."""
    with _plainly(disk), scratch(disk.absolute()) as room:
        found = check_table(Subject(disk, "", disk.stat().st_size, claims), room)
        while True:
            try:
                next(found)
            except StopIteration as end:
                spots: Spots = end.value
                break
    root = [(root_device(spots, claims), "/")]
    return root if spots.boot == spots.root else [*root, (f"/dev/sda{spots.boot.number}", "/boot")]


def _is_folder(subject: Subject) -> bool:
    """Tell whether it is a kernel's folder: the sidecar says so, however damaged the file is."""
    if subject.claims is not None and subject.claims.file is not None:
        return subject.claims.file.form == Form.VM_KERNEL.value
    return form_of(subject.path) is Form.VM_KERNEL


def _check_all(subject: Subject, *, guestfs: bool) -> Iterator[Check]:
    yield from check_content(subject)
    with scratch(subject.path) as room:
        yield from _check_disk(subject, room, guestfs=guestfs)
    yield from _SYSTEMS.get(subject.target, _unknown)(subject)


def _check_disk(subject: Subject, room: Scratch, *, guestfs: bool) -> Iterator[Check]:
    spots = yield from check_table(subject, room)
    kind = yield from _check_filesystems(subject.claims, room, spots)
    menu, taken = None, None
    if (way := by_grub(subject)) is not None:
        taken = yield from _check_grub(subject, room, spots.boot, kind, way)
    elif _beyond_pygrub(subject.claims, kind):
        yield skipped("pygrub", f"it reads no {kind}, and boots none of this: a Linux reads it, with --guestfs")
    else:
        if subject.claims is None or kind.startswith(("ext", "fat")):
            menu = yield from _check_menu(subject, room, spots.boot, kind)
        else:
            yield skipped("menu.lst", f"only pygrub and a Linux read files of {kind} here")
        taken = yield from check_kernel(subject, room, spots.boot, kind)
    path = menu.kernel if menu else subject.claims.kernel.path if subject.claims else None
    if guestfs:
        if path is None:
            yield skipped("Linux", f"no {MENU} tells where the kernel lies")
        else:
            yield check_by_linux(room, spots, path, taken, subject.claims)
    elif subject.claims is not None and subject.claims.layout.lvm is not None:
        yield skipped("root", "on LVM: a Linux opens and checks it, with --guestfs")


def _check_filesystems(claims: Claims | None, room: Scratch, spots: Spots) -> Generator[Check, None, str]:
    """Check each file system on this side of the appliance; return the type of that on which the kernel lies."""
    layout = claims.layout if claims is not None else None
    kind = ""
    if layout is not None and layout.boot is not None:
        kind = yield from check_filesystem(layout.boot.filesystem, room, spots.boot)
    if layout is not None and layout.lvm is not None:
        yield check_group(room, spots.root)
        return kind or "LVM"
    root = yield from check_filesystem(layout.filesystem if layout else None, room, spots.root)
    return kind or root


def _beyond_pygrub(claims: Claims | None, kind: str) -> bool:
    """Tell whether the image boots without pygrub, and from what pygrub cannot read."""
    ways = {Way.PV_DIRECT, Way.PVH, Way.PV_GRUB}
    return claims is not None and claims.boot.way in ways and kind not in READS["pygrub"]


def _check_grub(
    subject: Subject, room: Scratch, spot: Spot, kind: str, way: Way
) -> Generator[Check, None, Taken | None]:
    if way is Way.MULTIBOOT:  # a host's GRUB, which reads more file systems than there are tools for here
        if not kind.startswith(("ext", "fat")):
            yield skipped("grub.cfg", f"only GRUB and a Linux read files of {kind}: a Linux does, with --guestfs")
            return None
        yield from _check_menu(subject, room, spot, kind)
    return (yield from check_grub(subject, room, spot, kind, way))


def _check_menu(subject: Subject, room: Scratch, spot: Spot, kind: str) -> Generator[Check, None, Menu | None]:
    there = files(room, DISK, spot.offset, kind)
    text = None if there is None else there.read(MENU)
    if there is None or text is None:
        if subject.claims is not None or subject.target in _OBEYING:
            raise VerificationError(f"the image has no {MENU}", hint="GRUB would stop at its prompt")
        yield skipped("menu.lst", "none in the image")
        return None
    menu = parse_menu(text.decode(errors="backslashreplace"))
    yield check_menu(menu, there, subject.claims, spot)
    return menu


def _unknown(subject: Subject) -> Iterator[Check]:
    yield skipped(subject.target, "no checks of its own")


@contextmanager
def _plainly(path: Path) -> Iterator[None]:
    """Tell a file that cannot be read, and a full disk, in our own words."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise full_disk(Path(gettempdir())) from error
        raise UsageError(f"{path} cannot be verified", details=str(error)) from error
