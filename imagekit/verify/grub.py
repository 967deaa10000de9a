"""GRUB and a disk of its own: the boot sector and the core behind it, grub.cfg, and the kernel that this names.

A PVH guest's GRUB comes from the host, as Qubes' does: then there is no boot sector. grub.cfg is taken apart as a
shell's words are, by Python's shlex, which knows nothing of how it was written. A core that is not as GRUB's own
tool makes it for sector 1, in one piece, is none that boots here.
"""

import re
import shlex
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from imagekit.disk import core_of, grub_modules
from imagekit.errors import ToolError, VerificationError
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

PATH = "/boot/grub/grub.cfg"

_FOLDER = "(hd0,msdos1)/boot/grub"
_COMMANDS = ("multiboot", "multiboot2", "linux")
_RAMDISKS = ("module", "module2", "initrd")
_MASKS = {("outb", "0x21", "0xff"), ("outb", "0xa1", "0xff")}
_LARGEST = 1 << 30  # bytes; a menu may name a file without end
_KERNEL, _RAMDISK = "kernel-by-grub", "ramdisk-by-grub"


@dataclass(frozen=True, slots=True)
class Menu:
    """The entry that boots: the command line as GRUB hands it on; "" for what it does not say."""

    timeout: str
    command: str
    kernel: str
    cmdline: str
    ramdisk: str
    masks: bool


def by_grub(subject: Subject) -> Way | None:
    """Return how GRUB boots the disk, None if it does not: by its sidecar or, without one, by its boot sector."""
    if subject.claims is not None:
        way = subject.claims.boot.way
        return way if way in {Way.HVM, Way.MULTIBOOT} else None
    if subject.target == "qubes":
        return Way.MULTIBOOT
    try:
        core_of(_before(subject.path, 1 << 20))
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


def parse_grub_cfg(text: str) -> Menu:
    """Return the first entry of a grub.cfg; VerificationError when there is none, or no kernel in it."""
    head, _, entry = text.partition("\nmenuentry ")
    _, _, body = entry.partition("\n")  # an entry may be called as a command is
    lines = [_words(line) for line in body.split("\n")]
    loading = next((words for words in lines if words and words[0] in _COMMANDS), [])
    if len(loading) < 2:  # noqa: PLR2004 -- the command, and a path
        raise VerificationError(f"{PATH} names no kernel")
    ramdisk = next((words for words in lines if words and words[0] in _RAMDISKS), [])
    timeout = re.search(r"^set timeout=(\S+)$", head, re.MULTILINE)
    return Menu(
        timeout=timeout[1] if timeout else "",
        command=loading[0],
        kernel=loading[1],
        cmdline=" ".join(map(_handed_on, loading[2:])),
        ramdisk=next((word for word in ramdisk[1:] if not word.startswith("--")), ""),
        masks={tuple(words) for words in lines} >= _MASKS,
    )


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError as error:
        raise VerificationError(f"{PATH} has a line that is not whole", details=f"{error}: {line[:80]}") from None


def _handed_on(argument: str) -> str:
    """Return an argument as GRUB puts it into the kernel's command line."""
    escaped = re.sub(r"(['\"\\])", r"\\\1", argument)
    return f'"{escaped}"' if " " in argument else escaped


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
        if not there.exists(path):
            raise VerificationError(f"{PATH} names {path}, and there is no such file")
    if way is Way.HVM and menu.command != "linux" and not menu.masks:
        raise VerificationError(
            f"{PATH} leaves the 8259 as the BIOS had it", hint="the kernel would die of the timer's first tick"
        )
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
    """Check that the core has what it takes to find this kernel, and to load it."""
    facts = read_kernel(kernel)
    lacking = set(grub_modules(kind, menu.command, packed=bool(facts.compression))) - set(core.modules)
    if lacking or core.prefix != _FOLDER:
        raise VerificationError(
            "GRUB's core would not find the kernel",
            details=f"it lacks {', '.join(sorted(lacking))}" if lacking else f"it looks into {core.prefix}",
        )
