"""Keys of [filesystem] and [disk] that do not go together."""

import re
from collections.abc import Iterator

from imagekit.errors import RecipeError
from imagekit.recipe.models import Image

_FAT_LABEL = re.compile(r"[A-Za-z0-9_-]{0,11}")
_XFS_LABEL = 12
_LARGE_BLOCKS = {"btrfs", "jfs", "reiserfs"}


def check_disk(image: Image, where: str) -> None:
    """RecipeError for the first pair of keys that no disk can have; `where` is the recipe's name."""
    for brief, hint in (*_filesystem(image), *_disk(image)):
        raise RecipeError(f"{where}: {brief}", hint=hint)


def _filesystem(image: Image) -> Iterator[tuple[str, str]]:
    kind, label = image.filesystem.type, image.filesystem.label
    fat = kind.startswith("fat")
    if fat and not _FAT_LABEL.fullmatch(label):
        yield f"FAT takes no label {label!r}", "11 characters at most, and no full stop"
    if kind == "xfs" and len(label) > _XFS_LABEL:
        yield f"xfs takes no label {label!r}", f"{_XFS_LABEL} characters at most"
    if fat and image.filesystem.maker == "guestfs":
        yield "guestfs makes no FAT here", 'filesystem.maker = "auto": mkfs.fat and mtools do'
    if kind in _LARGE_BLOCKS and image.filesystem.block_size not in {0, 4096}:
        yield f"{kind} has blocks of 4096 bytes", "leave out filesystem.block_size"


def _disk(image: Image) -> Iterator[tuple[str, str]]:
    disk, size = image.disk, image.filesystem.size
    if disk.boot and disk.layout == "plain":
        yield "disk.boot is a partition, and a plain disk has none", 'disk.layout = "mbr", or "gpt"'
    if disk.lvm is None:
        return
    if image.filesystem.type.startswith("fat"):
        yield "no FAT is put on LVM", 'filesystem.type = "ext4"'
    if size is not None:
        yield (
            "a volume takes the whole group: filesystem.size does not go with disk.lvm",
            "disk.size says how large",
        )
