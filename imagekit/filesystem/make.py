"""Make a file system at an offset of a disk file, and fill it from a root tar."""

from imagekit.filesystem import ext, fat
from imagekit.filesystem.settings import Place, Settings
from imagekit.filesystem.staging import Staged


def tools(kind: str) -> tuple[str, ...]:
    """Return the programs whose versions the bytes of a file system depend on."""
    return ("mkfs.fat", "mcopy") if kind.startswith("fat") else ("mke2fs", "debugfs")


def make(place: Place, settings: Settings, staged: Staged) -> None:
    """Make the file system and put the tree in. Scratch files are made beside the disk.

    ToolError when a tool fails, BuildError when the tree does not fit, RecipeError when this type cannot hold it.
    """
    maker = fat.make if settings.fat else ext.make
    maker(place, settings, staged)
