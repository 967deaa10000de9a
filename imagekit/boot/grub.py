"""grub.cfg for GRUB 2 as the disk's own boot loader, in words that its script language takes as they are.

GRUB reads it in an HVM guest, started by the boot sector; GRUB for PVH guests reads the same file. A kernel gets
its arguments joined by blanks, one with a blank in it between double quotes, and a backslash before each quote and
backslash (GRUB 2.06, grub-core/lib/cmdline.c): a command line that would not arrive as it is said is refused.
"""

import re
from textwrap import indent
from typing import Literal

from imagekit.errors import UnsuitedError

Command = Literal["multiboot", "multiboot2", "linux"]
"""GRUB 2's commands that load a kernel."""

# What GRUB hands on as one argument: bare, or in quotes that GRUB puts around it itself, for the blank in it.
_BARE = r"[^ '\"\\]*"
_ARGUMENT = re.compile(rf"\"({_BARE}(?: {_BARE})+)\"(?= |$)|({_BARE})(?= |$)")

_MODULES = {"multiboot": "module --nounzip", "multiboot2": "module2 --nounzip", "linux": "initrd"}

# The BIOS leaves its timer unmasked, and the 8259 at vector 8, where a kernel of today has its double faults: one
# that does not know of the 8259, as those for Xen, dies of the first tick. Linux sets it up itself.
_UNMASKED = ("multiboot", "multiboot2")
_MASK = """\
  if [ "$grub_platform" = "pc" ]; then
    outb 0x21 0xff
    outb 0xa1 0xff
  fi
"""

CONSOLES = """\
serial --unit=0 --speed=115200
terminal_input console serial
terminal_output console serial
"""
"""GRUB's words on the first serial port, too: a cloud's console log."""

_HEAD = f"""\
set default=0
set timeout=0
if [ "$grub_platform" = "pc" ]; then
{indent(CONSOLES, "  ")}fi
"""


def grub_cfg(title: str, kernel: str, cmdline: str, command: Command, ramdisk: str | None = None) -> str:
    """Return grub.cfg with the one entry; `kernel` and `ramdisk` are absolute paths on the disk.

    UnsuitedError for a command line that GRUB cannot hand on as it is.
    """
    words = [command, quoted(kernel), *map(quoted, arguments(cmdline))]
    lines = [
        f"menuentry {quoted(title)} {{",
        f"  echo {quoted(f'GRUB: loading {kernel}')}",
        f"  {' '.join(words)}",
    ]
    if ramdisk:
        lines.append(f"  {_MODULES[command]} {quoted(ramdisk)}")
    mask = _MASK if command in _UNMASKED else ""
    return _HEAD + "".join(f"{line}\n" for line in lines) + mask + "}\n"


def arguments(cmdline: str) -> list[str]:
    """Return the arguments that GRUB joins to this command line: an empty one for each blank too many.

    UnsuitedError when there are none.
    """
    found: list[str] = []
    at = 0
    while cmdline and at <= len(cmdline):
        match = _ARGUMENT.match(cmdline, at)
        if match is None:
            raise UnsuitedError(
                f"GRUB cannot hand on {cmdline[at:][:40]!r} as it is: it puts a backslash before each quote and "
                "backslash",
                details=f"the command line is {cmdline!r:.200}",
                hint="there is no way to say a backslash to GRUB"
                if "\\" in cmdline[at:].partition(" ")[0]
                else 'no quotes, but around a whole word with a blank in it: "--text=two words"',
            )
        found.append(match[2] if match[1] is None else match[1])
        at = match.end() + 1
    return found


def quoted(text: str) -> str:
    """Return a text as one word of GRUB's script language: in single quotes, where all is plain but themselves."""
    return "'" + text.replace("'", "'\\''") + "'"
