"""What is brought to a pool: an artifact's disk, checked, and as the bytes of an upload."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from imagekit.errors import VerificationError
from imagekit.formats import vhd
from imagekit.publish import Order
from imagekit.publish.xapi.importing import Upload
from imagekit.sparse import BLOCK, BlockMap, ReadAt, digest_file
from imagekit.unwrap import Disk, opened

_PIECE = 2 << 20


@dataclass(frozen=True)
class Goods:
    """The disk, and the VHD that the artifact is, if it is one."""

    disk: Disk
    packed: Path | None

    @property
    def blocks(self) -> BlockMap:
        """The disk's blocks."""
        return self.disk.blocks

    @property
    def size(self) -> int:
        """Bytes of the VDI that it needs: old hosts read to a boundary of 2 MiB."""
        return vhd.disk_size(self.blocks.length)

    @property
    def data(self) -> int:
        """Bytes of its blocks that are not empty."""
        return len(self.blocks.blocks) * BLOCK

    def upload(self, form: str) -> Upload:
        """Return what is sent, as `raw` or as `vhd`."""
        if form == "raw":
            return Upload("raw", self.size, lambda: _padded(self.disk.read_at, self.size))
        if self.packed is not None:
            packed, length = self.packed, self.packed.stat().st_size
            return Upload("vhd", length, lambda: _file(packed, length))
        made = vhd.layout(self.blocks, 0)
        return Upload("vhd", made.length, lambda: made.pieces(self.disk.read_at))


@contextmanager
def goods(order: Order) -> Iterator[Goods]:
    """Lend the artifact's disk, checked; VerificationError when it is not what the sidecar says."""
    path, sidecar = order.path, order.sidecar
    changed = VerificationError(f"{path} is not what its sidecar describes", hint="build it again")
    if sidecar.file is not None and digest_file(path) != sidecar.file.digest:
        raise changed
    with opened(path, None) as disk:
        if disk.blocks.digest != sidecar.digest:
            raise changed
        is_vhd = sidecar.file is not None and sidecar.file.form == "vhd"
        yield Goods(disk, path if is_vhd else None)


def _file(path: Path, length: int) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        yield from _padded(lambda offset, size: os.pread(file.fileno(), size, offset), length)


def _padded(read_at: ReadAt, length: int) -> Iterator[bytes]:
    """Yield so many bytes, zeros past the end of what is read."""
    for at in range(0, length, _PIECE):
        size = min(_PIECE, length - at)
        yield read_at(at, size).ljust(size, b"\0")
