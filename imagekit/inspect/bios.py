"""What a BIOS starts of a disk: the boot sector and, where it is GRUB's, the core that this loads."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from imagekit.disk import TABLE_AT, boot_sector, core_of
from imagekit.errors import ToolError
from imagekit.formats.grub_core import Core, read_core
from imagekit.inspect.report import Kind, Segment
from imagekit.inspect.window import SECTOR, Window

_LARGEST = 1 << 20  # bytes before the first partition that are looked at
_NO_GRUB = "the boot sector starts no GRUB"
_FOREIGN = f"{_NO_GRUB} that imagekit knows, and what else it starts is not told"
_DAMAGED = "the boot sector is GRUB's, and its core cannot be read"
_SIGNATURE = b"\x55\xaa"
_FOLDER = re.compile(r"\(hd0,msdos(\d{1,3})\)(/[^()]*)")


@dataclass(frozen=True, slots=True)
class BootSector:
    """GRUB's core of `length` bytes behind the boot sector; `problem` where there is none that can be read.

    `code` tells whether there is anything that a BIOS would start.
    """

    core: Core | None = None
    length: int = 0
    problem: str = _NO_GRUB
    code: bool = False

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
    area = disk.read(0, min(disk.length, _LARGEST))
    try:
        boot_sector(area[:SECTOR])
    except ToolError:
        code = area[SECTOR - 2 : SECTOR] == _SIGNATURE and any(area[:TABLE_AT])
        return BootSector(problem=_FOREIGN if code else _NO_GRUB, code=code)
    try:
        image = core_of(area)
    except ToolError as error:
        return BootSector(problem=f"{_DAMAGED}: {error.details}", code=True)
    try:
        return BootSector(read_core(image), len(image), "", code=True)
    except ValueError as error:
        return BootSector(None, len(image), f"{_DAMAGED}: {error}", code=True)
