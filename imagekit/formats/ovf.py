"""What OpenStack on XenServer calls `ovf`: a gzipped tar whose only member is the VHD, by the name 0.vhd.

    for piece in pieces(layout(image, epoch), read_at): …

openstack/os-xenapi, os_xenapi/dom0/etc/xapi.d/plugins/utils.py, unpacks it in dom0 and counts 0.vhd, 1.vhd… as a
chain, the newest first; any other name, even that of the folder, ends it with an error.
"""

import gzip
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from imagekit.errors import VerificationError
from imagekit.formats.vhd import LARGEST, Layout
from imagekit.formats.xva.packing import pack
from imagekit.formats.xva.tar import END, header, padding
from imagekit.sparse import ReadAt

MEMBER = "0.vhd"
_PIECE = 1 << 20
_END = 16 << 20  # bytes that may fill the last record up
_MOST = LARGEST + (LARGEST >> 8) + _PIECE  # bytes of the largest VHD there is: its bitmaps and tables come on top


def pieces(made: Layout, read_at: ReadAt) -> Iterator[bytes]:
    """Yield the file of a VHD, the same bytes every time; `read_at(offset, length)` reads the image."""
    return pack(_tar(made, read_at), "gzip")


def read(path: Path) -> Iterator[bytes]:
    """Yield the VHD in such a file; VerificationError for what is damaged, or holds anything else."""
    try:
        with gzip.open(path) as packed, tarfile.open(fileobj=packed, mode="r|") as archive:
            member = archive.next()
            if member is None or member.name != MEMBER or not member.isreg() or member.size > _MOST:
                raise VerificationError(f"{path} does not begin with a disk of the name {MEMBER}")
            file = archive.extractfile(member)
            assert file is not None  # noqa: S101 -- a plain file's
            left = member.size
            while left:
                piece = file.read(min(_PIECE, left))
                if not piece:
                    raise VerificationError(f"{path} ends too early")
                left -= len(piece)
                yield piece
            following = archive.next()
            if following is not None:
                raise VerificationError(
                    f"{path} holds more than one disk: a chain of VHDs", details=f"{following.name!r:.80}"
                )
            if any(packed.read(_END)):  # and with its end the checksum of all is read
                raise VerificationError(f"{path} goes on after its end")
    except (tarfile.TarError, zlib.error, EOFError, UnicodeError) as error:
        raise VerificationError(f"{path} is damaged: no gzipped tar", details=str(error)) from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise VerificationError(f"{path} is damaged: no gzip", details=str(error)) from error


def _tar(made: Layout, read_at: ReadAt) -> Iterator[bytes]:
    yield header(MEMBER, made.length)
    yield from made.pieces(read_at)
    yield padding(made.length) + END
