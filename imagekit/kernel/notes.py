"""What a kernel tells Xen by ELF notes.

Format: `xen/include/public/elfnote.h`. We read as Xen's loader does (`xen/common/libelf/libelf-dominfo.c`): the
notes of the note segments, or else those of the note sections; of two equal notes the last one counts.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from imagekit.errors import KernelError
from imagekit.kernel.elf import NOTE_SECTION, NOTE_SEGMENT, Elf
from imagekit.kernel.features import feature_names

_MOST = 65536  # libelf's ELF_MAX_TOTAL_NOTE_COUNT
_TEXT = 4096  # libelf's ELF_MAX_STRING_LENGTH
_OWNER = b"Xen\0"
_HEADER = 12
_NUMBER_SIZES = {1, 2, 4, 8}


class Note(IntEnum):
    """The notes that we read, by Xen's numbers."""

    ENTRY = 1
    HYPERCALL_PAGE = 2
    VIRT_BASE = 3
    PADDR_OFFSET = 4
    XEN_VERSION = 5
    GUEST_OS = 6
    GUEST_VERSION = 7
    LOADER = 8
    PAE_MODE = 9
    FEATURES = 10
    SUPPORTED_FEATURES = 17
    PHYS32_ENTRY = 18


_TEXTS = {Note.XEN_VERSION, Note.GUEST_OS, Note.GUEST_VERSION, Note.LOADER, Note.PAE_MODE, Note.FEATURES}
_KNOWN = frozenset(Note)


@dataclass(frozen=True, slots=True)
class Told:
    """What a kernel tells Xen, whichever way it does: `source` says by notes, or by the section __xen_guest."""

    source: Literal["notes", "__xen_guest"] | None
    values: Mapping[Note, int | str]

    def number(self, note: Note) -> int | None:
        """Return a note's number; None if it is not there."""
        value = self.values.get(note)
        return value if isinstance(value, int) else None

    def text(self, note: Note) -> str:
        """Return a note's text in printable ASCII; "" if it is not there."""
        return str(self.values.get(note, ""))

    @property
    def features(self) -> tuple[str, ...]:
        """Names of features, "!" first where required; then those that are told by a bit alone."""
        return feature_names(self.text(Note.FEATURES), self.number(Note.SUPPORTED_FEATURES) or 0)

    @property
    def is_pv(self) -> bool:
        """Whether there is a door for PV. Linux without PV support has notes too, but none of these."""
        return self.source == "__xen_guest" or Note.ENTRY in self.values or Note.VIRT_BASE in self.values

    @property
    def is_pvh(self) -> bool:
        """Whether there is a door for PVH."""
        return Note.PHYS32_ENTRY in self.values


def read_notes(elf: Elf) -> Told | None:
    """Return what the kernel's notes tell; None if it has none. KernelError: more notes than Xen would read."""
    # Some binutils leave a note segment's offset at 0; Xen passes over such a one.
    values = _values(elf, [(s.offset, s.size) for s in elf.segments if s.type == NOTE_SEGMENT and s.offset])
    if not values:
        values = _values(elf, [(s.offset, s.size) for s in elf.sections if s.type == NOTE_SECTION])
    return Told("notes", values) if values else None


def read_text(elf: Elf, at: int) -> str:
    """Return the text at an offset, up to its NUL; what a terminal might obey is escaped."""
    raw = bytes(elf.data[at : at + _TEXT]).partition(b"\0")[0].decode("ascii", "backslashreplace")
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in raw)


def _values(elf: Elf, places: Sequence[tuple[int, int]]) -> dict[Note, int | str]:
    found: dict[int, tuple[int, int]] = {}  # contents are read once it is known which note is the last
    for count, (number, at, size) in enumerate(_notes(elf, places)):
        if count >= _MOST:
            raise KernelError(f"an ELF file with more than {_MOST} notes, which is no kernel")
        if number in _KNOWN and bytes(elf.data[at - len(_OWNER) : at]) == _OWNER:
            found[number] = at, size
    return {Note(number): _content(elf, Note(number), *place) for number, place in found.items()}


def _content(elf: Elf, note: Note, at: int, size: int) -> int | str:
    return read_text(elf, at) if note in _TEXTS else _integer(elf, at, size)


def _notes(elf: Elf, places: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, int]]:
    """Yield (type, where its content begins, bytes of it) of each note.

    A place bounds where notes begin, not where the last one ends: that of Debian's grub-i386-xen.bin is too short.
    """
    for start, length in places:
        at, end = start, min(start + length, len(elf.data) - _HEADER)
        while at < end:
            owner, size, number = (int.from_bytes(elf.data[i : i + 4], elf.order) for i in (at, at + 4, at + 8))
            content = at + _HEADER + _aligned(owner)
            yield number, content, size
            at = content + _aligned(size)


def _aligned(size: int) -> int:
    return (size + 3) & ~3


def _integer(elf: Elf, at: int, size: int) -> int:
    """Return a number; one of another size is 0, as it is to Xen."""
    return int.from_bytes(elf.data[at : at + size], elf.order) if size in _NUMBER_SIZES else 0
