"""What a file system is to be."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

Type = Literal["ext2", "ext3", "ext4", "fat16", "fat32", "xfs", "btrfs", "jfs", "reiserfs"]
Maker = Literal["auto", "guestfs"]
TYPES: tuple[str, ...] = get_args(Type)


@dataclass(frozen=True, slots=True)
class Settings:
    """A file system's settings. `block_size` is in bytes (FAT: a cluster); 0: not settled yet (FAT: the default).

    `uuid` is the UUID, FAT's volume id its first four bytes; `epoch` is the time of everything, in seconds.
    """

    type: Type
    uuid: str
    epoch: int
    label: str = ""
    block_size: int = 0

    @property
    def fat(self) -> bool:
        """FAT holds neither links nor owners, and is made by other tools."""
        return self.type.startswith("fat")


@dataclass(frozen=True, slots=True)
class Lvm:
    """A volume group with one logical volume, by their names."""

    group: str
    volume: str

    @property
    def device(self) -> str:
        """The volume's device in a Linux (lvm(8): the mapper's name doubles each hyphen)."""
        return "/dev/mapper/" + "-".join(name.replace("-", "--") for name in (self.group, self.volume))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a file system is made: `size` bytes at `offset` of a disk file that is at least as long."""

    disk: Path
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Needs:
    """What a tree needs: its number of entries, and its bytes in whole blocks of 1 KiB and of 4 KiB."""

    entries: int
    small: int
    large: int
