"""Disk images: a file system alone, or behind an MBR or a GPT."""

from imagekit.disk.layout import LAYOUTS, Layout, Spot, around, lay_out, partition_offset
from imagekit.disk.step import write_disk
from imagekit.disk.table import libparted_version

__all__ = ["LAYOUTS", "Layout", "Spot", "around", "lay_out", "libparted_version", "partition_offset", "write_disk"]
