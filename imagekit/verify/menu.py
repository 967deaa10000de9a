"""menu.lst as GRUB 0.97 reads it: Amazon's PV-GRUB does, and takes each word of it seriously.

The grammar is GRUB legacy's (stage2/cmdline.c, skip_to): a command and its arguments, by blanks or a `=`; what
stands before the first `title` is for the whole menu; `default` counts entries from 0.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from imagekit.errors import VerificationError
from imagekit.verify.check import Check, passed
from imagekit.verify.claims import Claims
from imagekit.verify.files import Files
from imagekit.verify.table import Spot

PATH = "/boot/grub/menu.lst"

_LINE = re.compile(r"([^\s=]+)[\s=]*(.*)")
_KERNEL = re.compile(r"(?:--\S+\s+)*(\(\w+(?:,\d+)*\))?(/\S*)\s*(.*)")


@dataclass(frozen=True, slots=True)
class Menu:
    """The entry that boots, as the menu spells it; "" for what it does not say."""

    timeout: str
    root: str
    kernel: str
    cmdline: str
    ramdisk: str


def parse_menu(text: str) -> Menu:
    """Return the default entry of a menu; VerificationError when there is none, or no kernel in it."""
    common, *entries = _sections(text)
    settings = dict(common)
    default = settings.get("default", "0")
    number = int(default) if re.fullmatch("[0-9]{1,4}", default) else 0
    if number >= len(entries):
        raise VerificationError(f"menu.lst has {len(entries)} entries, and none that is number {number}")
    entry = dict(entries[number])
    kernel = _KERNEL.fullmatch(entry.get("kernel", ""))
    if kernel is None:
        raise VerificationError("menu.lst names no kernel", details=f"kernel {entry.get('kernel', '')}")
    return Menu(
        timeout=settings.get("timeout", ""),
        root=kernel[1] or entry.get("root", settings.get("root", "")),
        kernel=kernel[2],
        cmdline=kernel[3],
        ramdisk=entry.get("initrd", ""),
    )


def check_menu(menu: Menu, files: Files, claims: Claims | None, spot: Spot) -> Check:
    """Check that a loader which obeys the menu finds the kernel, and waits for nobody."""
    if menu.root != spot.root:
        raise VerificationError(
            f"menu.lst says root {menu.root or 'of nothing'}, and the file system is {spot.root}",
            details=f"the disk's layout is {spot.layout}",
            hint="PV-GRUB obeys it, and would find no kernel",
        )
    wanted = re.escape("0") if claims is not None else "[0-9]+"
    if not re.fullmatch(wanted, menu.timeout):
        raise VerificationError(
            f"menu.lst says timeout {menu.timeout or 'of nothing'}",
            hint="`timeout 0`: without it PV-GRUB waits for a key that nobody presses",
        )
    for path in filter(None, (menu.kernel, menu.ramdisk)):
        if not files.exists(path):
            raise VerificationError(f"menu.lst names {path}, and there is no such file")
    if claims is not None:
        _compare(menu, claims)
    return passed("menu.lst", f"timeout {menu.timeout}, root {menu.root}, kernel {menu.kernel}")


def _compare(menu: Menu, claims: Claims) -> None:
    told = {
        "kernel": (menu.kernel, claims.kernel.path),
        "command line": (menu.cmdline.strip(), claims.boot.cmdline.strip()),
    }
    for what, (seen, claimed) in told.items():
        if seen != claimed:
            raise VerificationError(f"menu.lst's {what} is {seen!r}", details=f"the sidecar says {claimed!r}")


def _sections(text: str) -> list[list[tuple[str, str]]]:
    """Return (command, arguments) of the menu's head, and of each entry."""
    sections: list[list[tuple[str, str]]] = [[]]
    for command, arguments in _commands(text.split("\n")):
        if command == "title":
            sections.append([])
        sections[-1].append((command, arguments))
    return sections


def _commands(lines: Iterable[str]) -> Iterable[tuple[str, str]]:
    for line in lines:
        found = _LINE.fullmatch(line.strip())
        if found and not line.lstrip().startswith("#"):
            yield found[1], found[2]
