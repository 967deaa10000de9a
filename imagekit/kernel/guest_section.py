"""The section __xen_guest: what kernels told Xen before there were notes, as one text "NAME=value,NAME=value".

Mirage kernels of 2014 to 2017 have only this. Format: Xen's `xen/common/libelf/libelf-dominfo.c`, in
elf_xen_parse_guest_info.
"""

import re

from imagekit.kernel.elf import Elf
from imagekit.kernel.notes import Note, Told, read_text

_TEXTS = {
    "LOADER": Note.LOADER,
    "GUEST_OS": Note.GUEST_OS,
    "GUEST_VER": Note.GUEST_VERSION,
    "XEN_VER": Note.XEN_VERSION,
    "PAE": Note.PAE_MODE,
    "FEATURES": Note.FEATURES,
}
_NUMBERS = {
    "VIRT_BASE": Note.VIRT_BASE,
    "VIRT_ENTRY": Note.ENTRY,
    "ELF_PADDR_OFFSET": Note.PADDR_OFFSET,
    "HYPERCALL_PAGE": Note.HYPERCALL_PAGE,
}
_HEXADECIMAL, _OCTAL, _DECIMAL = re.compile("0[xX]([0-9a-fA-F]+)"), re.compile("0[0-7]*"), re.compile("[0-9]+")
_PAGE_SHIFT = 12
_MASK = (1 << 64) - 1


def read_guest_section(elf: Elf) -> Told | None:
    """Return what the kernel's section __xen_guest tells; None if it has none."""
    section = elf.section(b"__xen_guest")
    if section is None:
        return None
    values: dict[Note, int | str] = {}
    for pair in read_text(elf, section.offset).split(","):
        name, _, value = pair.partition("=")
        if name in _TEXTS:
            values[_TEXTS[name]] = value
        elif name in _NUMBERS:
            values[_NUMBERS[name]] = _number(value)
    told = Told("__xen_guest", values)
    page = told.number(Note.HYPERCALL_PAGE)
    if page is not None:
        # It is a page here, counted from VIRT_BASE, and an address in a note.
        values[Note.HYPERCALL_PAGE] = ((page << _PAGE_SHIFT) + (told.number(Note.VIRT_BASE) or 0)) & _MASK
    return told


def _number(value: str) -> int:
    """Read a number as C's strtoull does: 0x, 0 and plain; what follows it is passed over."""
    if found := _HEXADECIMAL.match(value):
        return int(found[1], 16) & _MASK
    if found := _OCTAL.match(value):
        return int(found[0], 8) & _MASK
    found = _DECIMAL.match(value)
    return int(found[0]) & _MASK if found else 0
