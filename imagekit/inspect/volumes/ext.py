"""Files of ext2, ext3 and ext4: inodes, block maps and extent trees, folders.

https://docs.kernel.org/filesystems/ext4/dynamic.html. Folders with an index (htree) are read as plain ones: their
index blocks are made to look like empty entries. Extent trees and block maps are bounded by the volume's budget.
"""

import struct
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from imagekit.inspect.report import Filesystem, Kind, Segment
from imagekit.inspect.volumes.base import Node, NodeKind, Run, Volume, joined
from imagekit.inspect.volumes.ext_features import HAS_JOURNAL, RESIZE_INODE
from imagekit.inspect.volumes.ext_layout import SUPERBLOCK_AT, Layout

_ROOT = 2
_RESIZE = 7
_FIRST_ORDINARY = 11
_INODE = struct.Struct("<HH I 16x HHI I4x 60s 8x I")
_KINDS: dict[int, NodeKind] = {0o10: "file", 0o4: "directory", 0o12: "link"}
_ROOM = 60
_FIELDS = 128  # an inode's fields of old; the newer ones follow, then attributes
_ATTRIBUTES = b"\0\0\x02\xea"
_ATTRIBUTE = struct.Struct("<BBH4xI4x")
_SYSTEM = 7
_EXTENTS = 0x80000
_INLINE = 0x10000000
_TREE_MAGIC = 0xF30A
_TREE_HEAD = struct.Struct("<HHHH4x")
_LEAF = struct.Struct("<IHHI")
_BRANCH = struct.Struct("<IIH2x")
_DEEPEST = 5
_UNWRITTEN = 32768
_DIRECT = 12
_TWICE_INDIRECT = 13 * 4  # its place in an inode's 60 bytes
_DIRENT = struct.Struct("<IHB")


@dataclass(frozen=True, slots=True)
class _Inode:
    mode: int
    size: int
    flags: int
    room: bytes  # i_block: 60 bytes of map, tree, link target or content


class ExtVolume(Volume):
    """An ext file system that can be looked through."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout.window)
        self.layout = layout
        self._maps: dict[int, tuple[list[Run], list[Run]]] = {}
        if layout.blocks * layout.block_size > layout.window.length:
            self.problems.append("the file system is larger than the place it lies in")

    def describe(self, partition: int) -> Filesystem:
        """Return the file system without its tree."""
        layout = self.layout
        return Filesystem(
            layout.features.kind,
            partition,
            self.window.start,
            min(layout.blocks * layout.block_size, self.window.length),
            layout.label,
            layout.uuid,
            layout.block_size,
            layout.blocks,
            layout.free_blocks,
            layout.inodes,
            layout.free_inodes,
            layout.features.names,
        )

    def root(self) -> Node:
        """Return the root folder."""
        return self._node(_ROOT)

    def children(self, folder: Node) -> Iterator[tuple[bytes, Node]]:
        """Yield a folder's entries."""
        for block in self._folder_blocks(folder):
            for number, name in _entries(block):
                if number and name not in {b".", b".."}:
                    yield name, self._node(number)

    def runs(self, node: Node) -> Sequence[Run]:
        """Return where a node's content lies."""
        return self._mapped(node)[0]

    def upkeep(self, node: Node) -> Sequence[Run]:
        """Return a node's indirect blocks, or the nodes of its extent tree."""
        return self._mapped(node)[1]

    def fixed(self) -> Iterable[Segment]:
        """Yield superblocks, descriptors, bitmaps, inode tables and the journal."""
        yield from self.layout.fixed()
        (journal,) = struct.unpack("<I", self.window.read(SUPERBLOCK_AT + 0xE0, 4))
        if self.layout.features.compatible & HAS_JOURNAL and journal:
            node = self._node(journal)
            for run in (*self.runs(node), *self.upkeep(node)):
                yield Segment(run.start, run.length, Kind.JOURNAL, "journal")
        if self.layout.features.compatible & RESIZE_INODE:
            (block,) = struct.unpack_from("<I", self._inode(_RESIZE).room, _TWICE_INDIRECT)
            size = self.layout.block_size
            yield Segment(block * size, size, Kind.DESCRIPTORS, "map of the room for group descriptors")

    def used(self) -> Iterable[tuple[int, int]]:
        """Yield what the block bitmaps say is in use."""
        return self.layout.used()

    def _raw(self, number: int, size: int) -> bytes:
        """Return the first bytes of an inode, zeros for one that is not there."""
        layout = self.layout
        group, index = divmod(number - 1, layout.inodes_per_group)
        raw = b""
        if 0 < number <= layout.inodes and group < len(layout.groups):
            at = layout.groups[group].inode_table * layout.block_size + index * layout.inode_size
            raw = self.window.read(at, size)
        return raw.ljust(size, b"\0")

    def _inode(self, number: int) -> _Inode:
        mode, _, low, _, _, _, flags, room, high = _INODE.unpack(self._raw(number, _INODE.size))
        return _Inode(mode, low | high << 32, flags, room)

    def _node(self, number: int) -> Node:
        inode = self._inode(number)
        kind: NodeKind = _KINDS.get(inode.mode >> 12, "other")
        inline: bytes | None = None
        if inode.flags & _INLINE:
            inline = inode.room + _inline_rest(self._raw(number, self.layout.inode_size))
        elif kind == "link" and inode.size < _ROOM and not inode.flags & _EXTENTS:
            inline = inode.room[: inode.size]
        return Node(number, kind, inode.size if kind != "other" else 0, inline)

    def _folder_blocks(self, folder: Node) -> Iterator[bytes]:
        if folder.inline is not None:
            yield folder.inline[4:_ROOM]  # the parent's number stands first
            yield folder.inline[_ROOM:]
            return
        size = self.layout.block_size
        for run in self.runs(folder):
            for at in range(run.start, run.start + run.length, size):
                if not self.budget.spend():
                    return
                yield self.window.read(at, size)

    def _mapped(self, node: Node) -> tuple[list[Run], list[Run]]:
        if node.inline is not None or (node.kind == "other" and node.number >= _FIRST_ORDINARY):
            return [], []
        if node.number not in self._maps:
            inode = self._inode(node.number)
            mapper = _Tree(self) if inode.flags & _EXTENTS else _Pointers(self)
            self._maps = {node.number: (joined(mapper.runs(inode.room)), mapper.upkeep)}
        return self._maps[node.number]


def _inline_rest(raw: bytes) -> bytes:
    """Return what of inline data does not fit an inode's room: the attribute `system.data` behind its fields."""
    extra = int.from_bytes(raw[_FIELDS : _FIELDS + 2], "little")
    start = _FIELDS + extra + 4
    if raw[start - 4 : start] != _ATTRIBUTES:
        return b""
    at = start
    while at + _ATTRIBUTE.size <= len(raw) and any(raw[at : at + 4]):
        length, index, place, size = _ATTRIBUTE.unpack_from(raw, at)
        name = raw[at + _ATTRIBUTE.size : at + _ATTRIBUTE.size + length]
        if (index, name) == (_SYSTEM, b"data"):
            return raw[start + place : start + place + size]
        at += _ATTRIBUTE.size + -(-length // 4) * 4
    return b""


def _entries(block: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 8 <= len(block):
        number, length, name_length = _DIRENT.unpack_from(block, at)
        if length < 8 or length % 4 or name_length > length - 8:  # noqa: PLR2004
            return
        yield number, block[at + 8 : at + 8 + name_length]
        at += length


class _Mapper(ABC):
    """Turns the 60 bytes of an inode into runs, and notes the blocks that it reads on the way."""

    def __init__(self, volume: ExtVolume) -> None:
        self.volume = volume
        self.size = volume.layout.block_size
        self.blocks = volume.layout.blocks
        self.upkeep: list[Run] = []
        self._seen: set[int] = set()

    @abstractmethod
    def runs(self, room: bytes) -> Iterator[Run]:
        """Yield the runs of an inode, from its 60 bytes."""

    def load(self, block: int) -> bytes:
        """Read one block of the map; a block read before is a circle and comes back empty."""
        if block in self._seen or not 0 < block < self.blocks or not self.volume.budget.spend():
            return b""
        self._seen.add(block)
        self.upkeep.append(Run(0, block * self.size, self.size))
        return self.volume.window.read(block * self.size, self.size)

    def run(self, logical: int, block: int, count: int) -> Iterator[Run]:
        """Yield the run of `count` blocks, unless it leaves the file system."""
        if 0 < block < self.blocks and count and block + count <= self.blocks:
            yield Run(logical * self.size, block * self.size, count * self.size)


class _Tree(_Mapper):
    """An extent tree."""

    def runs(self, room: bytes) -> Iterator[Run]:
        yield from self._node(room, _DEEPEST + 1)

    def _node(self, raw: bytes, above: int) -> Iterator[Run]:
        magic, count, _, depth = _TREE_HEAD.unpack(raw[: _TREE_HEAD.size].ljust(_TREE_HEAD.size, b"\0"))
        if magic != _TREE_MAGIC or depth >= above:
            return
        for at in range(_TREE_HEAD.size, min(len(raw) - 11, _TREE_HEAD.size * (count + 1)), 12):
            if depth:
                _, low, high = _BRANCH.unpack_from(raw, at)
                yield from self._node(self.load(low | high << 32), depth)
            else:
                logical, length, high, low = _LEAF.unpack_from(raw, at)
                length -= _UNWRITTEN if length > _UNWRITTEN else 0
                yield from self.run(logical, low | high << 32, length)


class _Pointers(_Mapper):
    """A block map: twelve direct pointers, then blocks of pointers one, two and three deep."""

    def runs(self, room: bytes) -> Iterator[Run]:
        pointers = struct.unpack("<15I", room)
        yield from self._direct(0, pointers[:_DIRECT])
        logical, per_block = _DIRECT, self.size // 4
        for depth, block in enumerate(pointers[_DIRECT:]):
            yield from self._indirect(logical, block, depth)
            logical += per_block ** (depth + 1)

    def _indirect(self, logical: int, block: int, depth: int) -> Iterator[Run]:
        raw = self.load(block)
        pointers = struct.unpack(f"<{len(raw) // 4}I", raw[: len(raw) // 4 * 4])
        if not depth:
            yield from self._direct(logical, pointers)
            return
        span = (self.size // 4) ** depth
        for index, pointer in enumerate(pointers):
            if pointer:
                yield from self._indirect(logical + index * span, pointer, depth - 1)

    def _direct(self, logical: int, pointers: Sequence[int]) -> Iterator[Run]:
        index = 0
        while index < len(pointers):
            first, block = index, pointers[index]
            index += 1
            while index < len(pointers) and block and pointers[index] == block + index - first:
                index += 1
            yield from self.run(logical + first, block, index - first)
