"""A VDI read back, to be compared with what was sent: GET /export_raw_vdi.

xapi-project/xen-api, ocaml/xapi/export_raw_vdi.ml: 200 comes first, the disk follows to the connection's end.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse

from imagekit.errors import PublishError
from imagekit.publish.xapi import handler
from imagekit.publish.xapi.session import LostError, Session
from imagekit.sparse import BLOCK, BlockMap


@dataclass(frozen=True)
class Reader:
    """Reads VDIs of a pool. `silence`: seconds that a host may send nothing."""

    session: Session
    tasks: handler.Tasks
    silence: float
    go_on: Callable[[], None]

    def compare(self, vdi: str, size: int, blocks: BlockMap) -> None:
        """Hold a VDI of `size` bytes against a disk's blocks, in 512 KiB of memory.

        PublishError when it is another disk, LostError when it was not read whole.
        """
        with self.tasks.one() as task:
            given = {"session_id": self.session.handle, "task_id": task, "vdi": vdi, "format": "raw"}
            request = handler.Request("GET", "/export_raw_vdi", given)
            with closing(handler.opened(self.session, request, self.silence)) as exchange:
                self._compare(_pieces(exchange.answer, size), blocks)

    def _compare(self, pieces: Iterator[bytes], blocks: BlockMap) -> None:
        expected = dict(blocks.blocks)
        for index, piece in enumerate(pieces):
            self.go_on()
            within = max(0, blocks.length - index * BLOCK)
            image, padding = piece[:within], piece[within:]
            seen = hashlib.sha256(image).digest() if image.strip(b"\0") else None
            if seen != expected.get(index) or padding.strip(b"\0"):
                raise PublishError(
                    "the disk in the pool is not the one that was sent",
                    details=f"its task said success; they differ in the 512 KiB from byte {index * BLOCK}",
                    hint="look after that storage repository before you trust it; --sr names another one",
                )


def _pieces(answer: HTTPResponse, size: int) -> Iterator[bytes]:
    """Yield a disk of `size` bytes in pieces of 512 KiB."""
    for at in range(0, size, BLOCK):
        wanted = min(BLOCK, size - at)
        try:
            piece = answer.read(wanted)
        except (OSError, HTTPException) as error:
            raise LostError("reading the disk back broke off", details=str(error)) from error
        if len(piece) < wanted:
            raise LostError("reading the disk back broke off", details=f"{at + len(piece)} of {size} bytes came")
        yield piece
