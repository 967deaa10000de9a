"""An image to an XVA, its length known before the image is read.

ova.xml, then the disk in chunks of 1 MiB, REFERENCE/NUMBER, each with its SHA-1 beside it. A chunk of zeros is
left out, but for the first, which tells the chunks' size, and the last, which tells the end (xen-api,
ocaml/xapi/stream_vdi.ml).
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

from imagekit.errors import TryAgainError
from imagekit.formats.xapi import DIGEST, Appliance
from imagekit.formats.xva import tar
from imagekit.formats.xva.packing import Packing, pack
from imagekit.formats.xva.records import ova_xml
from imagekit.sparse import BLOCK, BlockMap, ReadAt

CHUNK = 1 << 20
"""Bytes of a chunk."""

_SUM = ".checksum"
_SHA1 = 40  # hexadecimal digits


@dataclass(frozen=True, slots=True)
class Archive:
    """An XVA to be made: all of it but the image's data.

    The disk's bytes are `size`, a multiple of 512; `chunks` are the numbers of those that are written.
    """

    header: bytes
    disk: str
    size: int
    chunks: tuple[int, ...]

    @property
    def length(self) -> int:
        """The bytes of the XVA, not packed."""
        disk = sum(tar.space(self._length(number)) for number in self.chunks)
        return tar.space(len(self.header)) + disk + len(self.chunks) * tar.space(_SHA1) + len(tar.END)

    def pieces(self, read_at: ReadAt) -> Iterator[bytes]:
        """Yield the XVA in order, the image's data by `read_at`; TryAgainError when the image became shorter."""
        yield tar.padded("ova.xml", self.header)
        for number in self.chunks:
            name, length = f"{self.disk}/{number:08}", self._length(number)
            data = read_at(number * CHUNK, length)
            if len(data) != length:
                raise TryAgainError("the image became shorter while it was read")
            digest = hashlib.sha1(data, usedforsecurity=False).hexdigest()
            yield tar.header(name, length)
            yield data
            yield tar.padding(length) + tar.padded(name + _SUM, digest.encode())
        yield tar.END

    def packed(self, read_at: ReadAt, packing: Packing) -> Iterator[bytes]:
        """Yield the XVA packed as a whole."""
        return pack(self.pieces(read_at), packing)

    def _length(self, number: int) -> int:
        return min(CHUNK, self.size - number * CHUNK)


def archive(appliance: Appliance, image: BlockMap) -> Archive:
    """Return the XVA of a machine with this image: equal ones for equal images, wherever their holes are.

    The image's digest is noted in `other_config` of machine and disk. ValueError when the image is empty, or not
    of whole sectors of 512 bytes.
    """
    if not image.length or image.length % tar.BLOCK:
        raise ValueError("a disk is a whole number of sectors, and one at least")
    named = replace(appliance, other_config={**appliance.other_config, DIGEST: image.digest})
    header, disk = ova_xml(named, image.digest, image.length)
    last = (image.length - 1) // CHUNK
    chunks = {0, last, *(index * BLOCK // CHUNK for index, _ in image.blocks)}
    return Archive(header, disk, image.length, tuple(sorted(chunks)))
