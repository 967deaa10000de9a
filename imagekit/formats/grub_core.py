"""What is in GRUB 2's core.img for a BIOS: the modules, and the folder where it looks for grub.cfg.

The format is GRUB 2.06's (include/grub/offsets.h, kernel.h; util/mkimage.c), all numbers little-endian:

    core.img    a sector that loads the rest, then a program that unpacks the rest. From its byte 8 on: the length
                of what is packed, and unpacked. What is packed is raw LZMA, and ends the file.
    unpacked    GRUB's kernel, then "mimg", an offset and a size, both from there; at the offset objects, each
                with its type and its length, these 8 bytes included. 0: a module, ELF of 32 bits, whose section
                .modname names it. 2: commands that run before grub.cfg is looked for. 3: the folder. Both are
                ended by a NUL.
"""

import lzma
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

_SECTOR = 512
_LENGTHS_AT = _SECTOR + 8
_LARGEST = 8 << 20  # bytes, unpacked; memory below 1 MiB holds it packed
_FILTER = {"id": lzma.FILTER_LZMA1, "dict_size": 1 << 16, "lc": 3, "lp": 0, "pb": 2}
_SPARE = 8  # zeros that the range coder may end with
_MAGIC = b"mimg"
_MODULE, _CONFIG, _PREFIX = 0, 2, 3
_PAIR, _INFO, _SECTION = struct.Struct("<II"), struct.Struct("<4sII"), struct.Struct("<10I")
_SECTIONS_AT, _NUMBERS_AT = 32, 48


@dataclass(frozen=True, slots=True)
class Core:
    """A core's modules in their order, its folder, such as (hd0,msdos1)/boot/grub, and its commands."""

    modules: tuple[str, ...]
    prefix: str
    config: str = ""


def read_core(image: bytes) -> Core:
    """Return what is in a core.img, which may be followed by zeros; ValueError for what is none."""
    modules: list[str] = []
    prefix = config = ""
    try:
        for kind, content in _objects(_unpacked(image)):
            if kind == _MODULE:
                modules.append(_text(_section(content, ".modname")))
            elif kind == _PREFIX:
                prefix = _text(content)
            elif kind == _CONFIG:
                config += _text(content)
    except (struct.error, lzma.LZMAError, EOFError) as error:
        raise ValueError(f"no core of GRUB's: {error}") from error
    return Core(tuple(modules), prefix, config)


def _unpacked(image: bytes) -> bytes:
    packed, length = _PAIR.unpack_from(image, _LENGTHS_AT)
    if not 0 < packed < len(image) or not 0 < length <= _LARGEST:
        raise ValueError(f"no core of GRUB's: {packed} bytes that unpack to {length}")
    for end in _ends(image, packed):
        decoder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[_FILTER])
        found = b""
        try:
            found = decoder.decompress(image[end - packed : end], length)
        except lzma.LZMAError:
            continue
        if len(found) == length:
            return found
    raise ValueError(f"no core of GRUB's: nothing unpacks to {length} bytes")


def _ends(image: bytes, packed: int) -> range:
    """Return where the packed bytes may end: where the zeros begin, or a little behind, as some may be its own."""
    end = max(len(image.rstrip(b"\0")), packed)
    return range(end, min(end + _SPARE, len(image)) + 1)


def _objects(kernel: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the type and the content of each object."""
    at, start, size = _info(kernel)
    place, end = at + start, at + size
    while place < end:
        kind, length = _PAIR.unpack_from(kernel, place)
        if not _PAIR.size <= length <= end - place:
            raise ValueError(f"no core of GRUB's: an object of {length} bytes")
        yield kind, kernel[place + _PAIR.size : place + length]
        place += length


def _info(kernel: bytes) -> tuple[int, int, int]:
    """Return where the objects' head is, their offset and size; its mark alone is in GRUB's own code, too."""
    for match in re.finditer(_MAGIC, kernel):
        at = match.start()
        if at + _INFO.size <= len(kernel):
            _, start, size = _INFO.unpack_from(kernel, at)
            if _INFO.size <= start <= size <= len(kernel) - at:
                return at, start, size
    raise ValueError("no core of GRUB's: it has no modules")


def _section(module: bytes, name: str) -> bytes:
    """Return the content of a section of a 32-bit ELF file."""
    (table,) = struct.unpack_from("<I", module, _SECTIONS_AT)
    count, names = struct.unpack_from("<HH", module, _NUMBERS_AT)
    strings = _SECTION.unpack_from(module, table + names * _SECTION.size)[4]
    for number in range(count):
        section = _SECTION.unpack_from(module, table + number * _SECTION.size)
        if module.startswith(name.encode() + b"\0", strings + section[0]):
            return module[section[4] : section[4] + section[5]]
    raise ValueError(f"no core of GRUB's: a module without {name}")


def _text(content: bytes) -> str:
    return content.partition(b"\0")[0].decode("ascii", "replace")
