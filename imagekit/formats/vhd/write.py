"""A VHD of an image, of a length known before a byte of the image is read, and the same bytes every time.

footer · header · block table · batmap · (parent's names) · [bitmap · 2 MiB] for each block with data · footer

Each block's data begins on 4 KiB, and the batmap is there, as blktap (`vhd-util`) makes and asks for them.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from uuid import UUID, uuid5

from imagekit.errors import UsageError
from imagekit.formats.vhd.footer import EPOCH, LARGEST, SECTOR, Footer, Kind, geometry
from imagekit.formats.vhd.header import BLOCK, LENGTH, Header, Locator
from imagekit.sparse import BLOCK as HASHED
from imagekit.sparse import BlockMap, ReadAt

STRIDE = 4104 * SECTOR
"""Bytes from one block's bitmap to the next's: bitmap, data, and 7 sectors so that data begin on 4 KiB."""

_NAMESPACE = UUID("4698c33a-fe1e-5562-b10a-2bbd2d8d868c")  # ours: a VHD's UUID is made in it (decision 12)
_FULL = b"\xff" * SECTOR
_PIECE = 256 << 10  # stays in the processor's cache between reading and encrypting
_ALIGNED = 8  # sectors
_NONE = 0xFFFFFFFF
_BATMAP_CHECKSUM = 24
_LONGEST_NAME = 255  # UTF-16 units


@dataclass(frozen=True, slots=True)
class Parent:
    """The VHD that a differencing one is read on top of: its footer's UUID and time, and its file's name."""

    uuid: UUID
    time: int
    name: str

    def __post_init__(self) -> None:
        try:
            units = len(self.name.encode("utf-16-be")) // 2
        except UnicodeEncodeError:  # bytes that are no UTF-8
            units = 0
        if not 0 < units <= _LONGEST_NAME or "/" in self.name:
            raise UsageError(
                f"{self.name!r} cannot be the name of a VHD's parent", details="255 characters of Unicode at most"
            )

    @property
    def names(self) -> tuple[tuple[bytes, bytes], ...]:
        """The name in each platform's form, as blktap (a URL) and Windows (a relative path) look for it."""
        return (
            (b"MacX", f"file://./{self.name}".encode()),
            (b"W2ru", f".\\{self.name}".encode("utf-16-le")),
        )


@dataclass(frozen=True)
class Layout:
    """Where everything goes: `blocks` are the indexes, rising, of the 2 MiB blocks that are written."""

    size: int
    blocks: tuple[int, ...]
    uuid: UUID
    time: int
    parent: Parent | None = field(default=None)

    @cached_property
    def footer(self) -> bytes:
        """The footer, at both ends."""
        kind = Kind.DIFFERENCING if self.parent else Kind.DYNAMIC
        return Footer(
            size=self.size, kind=kind, uuid=self.uuid, time=self.time, geometry=geometry(self.size)
        ).to_bytes()

    @cached_property
    def head(self) -> bytes:
        """All that is before the first block's bitmap."""
        written = self.footer + self._header.to_bytes() + self._table() + self._batmap()
        if self.parent:
            for locator, (_, name) in zip(self._header.locators, self.parent.names, strict=True):
                written += name.ljust(locator.sectors * SECTOR, b"\0")
        return written.ljust(self._first, b"\0")

    @property
    def length(self) -> int:
        """Bytes of the whole VHD."""
        return self.place(len(self.blocks)) + SECTOR - (STRIDE - SECTOR - BLOCK if self.blocks else 0)

    def place(self, number: int) -> int:
        """Return where the bitmap of the number-th block lies."""
        return self._first + number * STRIDE

    def pieces(self, read_at: ReadAt) -> Iterator[bytes]:
        """Yield the whole VHD, a block at a time."""
        yield self.head
        gap = bytes(STRIDE - SECTOR - BLOCK)
        for number, index in enumerate(self.blocks):
            yield (gap if number else b"") + _FULL
            for at in range(index * BLOCK, (index + 1) * BLOCK, _PIECE):
                yield read_at(at, _PIECE).ljust(_PIECE, b"\0")
        yield self.footer

    @property
    def _entries(self) -> int:
        return self.size // BLOCK

    @cached_property
    def _header(self) -> Header:
        table = SECTOR + LENGTH
        if self.parent is None:
            return Header(table=table, entries=self._entries)
        locators, at = [], self._after_batmap
        for platform, name in self.parent.names:
            locators.append(Locator(platform, _sectors(len(name)), len(name), at))
            at += _sectors(len(name)) * SECTOR
        return Header(
            table=table,
            entries=self._entries,
            parent=self.parent.uuid,
            parent_time=self.parent.time,
            parent_name=self.parent.name,
            locators=tuple(locators),
        )

    def _table(self) -> bytes:
        table = array("I", [_NONE]) * (_sectors(self._entries * 4) * SECTOR // 4)
        for number, index in enumerate(self.blocks):
            table[index] = self.place(number) // SECTOR
        table.byteswap()
        return table.tobytes()

    def _batmap(self) -> bytes:
        """Return which blocks are full, all of ours: blktap asks for it of what says that `tap` made it."""
        full = bytearray(_sectors((self._entries + 7) // 8) * SECTOR)
        for index in self.blocks:
            full[index // 8] |= 0x80 >> index % 8
        at = self._batmap_at + SECTOR
        head = b"tdbatmap" + at.to_bytes(8, "big") + (len(full) // SECTOR).to_bytes(4, "big")
        head += (0x00010002).to_bytes(4, "big") + (~sum(full) & 0xFFFFFFFF).to_bytes(4, "big")
        return head.ljust(SECTOR, b"\0") + bytes(full)

    @property
    def _batmap_at(self) -> int:
        return SECTOR + LENGTH + _sectors(self._entries * 4) * SECTOR

    @property
    def _after_batmap(self) -> int:
        return self._batmap_at + SECTOR + _sectors((self._entries + 7) // 8) * SECTOR

    @cached_property
    def _first(self) -> int:
        """Where the first block's bitmap lies: one sector before a multiple of 4 KiB."""
        names = sum(_sectors(len(name)) for _, name in self.parent.names) * SECTOR if self.parent else 0
        sectors = (self._after_batmap + names) // SECTOR
        return (sectors + (_ALIGNED - 1 - sectors) % _ALIGNED) * SECTOR


def layout(image: BlockMap, epoch: int) -> Layout:
    """Return the dynamic VHD of an image; UsageError for one that none holds.

    `epoch` is SOURCE_DATE_EPOCH, seconds since 1970. The disk is the image, up to the next 2 MiB.
    """
    size = disk_size(image.length)
    return Layout(size, _written(image), _identity(image, size), seconds(epoch))


def difference(image: BlockMap, base: BlockMap, parent: Parent, epoch: int) -> Layout:
    """Return the VHD of what differs from the parent's disk, by whole blocks; UsageError when sizes differ."""
    size = disk_size(image.length)
    if disk_size(base.length) != size:
        raise UsageError(
            "a differencing VHD has its parent's size", details=f"{size} bytes, and the parent has {base.length}"
        )
    own, theirs = dict(image.blocks), dict(base.blocks)
    changed = {index for index in own.keys() | theirs.keys() if own.get(index) != theirs.get(index)}
    blocks = tuple(sorted({index * HASHED // BLOCK for index in changed}))
    identity = uuid5(_identity(image, size), str(parent.uuid))
    return Layout(size, blocks, identity, seconds(epoch), parent)


def disk_size(length: int) -> int:
    """Return the size of the VHD's disk for an image of so many bytes; UsageError over 2040 GiB."""
    size = max(1, -(-length // BLOCK)) * BLOCK
    if size > LARGEST:
        raise UsageError("a VHD holds 2040 GiB at most", details=f"the image has {length} bytes")
    return size


def seconds(epoch: int) -> int:
    """Return a time since 1970 as a VHD has it; what was before 2000 is 2000."""
    return min(max(0, epoch - EPOCH), 0xFFFFFFFF)


def _written(image: BlockMap) -> tuple[int, ...]:
    return tuple(sorted({index * HASHED // BLOCK for index, _ in image.blocks}))


def _identity(image: BlockMap, size: int) -> UUID:
    return uuid5(_NAMESPACE, f"{image.digest} {size}")


def _sectors(length: int) -> int:
    return -(-length // SECTOR)
