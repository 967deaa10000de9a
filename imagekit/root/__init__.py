"""What goes into the file system, as one deterministic tar."""

from imagekit.root.tree import Member, Reference, read_root
from imagekit.root.write import write_root

__all__ = ["Member", "Reference", "read_root", "write_root"]
