"""File systems, made straight inside a disk file by the system's own tools, without root or mounts."""

from imagekit.filesystem.identity import filesystem_uuid, identity
from imagekit.filesystem.make import make, tools
from imagekit.filesystem.settings import TYPES, Needs, Place, Settings, Type
from imagekit.filesystem.size import measure, settled, smallest
from imagekit.filesystem.staging import Staged, stage

__all__ = [
    "TYPES",
    "Needs",
    "Place",
    "Settings",
    "Staged",
    "Type",
    "filesystem_uuid",
    "identity",
    "make",
    "measure",
    "settled",
    "smallest",
    "stage",
    "tools",
]
