"""menu.lst and grub.cfg, saying the same, for the loaders that will look for them.

Who reads what (Xen 4.17 pygrub, Amazon's PV-GRUB, GRUB 2 for PV guests):

    pygrub     grub.cfg before menu.lst; ignores `root`; breaks on a grub.cfg that says `multiboot`
    PV-GRUB    /boot/grub/menu.lst only; obeys `root`; waits for a key without `timeout`
    GRUB 2 PV  grub.cfg (Debian's build), or menu.lst (built with legacycfg)

So a PV kernel gets both, and a PVH kernel, which only pygrub can start from a disk, gets menu.lst alone. A disk
with GRUB 2 in its boot sector has grub.cfg alone: no other loader starts it, and a menu.lst would say that one
does. A root volume for Qubes has a menu.lst beside it, as those that Qubes' own builder makes of unikernels.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from imagekit.boot.grub import Command, grub_cfg
from imagekit.boot.pygrub import BEFORE_MENU_LST, GRUB_CFG
from imagekit.errors import RecipeError

# What both GRUB 2's script language and pygrub's plain reading of it take for the same words.
_WORD = r"[\w./:=,@%+^~-]+"
_PLAIN = re.compile(rf"({_WORD}( {_WORD})*)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class BootEntry:
    """The one entry of the menu. `kernel` and `ramdisk` are absolute paths in the image, of plain characters.

    `partition` counts from 0; None means that the file system is the whole disk. `command` is how GRUB 2 loads the
    kernel where it is the disk's own loader; None where others are. `legacy` wants a menu.lst, too, then.
    """

    title: str
    kernel: str
    cmdline: str
    ramdisk: str | None = None
    partition: int | None = 0
    pv: bool = True
    command: Command | None = None
    legacy: bool = False


def boot_files(entry: BootEntry) -> Mapping[str, str]:
    """Return path in the image -> content.

    RecipeError when the entry cannot be written in a menu, or does not come out of it as it went in.
    """
    for text in (entry.title, entry.cmdline):
        if any(ord(character) < ord(" ") for character in text):
            raise RecipeError(
                "a boot menu is made of lines: no control characters in a command line", details=repr(text)
            )
    files: dict[str, str] = {}
    if entry.command is not None:
        files[GRUB_CFG] = grub_cfg(entry.title, entry.kernel, entry.cmdline, entry.command, entry.ramdisk)
        if not entry.legacy:
            return files
    if entry.cmdline.endswith("\\"):
        raise RecipeError("GRUB joins a line that ends with a backslash to the next one", details=entry.cmdline)
    menu = _menu_lst(entry)
    files |= {
        "/boot/grub/menu.lst": menu,
        # Older texts, and people who follow them, look here; no loader of today does.
        "/boot/menu.lst": menu,
    }
    if entry.pv and _PLAIN.fullmatch(entry.cmdline):
        # GRUB 2 expands quotes, $ and ; and joins spaces, where menu.lst takes the line as it is: such a command
        # line is left to menu.lst, the only one that can say it exactly.
        files[GRUB_CFG] = _grub_cfg(entry)
    return files


def shadowing(files: Iterable[str]) -> tuple[str, ...]:
    """Return the paths in the image that pygrub would read in place of these boot files."""
    return () if GRUB_CFG in files else BEFORE_MENU_LST


def _menu_lst(entry: BootEntry) -> str:
    root = "(hd0)" if entry.partition is None else f"(hd0,{entry.partition})"
    lines = [
        "default 0",
        "timeout 0",
        f"title {entry.title}",
        f"root {root}",
        f"kernel {entry.kernel} {entry.cmdline}".rstrip(),
    ]
    if entry.ramdisk:
        lines.append(f"initrd {entry.ramdisk}")
    return "\n".join(lines) + "\n"


def _grub_cfg(entry: BootEntry) -> str:
    lines = [
        "set default=0",
        "set timeout=0",
        f'menuentry "{entry.title}" {{',
        f"  linux {entry.kernel} {entry.cmdline}".rstrip(),
    ]
    if entry.ramdisk:
        lines.append(f"  initrd {entry.ramdisk}")
    return "\n".join([*lines, "}"]) + "\n"
