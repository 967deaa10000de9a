"""Multiboot headers, as GRUB looks for them.

Formats: Multiboot Specification 0.6.96 and 2.0, section 3.1: in the first 8 KiB on a 4-byte boundary, and in the
first 32 KiB on an 8-byte one. A header's words up to its checksum sum to 0 modulo 2^32. Of the first one's flags
the low 16 are demands; GRUB 2.06 meets pages (0), memory (1) and video (2), and refuses a kernel for the rest
(grub-core/loader/i386/multiboot_mbi.c, UNSUPPORTED_FLAGS).

The second one has an architecture (0: i386), its length, and tags behind the checksum, each on an 8-byte boundary:
type, flags (bit 0: optional), size with these 8 bytes. GRUB 2.06 refuses a kernel for a tag that it does not know
and may not leave out, for a kind of information of which the same is true, for a place to be loaded at without an
entry there, and for a console that must be there and cannot be VGA's text (grub-core/loader/multiboot_mbi2.c). It
goes on behind the header's length to a tag of type 0; here that tag must be in the header, as the format says.
"""

import struct
from collections.abc import Iterator

from imagekit.kernel.stream import Readable

_MAGIC_1, _WITHIN_1, _ALIGN_1, _WORDS_1 = 0x1BADB002, 8 * 1024, 4, 3
_UNMET = 0x0000FFF8
_MAGIC_2, _WITHIN_2, _ALIGN_2, _WORDS_2 = 0xE85250D6, 32 * 1024, 8, 4
_I386, _NO_TAG = bytes(4), bytes(2)
_TAG, _TAG_ALIGN = struct.Struct("<HHI"), 8
_END, _REQUEST, _ADDRESS, _ENTRY, _CONSOLE, _FRAMEBUFFER = range(6)
# And: the alignment of modules, EFI's services, its 64-bit entry, where to be loaded. Not its 32-bit entry, 8.
_KNOWN = {_REQUEST, _ADDRESS, _ENTRY, _CONSOLE, _FRAMEBUFFER, 6, 7, 9, 10}
_TOLD = set(range(22)) - {13}  # the kinds of information; 13 is SMBIOS's tables
_OPTIONAL, _REQUIRED, _TEXT = 1, 1, 2  # the bits of a tag's flags; of a console's

_Tag = tuple[int, int, bytes]
"""A tag's type, flags and content."""


def has_multiboot(image: Readable) -> bool:
    """Tell whether the image has a header of the first Multiboot that asks for no more than GRUB has."""
    head = bytes(image[:_WITHIN_1])
    at = next(_headers(head, _MAGIC_1, _ALIGN_1, _WORDS_1), None)
    return at is not None and not int.from_bytes(head[at + 4 : at + 8], "little") & _UNMET


def has_multiboot2(image: Readable) -> bool:
    """Tell whether the image has a whole header of Multiboot 2 for i386 that asks for no more than GRUB has."""
    head = bytes(image[:_WITHIN_2])
    for at in _headers(head, _MAGIC_2, _ALIGN_2, _WORDS_2):
        if head[at + 4 : at + 8] == _I386:
            tags = list(_tags(head, at))
            return bool(tags) and tags[-1][0] == _END and _are_met(tags[:-1])
    return False


def _headers(head: bytes, magic: int, align: int, words: int) -> Iterator[int]:
    """Yield where headers begin; GRUB looks at no other one than the first that is for its architecture."""
    start = -1
    while (start := head.find(magic.to_bytes(4, "little"), start + 1)) >= 0:
        header = head[start : start + 4 * words]
        if start % align == 0 and len(header) == 4 * words and _sum(header) == 0:
            yield start


def _tags(head: bytes, at: int) -> Iterator[_Tag]:
    """Yield a header's tags; the last is the end, known by its type alone, or else the header is cut short."""
    end = min(len(head), at + int.from_bytes(head[at + 8 : at + 12], "little"))
    place = at + 4 * _WORDS_2
    while place + len(_NO_TAG) <= end:
        if head.startswith(_NO_TAG, place):
            yield _END, 0, b""
            return
        kind, flags, size = _TAG.unpack_from(head, place) if end - place >= _TAG.size else (0, 0, 0)
        if not _TAG.size <= size <= end - place:
            return
        yield kind, flags, head[place + _TAG.size : place + size]
        place += -(-size // _TAG_ALIGN) * _TAG_ALIGN


def _are_met(tags: list[_Tag]) -> bool:
    kinds = {kind for kind, _, _ in tags}
    return (
        all(kind in _KNOWN or flags & _OPTIONAL for kind, flags, _ in tags)
        and all(_is_told(content) for kind, flags, content in tags if kind == _REQUEST and not flags & _OPTIONAL)
        and (_ADDRESS not in kinds or _ENTRY in kinds)
        and (
            _FRAMEBUFFER in kinds or not _lacks_console([content for kind, _, content in tags if kind == _CONSOLE])
        )
    )


def _is_told(request: bytes) -> bool:
    """Tell whether GRUB has all the information that is asked for, by a number of 32 bits for each kind."""
    return {kind for (kind,) in struct.iter_unpack("<I", request[: len(request) // 4 * 4])} <= _TOLD


def _lacks_console(consoles: list[bytes]) -> bool:
    """Tell whether a console must be there, and may not be VGA's text: without a framebuffer there is no other."""
    flags = [int.from_bytes(content[:4], "little") for content in consoles]
    return any(one & _REQUIRED for one in flags) and not all(one & _TEXT for one in flags)


def _sum(header: bytes) -> int:
    return sum(int.from_bytes(header[at : at + 4], "little") for at in range(0, len(header), 4)) & 0xFFFFFFFF
