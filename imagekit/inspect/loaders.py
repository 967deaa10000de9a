"""The boot loaders that a Xen disk meets, and by what each finds its kernel: one table, no code.

Sources: pygrub and GrubConf.py of Xen 4.17; Amazon's "User provided kernels" (EC2 user guide); the bootstrap
script inside Debian's PV build of GRUB 2.06, taken to be the PVH build's too. Tried on Xen 4.17 under QEMU:
pygrub, GRUB PV with `linux`, GRUB PVH with `multiboot`; under a BIOS: GRUB in the boot sector. Only read about:
Amazon's PV-GRUB, GRUB PV's `multiboot` (its own bootstrap chainloads by it), GRUB PVH's `linux`. "xfs" is version
5, which mkfs.xfs makes since 2015: libfsimage and GRUB 0.97 are older.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from imagekit.boot import MENUS
from imagekit.formats.grub_core import Core
from imagekit.inspect.kernels import LINUX
from imagekit.kernel import Way

_EXT = {"ext2", "ext3", "ext4"}
_FAT = {"FAT12", "FAT16", "FAT32"}

_GRUB_PATHS = ("/boot/grub/grub.cfg", "/grub/grub.cfg")
_LEGACY_PATHS = ("/boot/grub/menu.lst", "/grub/menu.lst")


@dataclass(frozen=True, slots=True)
class Loader:
    """What a boot loader looks for, in its order.

    `starts` gives for each menu command the ways by which its kernel is then started; a command that is not in it
    is not understood. `last` is the highest partition that it looks at, `only` the one, where it is not 0; `first`
    a file that it starts before any menu; `waits`: without a timeout it waits for a key.
    """

    name: str
    menus: tuple[str, ...]
    filesystems: frozenset[str]
    starts: Mapping[str, tuple[str, ...]]
    last: int = 128
    only: int = 0
    whole_disk_menus: tuple[str, ...] = ()
    first: str = ""
    obeys_root: bool = True
    waits: bool = True

    def paths(self, partition: int) -> tuple[str, ...]:
        """Return the menus that it looks for on a partition (0: the whole disk)."""
        if partition > self.last or self.only not in {0, partition}:
            return ()
        return self.whole_disk_menus if self.whole_disk_menus and not partition else self.menus


PYGRUB = Loader(
    "pygrub",
    MENUS,
    frozenset(_EXT | _FAT | {"iso9660", "reiserfs", "ufs", "xfs v4", "zfs"}),
    dict.fromkeys(("kernel", "linux", "linux16"), (Way.PYGRUB_PV, Way.PVH_PYGRUB)),
    last=4,
    obeys_root=False,
    waits=False,
)
AMAZON = Loader(
    "Amazon PV-GRUB",
    _LEGACY_PATHS,
    frozenset(_EXT | {"jfs", "xfs v4", "reiserfs"}),
    {"kernel": (Way.PV_GRUB,)},
    last=4,
    whole_disk_menus=_LEGACY_PATHS[:1],
)
GRUB_PV = Loader(
    "GRUB PV",
    _GRUB_PATHS,
    frozenset(_EXT | _FAT | {"iso9660", "reiserfs", "xfs", "xfs v4", "btrfs", "jfs"}),
    {"linux": (Way.PV_DIRECT,), "multiboot": (Way.PV_DIRECT,)},
    first="/boot/xen/pvboot-x86_64.elf",
)
GRUB_PVH = Loader(
    "GRUB PVH",
    _GRUB_PATHS,
    GRUB_PV.filesystems,
    {"linux": (LINUX,), "multiboot": (Way.MULTIBOOT,), "multiboot2": (Way.MULTIBOOT,)},
)
LOADERS = (PYGRUB, AMAZON, GRUB_PV, GRUB_PVH)

GRUB_BIOS = "GRUB BIOS"
_READERS = {"ext2": _EXT, "fat": _FAT, "xfs": {"xfs", "xfs v4"}, "btrfs": {"btrfs"}, "reiserfs": {"reiserfs"}}
_LOADING = ("linux", "multiboot", "multiboot2")


def grub_bios(core: Core, partition: int, folder: str) -> Loader:
    """Return GRUB in the boot sector, as the modules of its core make it."""
    kinds = {kind for module in core.modules for kind in _READERS.get(module, ())}
    starts = {command: (Way.HVM,) for command in _LOADING if command in core.modules}
    return Loader(GRUB_BIOS, (f"{folder}/grub.cfg",), frozenset(kinds), starts, only=partition)
