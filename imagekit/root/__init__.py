"""What goes into the file system, as one deterministic tar."""

from imagekit.root.finding import Boot, read_boot, write_boot, write_kernel
from imagekit.root.oci import image_digest, is_layout
from imagekit.root.run import check_able, lacking
from imagekit.root.steps import System, brought, introduction, system
from imagekit.root.tree import Member, Reference, read_root, to_tarinfo
from imagekit.root.write import write_root

__all__ = [
    "Boot",
    "Member",
    "Reference",
    "System",
    "brought",
    "check_able",
    "image_digest",
    "introduction",
    "is_layout",
    "lacking",
    "read_boot",
    "read_root",
    "system",
    "to_tarinfo",
    "write_boot",
    "write_kernel",
    "write_root",
]
