"""Where the file system lies on the disk. Pure arithmetic, in bytes."""

from dataclasses import dataclass
from typing import Literal, get_args

from imagekit.errors import BuildError

Layout = Literal["plain", "mbr", "gpt"]
LAYOUTS: tuple[str, ...] = get_args(Layout)

SECTOR = 512
MIB = 1 << 20
_BEFORE = {"plain": 0, "mbr": MIB, "gpt": MIB}
_AFTER = {"plain": 0, "mbr": 0, "gpt": MIB}  # the second GPT takes 33 sectors; the rest keeps the end aligned


@dataclass(frozen=True, slots=True)
class Spot:
    """The disk's size, and the file system's offset and size on it."""

    disk: int
    offset: int
    size: int


def lay_out(layout: Layout, needed: int, *, disk: int | None, filesystem: int | None, unit: int) -> Spot:
    """Return where a file system of at least `needed` bytes goes.

    `disk` and `filesystem` are sizes that the user fixed, or None. A disk that is not fixed is a multiple of
    `unit`; a file system that is not fixed fills what the disk leaves it. BuildError when it does not fit.
    """
    around = _BEFORE[layout] + _AFTER[layout]
    least = around + (filesystem or needed)
    total = disk if disk is not None else -(-least // unit) * unit
    size = filesystem if filesystem is not None else (total - around) // MIB * MIB
    if total < least or size < needed:
        raise BuildError(
            f"the tree needs a file system of {needed >> 20} MiB and a disk of {around + needed >> 20} MiB",
            details=f"disk.size is {total >> 20} MiB, the file system gets {max(size, 0) >> 20} MiB",
            hint='leave disk.size and filesystem.size at "auto", or give them more',
        )
    return Spot(total, _BEFORE[layout], size)


def partition_offset(layout: Layout) -> int:
    """Return where the file system begins, in bytes."""
    return _BEFORE[layout]
