"""Reads a kernel: file, wrappings, container, ELF, notes."""

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from stat import S_ISREG

from imagekit.errors import KernelError
from imagekit.kernel.bzimage import is_bzimage, unpack_payload
from imagekit.kernel.elf import MAGIC, Elf
from imagekit.kernel.facts import KernelFacts, Kind
from imagekit.kernel.guest_section import read_guest_section
from imagekit.kernel.multiboot import has_multiboot, has_multiboot2
from imagekit.kernel.notes import Note, Told, read_notes
from imagekit.kernel.stream import Readable
from imagekit.kernel.wrapping import LIMIT, unpack

LARGEST = 512 << 20
"""Bytes of the largest file that we read as a kernel."""

_USTAR, _USTAR_AT = b"ustar", 257

_KINDS = {
    (True, True): Kind.BOTH,
    (True, False): Kind.PV,
    (False, True): Kind.PVH,
    (False, False): Kind.NONE,
}


def read_kernel(path: Path) -> KernelFacts:
    """Read a file as a kernel.

    KernelError (exit 3): not readable, no kernel, damaged, cut short, or larger than any kernel, packed or not.
    TryAgainError (exit 75): no room for temporary files.
    """
    try:
        with mapped(path) as data:
            return read_kernel_bytes(data)
    except KernelError as error:
        raise KernelError(f"{path}: {error.brief}", details=error.details, hint=error.hint) from error
    except OSError as error:
        raise KernelError(f"{path}: cannot be read", details=error.strerror or str(error)) from error


def read_kernel_bytes(data: Readable) -> KernelFacts:
    """Read a kernel that is at hand; errors as of `read_kernel`."""
    image, compression = unpack(data)
    content, payload = image, None
    if is_bzimage(image):
        content, payload = unpack_payload(image, LIMIT - (len(image) if compression else 0))
    elf = _elf(content)
    told = read_notes(elf) or read_guest_section(elf) or Told(None, {})
    entry = told.number(Note.ENTRY)
    return KernelFacts(
        kind=_KINDS[told.is_pv, told.is_pvh],
        bits=elf.bits,
        machine=elf.machine,
        container="bzimage" if payload else "elf",
        compression=compression,
        payload=payload,
        # Xen begins at the ELF header's entry where the kernel tells none.
        entry=elf.entry if told.is_pv and entry is None else entry,
        phys32_entry=told.number(Note.PHYS32_ENTRY),
        virt_base=told.number(Note.VIRT_BASE),
        paddr_offset=told.number(Note.PADDR_OFFSET),
        hypercall_page=told.number(Note.HYPERCALL_PAGE),
        guest_os=told.text(Note.GUEST_OS),
        guest_version=told.text(Note.GUEST_VERSION),
        xen_version=told.text(Note.XEN_VERSION),
        loader=told.text(Note.LOADER),
        pae=told.text(Note.PAE_MODE),
        features=told.features,
        notes_from=told.source,
        multiboot=has_multiboot(image),
        multiboot2=has_multiboot2(image),
        memory=elf.memory(),
        size=len(data),
        unpacked_size=len(content),
    )


def _elf(content: Readable) -> Elf:
    if bytes(content[_USTAR_AT : _USTAR_AT + len(_USTAR)]) == _USTAR:
        raise KernelError("a tar, and no kernel", hint="root.from in a recipe takes the tar of a system")
    if bytes(content[: len(MAGIC)]) != MAGIC:
        raise KernelError(
            "no kernel",
            details=f"it begins with {bytes(content[:8]).hex(' ')}" if len(content) else "it is empty",
            hint="give an ELF file or a Linux bzImage, plain or packed by gzip, bzip2, xz, lzma, lzo, lz4 or zstd",
        )
    return Elf(content)


@contextmanager
def mapped(path: Path) -> Iterator[Readable]:
    """Lend a file's bytes; KernelError for what is no file, or too large for a kernel."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO would keep us waiting
    try:
        status = os.fstat(descriptor)
        if not S_ISREG(status.st_mode):
            raise KernelError(
                "no file, and so no kernel", hint="root.from in a recipe takes the folder of a system"
            )
        if status.st_size > LARGEST:
            raise KernelError("too large for a kernel", details=f"{status.st_size} bytes, over {LARGEST}")
        data = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) if status.st_size else None
    finally:
        os.close(descriptor)
    if data is None:
        yield b""  # nothing cannot be mapped
    else:
        with data:
            yield data
