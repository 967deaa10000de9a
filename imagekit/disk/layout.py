"""Where the file systems lie on the disk. Pure arithmetic, in bytes."""

from dataclasses import dataclass
from typing import Literal, get_args

from imagekit.errors import BuildError
from imagekit.recipe import MBR_LARGEST

Layout = Literal["plain", "mbr", "gpt"]
LAYOUTS: tuple[str, ...] = get_args(Layout)

SECTOR = 512
MIB = 1 << 20
_BEFORE = {"plain": 0, "mbr": MIB, "gpt": MIB}
_AFTER = {"plain": 0, "mbr": 0, "gpt": MIB}  # the second GPT takes 33 sectors; the rest keeps the end aligned


@dataclass(frozen=True, slots=True)
class Spot:
    """The disk's size, the offset and size of the file system (or the volume group) on it.

    `boot` is the size of the boot partition, which lies before it; 0 for none.
    """

    disk: int
    offset: int
    size: int
    boot: int = 0


def lay_out(
    layout: Layout, needed: int, *, disk: int | None, filesystem: int | None, unit: int, boot: int = 0
) -> Spot:
    """Return where a file system of at least `needed` bytes goes.

    `disk` and `filesystem` are sizes that the user fixed, or None. A disk that is not fixed is a multiple of
    `unit`; a file system that is not fixed fills what the disk leaves it. `boot` is the size of a partition before
    it. BuildError when it does not fit.
    """
    beside = around(layout) + boot
    least = beside + (filesystem or needed)
    total = disk if disk is not None else -(-least // unit) * unit
    size = filesystem if filesystem is not None else (total - beside) // MIB * MIB
    if total < least or size < needed:
        raise BuildError(
            f"the tree needs a file system of {_told(needed)} and a disk of {_told(beside + needed)}",
            details=f"the disk has {_told(total)}, the file system gets {_told(size)}",
            hint='leave disk.size and filesystem.size at "auto", or give them more',
        )
    if layout == "mbr" and beside + size > MBR_LARGEST:
        raise BuildError(
            f"an MBR holds 2 TiB at most, and the disk has {_told(total)}",
            hint='disk.layout = "gpt" holds more; "auto" leaves the sizes to imagekit',
        )
    return Spot(total, _BEFORE[layout] + boot, size, boot)


def _told(size: int) -> str:
    if size <= 0:
        return "nothing"
    return f"{size >> 20} MiB" if size % MIB == 0 else f"{size / 1024:.10g} KiB"


def around(layout: Layout) -> int:
    """Return how many bytes of a disk the file system cannot have."""
    return _BEFORE[layout] + _AFTER[layout]


def partition_offset(layout: Layout) -> int:
    """Return where the first file system begins, in bytes."""
    return _BEFORE[layout]
