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
from imagekit.sparse import BLOCK, BlockMap, digest_file, map_blocks
from imagekit.unwrap import unwrapped

_PIECE = 2 << 20


@dataclass(frozen=True)
class Goods:
    """The disk, raw; its blocks; and the VHD that the artifact is, if it is one."""

    disk: Path
    blocks: BlockMap
    packed: Path | None

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
            return Upload("raw", self.size, lambda: _read(self.disk, self.size))
        if self.packed is not None:
            packed, length = self.packed, self.packed.stat().st_size
            return Upload("vhd", length, lambda: _read(packed, length))
        made = vhd.layout(self.blocks, 0)

        def pieces() -> Iterator[bytes]:
            with self.disk.open("rb") as file:
                yield from made.pieces(lambda offset, length: os.pread(file.fileno(), length, offset))

        return Upload("vhd", made.length, pieces)


@contextmanager
def goods(order: Order) -> Iterator[Goods]:
    """Lend the artifact's disk, checked; VerificationError when it is not what the sidecar says."""
    path, sidecar = order.path, order.sidecar
    changed = VerificationError(f"{path} is not what its sidecar describes", hint="build it again")
    if sidecar.file is not None and digest_file(path) != sidecar.file.digest:
        raise changed
    with unwrapped(path, None) as disk:
        blocks = map_blocks(disk)
        if blocks.digest != sidecar.digest:
            raise changed
        is_vhd = sidecar.file is not None and sidecar.file.form == "vhd"
        yield Goods(disk, blocks, path if is_vhd else None)


def _read(path: Path, length: int) -> Iterator[bytes]:
    """Yield so many bytes of a file, zeros past its end."""
    with path.open("rb", buffering=0) as file:
        for at in range(0, length, _PIECE):
            size = min(_PIECE, length - at)
            yield os.pread(file.fileno(), size, at).ljust(size, b"\0")
