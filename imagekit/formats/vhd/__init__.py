"""The VHD (virtual hard disk) as XenServer's own tools make it, and as anybody else does.

    made = layout(map_blocks(image), epoch)     its length is known; made.pieces(read_at) is the stream
    vhd = read_vhd(read_at, length)             fixed, dynamic or differencing

`footer` and `header` know one structure each, `write` and `read` the way through them, `file` the files.
"""

from imagekit.formats.vhd.file import map_chain, read_chain, read_file, take_out, write_file
from imagekit.formats.vhd.footer import LARGEST, Footer, Kind, geometry
from imagekit.formats.vhd.header import BLOCK, Header
from imagekit.formats.vhd.read import Extent, Vhd, read_vhd
from imagekit.formats.vhd.write import Layout, Parent, difference, disk_size, layout

__all__ = [
    "BLOCK",
    "LARGEST",
    "Extent",
    "Footer",
    "Header",
    "Kind",
    "Layout",
    "Parent",
    "Vhd",
    "difference",
    "disk_size",
    "geometry",
    "layout",
    "map_chain",
    "read_chain",
    "read_file",
    "read_vhd",
    "take_out",
    "write_file",
]
