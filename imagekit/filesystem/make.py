"""Make a file system at an offset of a disk file, and fill it from a root tar."""

from imagekit.filesystem import ext, fat
from imagekit.filesystem.settings import Place, Settings
from imagekit.filesystem.staging import Staged


def by_guestfs(kind: str, maker: str, *, lvm: bool) -> bool:
    """Tell whether a Linux makes this file system: where it must, or is asked to."""
    return lvm or maker == "guestfs" or kind in {"xfs", "btrfs", "jfs", "reiserfs"}


def tools(kind: str, *, guestfs: bool = False) -> tuple[str, ...]:
    """Return the programs whose versions the bytes of a file system depend on."""
    if guestfs:
        return ("guestfish",)
    return ("mkfs.fat", "mcopy") if kind.startswith("fat") else ("mke2fs", "debugfs")


def make(place: Place, settings: Settings, staged: Staged) -> None:
    """Make the file system and put the tree in. Scratch files are made beside the disk.

    ToolError when a tool fails, BuildError when the tree does not fit, RecipeError when this type cannot hold it.
    """
    maker = fat.make if settings.fat else ext.make
    maker(place, settings, staged)
