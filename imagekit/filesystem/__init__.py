"""File systems, made straight inside a disk file by the system's own tools, without root or mounts."""

from imagekit.filesystem import guestfs
from imagekit.filesystem.guestfs import CHECKS
from imagekit.filesystem.identity import filesystem_uuid, identity
from imagekit.filesystem.make import by_guestfs, make, tools
from imagekit.filesystem.parts import Part, read_part
from imagekit.filesystem.settings import TYPES, Lvm, Needs, Place, Settings, Type
from imagekit.filesystem.size import grouped, inodes, measure, settled, smallest
from imagekit.filesystem.staging import Staged, stage

__all__ = [
    "CHECKS",
    "TYPES",
    "Lvm",
    "Needs",
    "Part",
    "Place",
    "Settings",
    "Staged",
    "Type",
    "by_guestfs",
    "filesystem_uuid",
    "grouped",
    "guestfs",
    "identity",
    "inodes",
    "make",
    "measure",
    "read_part",
    "settled",
    "smallest",
    "stage",
    "tools",
]
