"""Linux's bzImage: a real-mode header, and a packed ELF file behind it.

Format: Linux `Documentation/arch/x86/boot.rst`. The payload's place is told since protocol 2.08, and Xen reads it
as we do (`tools/libs/guest/xg_dom_bzimageloader.c`).
"""

import struct

from imagekit.errors import KernelError
from imagekit.kernel.stream import Readable
from imagekit.kernel.wrapping import unpack_part

_MAGIC_AT, _MAGIC = 0x202, b"HdrS"
_SETUP_SECTORS_AT = 0x1F1
_VERSION_AT = 0x206
_PAYLOAD_AT = 0x248
_HEADER = 0x250  # up to the payload's length
_OLDEST = 0x0208
_SECTOR = 512


def is_bzimage(data: Readable) -> bool:
    """Tell whether this is a Linux kernel of the x86 boot protocol."""
    return bytes(data[_MAGIC_AT : _MAGIC_AT + len(_MAGIC)]) == _MAGIC


def unpack_payload(data: Readable, limit: int) -> tuple[Readable, str]:
    """Return a bzImage's ELF file, at most `limit` bytes, and how it was packed.

    KernelError: too old to have a place for it, damaged, cut short, or larger than the limit.
    """
    start, stop = _payload(data)
    elf, packing = unpack_part(data, start, stop, limit)
    # Linux appends the size of what is packed, as gzip does anyway. Xen allocates by it, so it has to be right.
    (said,) = struct.unpack("<I", bytes(data[stop - 4 : stop]))
    if said != len(elf):
        raise KernelError(
            "the bzImage's payload is damaged",
            details=f"it should unpack to {said} bytes and gives {len(elf)}",
            hint="fetch or build the file again",
        )
    return elf, packing


def _payload(data: Readable) -> tuple[int, int]:
    if len(data) < _HEADER:
        raise KernelError("a bzImage that is cut short", details=f"it ends after {len(data)} bytes, in its header")
    (version,) = struct.unpack_from("<H", data, _VERSION_AT)
    if version < _OLDEST:
        raise KernelError(
            f"a bzImage of boot protocol {version >> 8}.{version & 0xFF:02}",
            hint="Xen needs 2.08 or later (Linux 2.6.24): give it the kernel's vmlinux instead",
        )
    offset, length = struct.unpack_from("<II", data, _PAYLOAD_AT)
    start = (data[_SETUP_SECTORS_AT] + 1) * _SECTOR + offset
    if length < struct.calcsize("<I") or start + length > len(data):
        raise KernelError(
            "a bzImage that is cut short",
            details=f"its payload is {length} bytes at {start}, the file ends at {len(data)}",
            hint="fetch or build the file again",
        )
    return start, start + length
