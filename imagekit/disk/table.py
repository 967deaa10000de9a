"""MBR and GPT by libparted, through pyparted."""

import threading
from pathlib import Path

from imagekit.disk.layout import SECTOR, Layout, Spot
from imagekit.disk.stamp import stamp_gpt, stamp_mbr
from imagekit.errors import BuildError, ToolError

LVM = "LVM"
"""In place of a file system's type: the partition is a volume group's."""

_LABELS = {"mbr": "msdos", "gpt": "gpt"}
_libparted = threading.Lock()  # it keeps its devices in global lists


def libparted_version() -> str:
    """Return libparted's version, which a partition table's bytes depend on; ToolError where it is missing."""
    try:
        import parted  # noqa: PLC0415 -- an extra
    except ImportError as error:
        raise ToolError(
            "a disk with partitions needs pyparted",
            details=str(error),
            hint="pip install 'imagekit[disk]' (it builds against libparted-dev)",
        ) from error
    return str(parted.version()["libparted"])


def write_table(disk: Path, layout: Layout, spot: Spot, filesystem: str, identity: bytes) -> None:
    """Write the table with its one partition, or with a boot partition before that.

    `filesystem` is a type's name, or LVM; `identity` is 32 bytes that signature and GUIDs are made from.
    """
    libparted_version()
    with _libparted:
        _commit(disk, _LABELS[layout], spot, filesystem)
    with disk.open("r+b") as file:
        if layout == "mbr":
            stamp_mbr(file, identity)
        else:
            stamp_gpt(file, spot.disk, identity)


def _commit(path: Path, label: str, spot: Spot, filesystem: str) -> None:
    import parted  # noqa: PLC0415 -- an extra

    try:
        device = parted.getDevice(str(path))
        device.removeFromCache()  # else a later disk of this name would have this one's size
        disk = parted.freshDisk(device, label)
        places = [(spot.offset, spot.size, filesystem)]
        if spot.boot:
            places.insert(0, (spot.offset - spot.boot, spot.boot, "ext2"))
        for offset, size, kind in places:
            geometry = parted.Geometry(device, start=offset // SECTOR, length=size // SECTOR)
            partition = parted.Partition(
                disk,
                type=parted.PARTITION_NORMAL,
                fs=parted.FileSystem(type="ext2" if kind == LVM else kind, geometry=geometry),
                geometry=geometry,
            )
            disk.addPartition(partition, constraint=parted.Constraint(exactGeom=geometry))
            if kind == LVM:
                partition.setFlag(parted.PARTITION_LVM)
        if label == "msdos":
            disk.partitions[0].setFlag(parted.PARTITION_BOOT)
        disk.commitToDevice()
    except Exception as error:
        # pyparted's exceptions have no base of their own. (Its devices are left to libparted: freeing them while a
        # traceback still holds the disk ends the process.)
        raise BuildError(f"libparted could not write the {label} table", details=str(error)) from error
