"""Takes the wrappings off a kernel, within bounds.

Layers are undone as one chain of streams, and only the innermost is kept: in an unnamed temporary file, mapped. So
a bomb costs a dictionary and some disk, not memory: under 200 MB in all, whatever the file holds.
"""

import mmap
import tempfile
from collections.abc import Iterable, Iterator

from imagekit.errors import KernelError, TryAgainError
from imagekit.kernel.packing import HEAD, packing_of
from imagekit.kernel.stream import Budget, Readable, chunks, peek

LIMIT = 128 << 20
"""Bytes that the layers of one file may unpack to, together. Debian 12's kernel is 63 MiB, a unikernel a few."""

_LAYERS = 3


def unpack(data: Readable, limit: int = LIMIT) -> tuple[Readable, tuple[str, ...]]:
    """Return what is inside all wrappings, and their names, outermost first.

    Data that are not packed come back as they are. All layers together may give `limit` bytes. KernelError:
    damaged, more than the limit, or more than three layers; TryAgainError: no room for temporary files.
    """
    stream, names = _peeled(chunks(data), Budget(limit))
    return (_kept(stream), names) if names else (data, ())


def unpack_part(data: Readable, start: int, stop: int, limit: int) -> tuple[Readable, str]:
    """Return what is packed in data[start:stop], and how; KernelError as for `unpack`, or if it is not packed."""
    head = bytes(data[start : min(start + HEAD, stop)])
    packing = packing_of(head)
    if packing is None:
        raise KernelError("packed in a way that Xen does not know", details=f"it begins with {head.hex(' ')}")
    return _kept(Budget(limit).metered(packing.undo(chunks(data, start, stop)))), packing.name


def _peeled(stream: Iterator[bytes], budget: Budget) -> tuple[Iterator[bytes], tuple[str, ...]]:
    names: list[str] = []
    head, stream = peek(stream, HEAD)
    while packing := packing_of(head):
        if len(names) == _LAYERS:
            raise KernelError(
                f"packed more than {_LAYERS} times", details=" in ".join([packing.name, *names[::-1]])
            )
        names.append(packing.name)
        head, stream = peek(budget.metered(packing.undo(stream)), HEAD)
    return stream, tuple(names)


def _kept(stream: Iterable[bytes]) -> Readable:
    try:
        with tempfile.TemporaryFile(prefix="imagekit-") as file:
            file.writelines(stream)
            file.flush()
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if file.tell() else b""
    except OSError as error:
        raise TryAgainError(
            "no room to unpack the kernel", details=str(error), hint="free some space, or set TMPDIR"
        ) from error
