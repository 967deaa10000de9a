"""Multiboot headers, as GRUB looks for them.

Formats: Multiboot Specification 0.6.96 and 2.0, section 3.1: in the first 8 KiB on a 4-byte boundary, and in the
first 32 KiB on an 8-byte one. A header's words up to its checksum sum to 0 modulo 2^32.
"""

from imagekit.kernel.stream import Readable

_MAGIC_1, _WITHIN_1, _ALIGN_1, _WORDS_1 = 0x1BADB002, 8 * 1024, 4, 3
_MAGIC_2, _WITHIN_2, _ALIGN_2, _WORDS_2 = 0xE85250D6, 32 * 1024, 8, 4


def has_multiboot(image: Readable) -> bool:
    """Tell whether the image has a header of the first Multiboot."""
    return _found(bytes(image[:_WITHIN_1]), _MAGIC_1, _ALIGN_1, _WORDS_1)


def has_multiboot2(image: Readable) -> bool:
    """Tell whether the image has a header of Multiboot 2."""
    return _found(bytes(image[:_WITHIN_2]), _MAGIC_2, _ALIGN_2, _WORDS_2)


def _found(head: bytes, magic: int, align: int, words: int) -> bool:
    start = -1
    while (start := head.find(magic.to_bytes(4, "little"), start + 1)) >= 0:
        header = head[start : start + 4 * words]
        if start % align == 0 and len(header) == 4 * words and _sum(header) == 0:
            return True
    return False


def _sum(header: bytes) -> int:
    return sum(int.from_bytes(header[at : at + 4], "little") for at in range(0, len(header), 4)) & 0xFFFFFFFF
