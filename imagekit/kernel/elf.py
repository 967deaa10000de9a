"""An ELF file's tables, read without trust.

pyelftools knows the layouts of the headers; the bounds are ours, because its own objects follow whatever a header
points to. Format: System V ABI, chapters 4 and 5 (`elf(5)`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from imagekit.errors import KernelError
from imagekit.kernel.layout import Layout, parsed
from imagekit.kernel.stream import Readable

MAGIC = b"\x7fELF"
NOTE_SEGMENT, LOAD_SEGMENT = "PT_NOTE", "PT_LOAD"
NOTE_SECTION = "SHT_NOTE"

_SEGMENTS = 128  # a kernel has fewer than ten
_NAME = 64  # bytes of a section's name that we look at
_ADDRESS_SPACE = 1 << 64
_X86 = {"EM_386": "i386"}
_READ_WRITE_EXECUTE = 7


@dataclass(frozen=True, slots=True)
class Segment:
    """A program header: what it is, its bytes in the file, and its place in memory."""

    type: str
    flags: int
    offset: int
    size: int
    physical: int
    memory: int


@dataclass(frozen=True, slots=True)
class Section:
    """A section header: what it is, and its bytes in the file."""

    type: str
    name: int
    offset: int
    size: int


class Elf:
    """An ELF file's header and tables; KernelError where they are damaged, cut short or beyond reason."""

    def __init__(self, data: Readable) -> None:
        self.data = data
        self._layout = Layout(data)
        self.bits, self.order = self._layout.bits, self._layout.order
        self._header = header = parsed(self._layout.file, data, 0)
        self.entry: int = header.e_entry
        self.segments = tuple(self._segments())
        # Xen refuses a kernel whose section table is not all there, even if it needs none of it.
        self._section_table = self._table(
            "section", self._layout.section, header.e_shoff, header.e_shnum, header.e_shentsize
        )

    @property
    def machine(self) -> str:
        """Its processor: "x86_64", "i386", "aarch64", or "machine 1234" for one without a name."""
        name = self._header.e_machine
        return _X86.get(name, name.removeprefix("EM_").lower()) if isinstance(name, str) else f"machine {name}"

    def memory(self) -> int:
        """Return the bytes from the first loaded byte to the last, in physical memory; 0 if nothing is loaded."""
        loaded = [segment for segment in self.segments if segment.type == LOAD_SEGMENT]
        # Xen passes over what is neither readable, writable nor executable (libelf, elf_phdr_is_loadable).
        loaded = [segment for segment in loaded if segment.flags & _READ_WRITE_EXECUTE]
        low = min((segment.physical for segment in loaded), default=0)
        return max((segment.physical + segment.memory for segment in loaded), default=low) - low

    @cached_property
    def sections(self) -> tuple[Section, ...]:
        """The section headers but the first, which is none."""
        found = (parsed(self._layout.section, self.data, at) for at in self._section_table[1:])
        return tuple(Section(str(s.sh_type), s.sh_name, s.sh_offset, s.sh_size) for s in found)

    def section(self, name: bytes) -> Section | None:
        """Return the first section of that name."""
        names = self._header.e_shstrndx - 1
        if not 0 <= names < len(self.sections):
            return None
        table = self.sections[names].offset
        return next((section for section in self.sections if self._name(table + section.name) == name), None)

    def _name(self, at: int) -> bytes:
        return bytes(self.data[at : at + _NAME]).partition(b"\0")[0]

    def _segments(self) -> Iterator[Segment]:
        struct, header = self._layout.segment, self._header
        if not 0 < header.e_phnum <= _SEGMENTS:
            raise KernelError(
                f"an ELF file with {header.e_phnum} segments, which is no kernel",
                hint="is it an object file, or a core dump?",
            )
        for at in self._table("segment", struct, header.e_phoff, header.e_phnum, header.e_phentsize):
            yield self._segment(parsed(struct, self.data, at))

    def _segment(self, found: Any) -> Segment:  # noqa: ANN401 -- pyelftools' container
        segment = Segment(
            str(found.p_type), found.p_flags, found.p_offset, found.p_filesz, found.p_paddr, found.p_memsz
        )
        if segment.type in {LOAD_SEGMENT, NOTE_SEGMENT}:
            self._within(f"a {segment.type} segment", segment.offset, segment.size)
        if segment.type == LOAD_SEGMENT and (
            segment.size > segment.memory or segment.physical + segment.memory > _ADDRESS_SPACE
        ):
            raise KernelError(
                "an ELF file with an impossible segment",
                details=f"{segment.size} bytes in the file, {segment.memory} in memory, at {segment.physical:#x}",
            )
        return segment

    def _table(self, what: str, struct: Any, offset: int, count: int, size: int) -> range:  # noqa: ANN401
        """Return where the headers of a table are, once they are known to be in the file and of the right size."""
        if count and size != struct.sizeof():
            raise KernelError(f"an ELF file with {what} headers of {size} bytes, not {struct.sizeof()}")
        self._within(f"its table of {what}s", offset, count * size)
        return range(offset, offset + count * size, size or 1)

    def _within(self, what: str, offset: int, size: int) -> None:
        if offset + size > len(self.data):
            raise KernelError(
                "an ELF file that is cut short",
                details=f"{what} ends at byte {offset + size}, the file at {len(self.data)}",
                hint="fetch or build the file again",
            )
