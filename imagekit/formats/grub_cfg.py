"""grub.cfg as a disk of ours has it: a closed set of lines in a fixed order, and any other line is refused.

GRUB's script language has conditions, functions, menus in menus, and commands that load: what boots in the end can
only be told where nothing of all this is there. Every word that could hold more is in single quotes (or is a
quote, behind a backslash), where the language takes all as it is; Python's shlex takes them off again, and knows
nothing of how they were put there. A control character would be more to GRUB's reader of lines than to us.
"""

import re
import shlex
from dataclasses import dataclass

from imagekit.errors import VerificationError

PATH = "/boot/grub/grub.cfg"

_WORD = r"(?:'[^'\x00-\x1f\x7f]*'|\\')+"
_ON_A_BIOS = re.escape('if [ "$grub_platform" = "pc" ]; then')
_SERIAL = ("serial --unit=0 --speed=115200", "terminal_input console serial", "terminal_output console serial")
_MASKS = ("outb 0x21 0xff", "outb 0xa1 0xff")
_RAMDISKS = {"multiboot": "module --nounzip", "multiboot2": "module2 --nounzip", "linux": "initrd"}


@dataclass(frozen=True, slots=True)
class Menu:
    """The one entry: the command line as GRUB hands it on; "" for a ramdisk that is not there.

    `masks` tells whether it masks the 8259, as a kernel needs that GRUB's `multiboot` loads on a BIOS.
    """

    timeout: str
    command: str
    kernel: str
    cmdline: str
    ramdisk: str
    masks: bool

    @property
    def unmasked(self) -> str:
        """What is wrong on a BIOS; "" where the 8259 is masked, or the kernel sets it up itself."""
        needs = self.command != "linux" and not self.masks
        return f"{PATH} leaves the 8259 as the BIOS had it" if needs else ""


def parse_grub_cfg(text: str) -> Menu:
    """Return the entry of a grub.cfg; VerificationError with the first line that is none of ours in its place."""
    lines = _Lines(text)
    lines.need("set default=0")
    timeout = lines.need("set timeout=([0-9]+)")[1]
    if lines.take(_ON_A_BIOS):
        lines.need_all((*_SERIAL, "fi"))
    lines.need(rf"menuentry {_WORD} \{{")
    lines.take(f"echo {_WORD}")
    loading = lines.need(f"(multiboot2?|linux) ({_WORD}(?: {_WORD})*)")
    kernel, *arguments = shlex.split(loading[2])
    ramdisk = lines.take(f"{_RAMDISKS[loading[1]]} ({_WORD})")
    masks = loading[1] != "linux" and _masks(lines)
    lines.need_all(("}", ""))
    lines.end()
    return Menu(
        timeout=timeout,
        command=loading[1],
        kernel=kernel,
        cmdline=" ".join(map(handed_on, arguments)),
        ramdisk=shlex.split(ramdisk[1])[0] if ramdisk else "",
        masks=masks,
    )


class _Lines:
    """The lines of a file, one behind the other; blanks around one mean nothing."""

    def __init__(self, text: str) -> None:
        self._lines = text.split("\n")
        self._at = 0

    def take(self, pattern: str) -> "re.Match[str] | None":
        """Return the match of a pattern with the whole next line, which is then done; None where it is another."""
        line = self._lines[self._at] if self._at < len(self._lines) else None
        match = None if line is None else re.fullmatch(pattern, line.strip(" "))
        if match is not None:
            self._at += 1
        return match

    def need(self, pattern: str) -> "re.Match[str]":
        """Return the match with the next line; VerificationError where it is another one, or the file ends."""
        match = self.take(pattern)
        if match is None:
            self.end()
            raise VerificationError(f"{PATH} is not whole", details=f"it ends behind line {self._at}")
        return match

    def need_all(self, lines: tuple[str, ...]) -> None:
        """Take these lines, to the letter."""
        for line in lines:
            self.need(re.escape(line))

    def end(self) -> None:
        """VerificationError where another line comes."""
        if self._at < len(self._lines):
            raise VerificationError(
                f"{PATH} has a line that imagekit does not write",
                details=f"line {self._at + 1}: {self._lines[self._at]!r:.100}",
                hint="what GRUB boots is told only of a grub.cfg as imagekit writes it",
            )


def _masks(lines: _Lines) -> bool:
    """Take the masks of the 8259, where they are there."""
    if lines.take(_ON_A_BIOS):
        lines.need_all((*_MASKS, "fi"))
        return True
    if lines.take(re.escape(_MASKS[0])):
        lines.need_all(_MASKS[1:])
        return True
    return False


def handed_on(argument: str) -> str:
    """Return an argument as GRUB puts it into the kernel's command line."""
    escaped = re.sub(r"(['\"\\])", r"\\\1", argument)
    return f'"{escaped}"' if " " in argument else escaped
