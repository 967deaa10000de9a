"""GRUB and a disk of its own: the boot sector and the core behind it, grub.cfg, and the kernel that this names.

A PVH guest's GRUB comes from the host, as Qubes' does: then there is no boot sector. A core that is not as GRUB's
own tool makes it for sector 1, in one piece, is none that boots here.
"""

from collections.abc import Generator
from pathlib import Path

from imagekit.boot import CONSOLES
from imagekit.disk import SECTOR, boot_sector, core_of, grub_modules
from imagekit.errors import ToolError, VerificationError
from imagekit.formats.grub_cfg import PATH, Menu, parse_grub_cfg
from imagekit.formats.grub_core import Core, read_core
from imagekit.guests import READS
from imagekit.kernel import Way, grub_command, read_kernel
from imagekit.sparse import digest_file
from imagekit.verify.check import Check, passed
from imagekit.verify.claims import Claims
from imagekit.verify.files import Files, files
from imagekit.verify.kernel import check_facts
from imagekit.verify.pygrub import Taken
from imagekit.verify.scratch import DISK, Scratch
from imagekit.verify.subject import Subject
from imagekit.verify.table import Spot

_FOLDER = "(hd0,msdos1)/boot/grub"
_LARGEST = 1 << 30  # bytes; a menu may name a file without end
_KERNEL, _RAMDISK = "kernel-by-grub", "ramdisk-by-grub"


def by_grub(subject: Subject) -> Way | None:
    """Return how GRUB boots the disk, None if it does not: by its sidecar or its VM or, else, by its boot sector.

    What GRUB's boot sector would load may be damaged: `check_grub` says so.
    """
    if subject.claims is not None:
        way = subject.claims.boot.way
        return way if way in {Way.HVM, Way.MULTIBOOT} else None
    if subject.target == "qubes":
        return Way.MULTIBOOT
    if subject.guest:
        return Way.HVM if subject.guest == "hvm" else None
    try:
        boot_sector(_before(subject.path, SECTOR))
    except ToolError:
        return None
    return Way.HVM


def check_grub(subject: Subject, room: Scratch, spot: Spot, kind: str, way: Way) -> Generator[Check, None, Taken]:
    """Check all that GRUB goes through, from the boot sector to the kernel; VerificationError where it stops."""
    core = None
    if way is Way.HVM:
        core = _read_core(subject.path, spot.offset)
        yield passed("boot sector", f"GRUB's, its core with {len(core.modules)} modules reads {core.prefix}")
    there = files(room, DISK, spot.offset, kind)
    text = there.read(PATH) if there is not None and kind in READS["GRUB in the boot sector"] else None
    if there is None or text is None:
        raise VerificationError(f"GRUB finds no {PATH}", details=f"on {spot.root}, {kind}")
    menu = parse_grub_cfg(text.decode(errors="backslashreplace"))
    _check_menu(menu, there, subject.claims, way)
    taken = _take(menu, there)
    if subject.claims is not None and taken.digest != subject.claims.kernel.digest:
        raise VerificationError(f"the kernel that {PATH} boots is not the one in the sidecar")
    yield passed("grub.cfg", f"{menu.command} {menu.kernel}, with {menu.cmdline!r}")
    yield check_facts(subject, taken, way)
    _check_loading(menu, taken.kernel)
    if core is not None:
        _check_core(menu, core, kind, taken.kernel)
    return taken


def _before(disk: Path, length: int) -> bytes:
    with disk.open("rb") as file:
        return file.read(min(length, 1 << 20))


def _read_core(disk: Path, gap: int) -> Core:
    try:
        return read_core(core_of(_before(disk, gap)))
    except ToolError as error:
        raise VerificationError(
            "the boot sector, or what it loads, is not GRUB's", details=error.details
        ) from None
    except ValueError as error:
        raise VerificationError("GRUB's core is damaged", details=str(error)) from None


def _check_menu(menu: Menu, there: Files, claims: Claims | None, way: Way) -> None:
    for path in filter(None, (menu.kernel, menu.ramdisk)):
        # Another one names a device of GRUB's, or is an option.
        if not path.startswith("/") or not there.exists(path):
            raise VerificationError(f"{PATH} names {path}, and there is no such file")
    if way is Way.HVM and menu.unmasked:
        raise VerificationError(menu.unmasked, hint="the kernel would die of the timer's first tick")
    if claims is None:
        return
    told = {
        "timeout": (menu.timeout, "0"),
        "kernel": (menu.kernel, claims.kernel.path),
        "command line": (menu.cmdline, claims.boot.cmdline.strip()),
    }
    for what, (seen, claimed) in told.items():
        if seen != claimed:
            raise VerificationError(f"grub.cfg's {what} is {seen!r}", details=f"by its sidecar it is {claimed!r}")


def _take(menu: Menu, there: Files) -> Taken:
    kernel = there.take(menu.kernel, _KERNEL, _LARGEST)
    ramdisk = there.take(menu.ramdisk, _RAMDISK, _LARGEST) if menu.ramdisk else None
    if kernel is None:
        raise VerificationError(f"{menu.kernel} cannot be read")
    return Taken(PATH, kernel, digest_file(kernel), menu.cmdline, digest_file(ramdisk) if ramdisk else "")


def _check_loading(menu: Menu, kernel: Path) -> None:
    """Check that the command is the one for this kernel."""
    fitting = grub_command(read_kernel(kernel))
    if menu.command != fitting:
        raise VerificationError(f"grub.cfg loads the kernel by {menu.command}", details=f"it takes {fitting}")


def _check_core(menu: Menu, core: Core, kind: str, kernel: Path) -> None:
    """Check that the core has what it takes to find this kernel, and to load it, and does nothing else before."""
    if core.config not in {"", CONSOLES}:
        shown = core.config.splitlines()[0][:80]
        raise VerificationError("GRUB's core has commands of its own, before grub.cfg", details=f"{shown!r}, …")
    facts = read_kernel(kernel)
    lacking = set(grub_modules(kind, menu.command, packed=bool(facts.compression))) - set(core.modules)
    if lacking or core.prefix != _FOLDER:
        raise VerificationError(
            "GRUB's core would not find the kernel",
            details=f"it lacks {', '.join(sorted(lacking))}" if lacking else f"it looks into {core.prefix}",
        )
