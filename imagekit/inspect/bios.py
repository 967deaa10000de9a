"""What a BIOS starts of a disk: the boot sector and, where it is GRUB's, the core that this loads."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from imagekit.disk import core_of
from imagekit.errors import ToolError
from imagekit.formats.grub_core import Core, read_core
from imagekit.inspect.report import Kind, Segment
from imagekit.inspect.window import SECTOR, Window

_LARGEST = 1 << 20  # bytes before the first partition that are looked at
_NO_GRUB = "the boot sector starts no GRUB"
_FOLDER = re.compile(r"\(hd0,msdos(\d{1,3})\)(/[^()]*)")


@dataclass(frozen=True, slots=True)
class BootSector:
    """GRUB's core of `length` bytes behind the boot sector; `problem` where there is none that can be read."""

    core: Core | None = None
    length: int = 0
    problem: str = _NO_GRUB

    @property
    def place(self) -> tuple[int, str] | None:
        """The partition and the folder where GRUB looks for its menu; None for what is put in other words."""
        found = _FOLDER.fullmatch(self.core.prefix) if self.core else None
        return (int(found[1]), found[2]) if found else None

    def segments(self) -> Iterator[Segment]:
        """Yield what it takes of the disk, beside the partition table's sector."""
        if self.length:
            yield Segment(SECTOR, self.length, Kind.BOOT, "GRUB's core")


def read_boot_sector(disk: Window) -> BootSector:
    """Read what is before the first partition."""
    try:
        image = core_of(disk.read(0, min(disk.length, _LARGEST)))
    except ToolError:
        return BootSector()
    try:
        return BootSector(read_core(image), len(image), "")
    except ValueError as error:
        return BootSector(None, len(image), f"the boot sector is GRUB's, and its core cannot be read: {error}")
