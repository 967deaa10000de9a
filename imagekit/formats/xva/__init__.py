"""XVA, what `xe vm-export` writes and `xe vm-import` reads: a tar of ova.xml and of the disks in chunks.

`write` makes one of an image, `read` takes any apart as a stream; `records` and `facts` know ova.xml, `xmlrpc`,
`tar` and `packing` one form each.
"""

from imagekit.formats.xva.facts import Disk, Facts, Machine, Version
from imagekit.formats.xva.packing import Packing
from imagekit.formats.xva.read import Extent, Xva
from imagekit.formats.xva.write import CHUNK, Archive, archive

__all__ = ["CHUNK", "Archive", "Disk", "Extent", "Facts", "Machine", "Packing", "Version", "Xva", "archive"]
