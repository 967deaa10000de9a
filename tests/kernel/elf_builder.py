"""Builds small ELF kernels and what wraps them, from nothing but struct: for tests that need odd ones."""

import bz2
import gzip
import lzma
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import lz4.block
import zstandard
from lzallright import LZOCompressor

PT_LOAD, PT_NOTE = 1, 4
SHT_PROGBITS, SHT_STRTAB, SHT_NOTE = 1, 3, 7
EM_386, EM_X86_64, EM_AARCH64 = 3, 62, 183
EHDR = {32: "16sHHIIIIIHHHHHH", 64: "16sHHIQQQIHHHHHH"}
PHDR = {32: "IIIIIIII", 64: "IIQQQQQQ"}
SHDR = {32: "IIIIIIIIII", 64: "IIQQQQIIQQ"}


@dataclass(frozen=True)
class Segment:
    """A program header to be; its content is put into the file unless offset and size are given."""

    type: int = PT_LOAD
    content: bytes = b""
    physical: int = 0
    memory: int | None = None
    flags: int = 7
    offset: int | None = None
    size: int | None = None


@dataclass(frozen=True)
class Section:
    """A section header to be, and its content."""

    name: str
    content: bytes
    type: int = SHT_PROGBITS


@dataclass(frozen=True)
class Builder:
    """An ELF file to be: `build()` lays out header, program headers, contents, section headers."""

    segments: tuple[Segment, ...] = (Segment(content=b"\x90" * 64),)
    sections: tuple[Section, ...] = ()
    bits: int = 64
    order: str = "<"
    machine: int = EM_X86_64
    entry: int = 0
    header: Mapping[int, int] = field(default_factory=dict)
    """Fields of the ELF header to overwrite, by their place in it."""

    def build(self) -> bytes:
        table = struct.calcsize("<" + EHDR[self.bits])
        at = table + len(self.segments) * struct.calcsize("<" + PHDR[self.bits])
        headers, contents = b"", b""
        for segment in self.segments:
            headers += self._segment(segment, at + len(contents))
            contents += segment.content
        names = b"\0" + b"".join(s.name.encode() + b"\0" for s in self.sections) + b".shstrtab\0"
        sections = (*self.sections, Section(".shstrtab", names, SHT_STRTAB)) if self.sections else ()
        section_headers = struct.pack(self.order + SHDR[self.bits], *[0] * 10) if sections else b""
        for section in sections:
            name = names.index(b"\0" + section.name.encode() + b"\0") + 1
            place = (0, 0, at + len(contents), len(section.content))
            section_headers += struct.pack(self.order + SHDR[self.bits], name, section.type, *place, 0, 0, 1, 0)
            contents += section.content
        count = len(sections) + 1 if sections else 0
        return self._header(at + len(contents), count) + headers + contents + section_headers

    def _header(self, sections: int, count: int) -> bytes:
        ident = b"\x7fELF" + bytes((self.bits // 32, "<>".index(self.order) + 1, 1)) + bytes(9)
        sizes = {name: struct.calcsize("<" + name) for name in (EHDR[self.bits], PHDR[self.bits], SHDR[self.bits])}
        elf_size, segment_size, section_size = sizes.values()
        fields = [2, self.machine, 1, self.entry, elf_size, sections if count else 0, 0, elf_size]
        fields += [segment_size, len(self.segments), section_size, count, max(count - 1, 0)]
        for place, value in self.header.items():
            fields[place] = value
        return struct.pack(self.order + EHDR[self.bits], ident, *fields)

    def _segment(self, segment: Segment, at: int) -> bytes:
        offset = at if segment.offset is None else segment.offset
        size = len(segment.content) if segment.size is None else segment.size
        memory = size if segment.memory is None else segment.memory
        place = (offset, segment.physical, segment.physical, size, memory)
        fields = (segment.flags, *place) if self.bits == 64 else (*place, segment.flags)
        return struct.pack(self.order + PHDR[self.bits], segment.type, *fields, 4)


def note(
    number: int, value: int | str | bytes, *, order: str = "<", size: int = 8, owner: bytes = b"Xen\0"
) -> bytes:
    """A note: a number of `size` bytes, or a text with its NUL."""
    content = value if isinstance(value, bytes) else b""
    if isinstance(value, int):
        content = value.to_bytes(size, "little" if order == "<" else "big")
    elif isinstance(value, str):
        content = value.encode() + b"\0"
    header = struct.pack(order + "III", len(owner), len(content), number)
    return header + owner + bytes(-len(owner) % 4) + content + bytes(-len(content) % 4)


def pv_notes(order: str = "<", size: int = 8) -> bytes:
    """The notes of a PV kernel, as Mini-OS has them."""
    texts = {6: "Mini-OS", 7: "1", 5: "xen-3.0", 8: "generic", 9: "yes", 10: "!writable_page_tables|dom0"}
    numbers = {3: 0x400000, 4: 0x1000, 1: 0x400040, 2: 0x401000}
    notes = [note(number, text, order=order) for number, text in texts.items()]
    return b"".join(notes + [note(n, value, order=order, size=size) for n, value in numbers.items()])


def pvh_notes() -> bytes:
    return note(18, 0x100020, size=4)


def kernel(notes: bytes, **changes: object) -> bytes:
    """An x86_64 kernel of one page with these notes in a segment."""
    segments = (Segment(content=b"\x90" * 64, physical=0x100000, memory=0x1000), Segment(PT_NOTE, notes))
    return Builder(**{"segments": segments, **changes}).build()  # type: ignore[arg-type]


def bzimage(payload: bytes, *, version: int = 0x020F, offset: int = 0x40, length: int | None = None) -> bytes:
    """A bzImage with one setup sector after the first and this payload."""
    image = bytearray(1024 + offset) + payload
    image[0x1F1] = 1
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", image, 0x206, version)
    struct.pack_into("<II", image, 0x248, offset, len(payload) if length is None else length)
    return bytes(image)


def sized(payload: bytes, size: int) -> bytes:
    """A payload with the unpacked size behind it, as Linux's build appends it to all but gzip's."""
    return payload + struct.pack("<I", size)


def lzop(data: bytes, *, flags: int = 1, block: int = 256 * 1024, version: int = 0x1040) -> bytes:
    """What lzop(1) writes, with the checksums that `flags` ask for."""
    header = struct.pack(">HHHBBIIIIB", version, 0x20A0, 0x0940, 3, 9, flags, 0o100644, 0, 0, 1) + b"k" + bytes(4)
    blocks = [_lzop_block(data[at : at + block], flags) for at in range(0, len(data), block)]
    return b"\x89LZO\0\r\n\x1a\n" + header + b"".join(blocks) + bytes(4)


def _lzop_block(data: bytes, flags: int) -> bytes:
    packed = min(LZOCompressor().compress(data), data, key=len)
    sums = struct.pack(">I", zlib.adler32(data)) if flags & 0x1 else b""
    sums += struct.pack(">I", zlib.crc32(data)) if flags & 0x100 else b""
    if len(packed) < len(data):
        sums += struct.pack(">I", zlib.adler32(packed)) if flags & 0x2 else b""
        sums += struct.pack(">I", zlib.crc32(packed)) if flags & 0x200 else b""
    return struct.pack(">II", len(data), len(packed)) + sums + packed


def lz4_legacy(data: bytes) -> bytes:
    """Return data packed as Linux packs a kernel by lz4, without the size that it appends."""
    blocks = [
        lz4.block.compress(data[at : at + (8 << 20)], store_size=False) for at in range(0, len(data), 8 << 20)
    ]
    return b"\x02\x21\x4c\x18" + b"".join(struct.pack("<I", len(block)) + block for block in blocks)


PACKERS: Mapping[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "lzo": lzop,
    "zstd": zstandard.ZstdCompressor(level=3).compress,
    "lz4": lz4_legacy,
}
