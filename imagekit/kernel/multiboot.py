"""Multiboot headers, as GRUB looks for them.

Formats: Multiboot Specification 0.6.96 and 2.0, section 3.1: in the first 8 KiB on a 4-byte boundary, and in the
first 32 KiB on an 8-byte one. A header's words up to its checksum sum to 0 modulo 2^32. Of the first one's flags
the low 16 are demands; GRUB 2.06 meets pages (0), memory (1) and video (2), and refuses a kernel for the rest
(grub-core/loader/i386/multiboot_mbi.c, UNSUPPORTED_FLAGS).
"""

from imagekit.kernel.stream import Readable

_MAGIC_1, _WITHIN_1, _ALIGN_1, _WORDS_1 = 0x1BADB002, 8 * 1024, 4, 3
_UNMET = 0x0000FFF8
_MAGIC_2, _WITHIN_2, _ALIGN_2, _WORDS_2 = 0xE85250D6, 32 * 1024, 8, 4


def has_multiboot(image: Readable) -> bool:
    """Tell whether the image has a header of the first Multiboot that asks for no more than GRUB has."""
    header = _found(bytes(image[:_WITHIN_1]), _MAGIC_1, _ALIGN_1, _WORDS_1)
    return header is not None and not int.from_bytes(header[4:8], "little") & _UNMET


def has_multiboot2(image: Readable) -> bool:
    """Tell whether the image has a header of Multiboot 2."""
    return _found(bytes(image[:_WITHIN_2]), _MAGIC_2, _ALIGN_2, _WORDS_2) is not None


def _found(head: bytes, magic: int, align: int, words: int) -> bytes | None:
    """Return the first header, the only one that GRUB looks at."""
    start = -1
    while (start := head.find(magic.to_bytes(4, "little"), start + 1)) >= 0:
        header = head[start : start + 4 * words]
        if start % align == 0 and len(header) == 4 * words and _sum(header) == 0:
            return header
    return None


def _sum(header: bytes) -> int:
    return sum(int.from_bytes(header[at : at + 4], "little") for at in range(0, len(header), 4)) & 0xFFFFFFFF
