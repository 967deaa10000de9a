"""Disk images: a file system alone, or behind an MBR or a GPT."""

from imagekit.disk.grub import TABLE_AT, boot_sector, core_of, grub_folder, grub_modules, grub_version, write_core
from imagekit.disk.layout import LAYOUTS, SECTOR, Layout, Spot, around, lay_out, partition_offset
from imagekit.disk.stamp import partition_identity
from imagekit.disk.step import BOOT_LABEL, boot_uuid, write_disk
from imagekit.disk.table import libparted_version

__all__ = [
    "BOOT_LABEL",
    "LAYOUTS",
    "SECTOR",
    "TABLE_AT",
    "Layout",
    "Spot",
    "around",
    "boot_sector",
    "boot_uuid",
    "core_of",
    "grub_folder",
    "grub_modules",
    "grub_version",
    "lay_out",
    "libparted_version",
    "partition_identity",
    "partition_offset",
    "write_core",
    "write_disk",
]
