"""FAT12, FAT16 and FAT32: boot sector, chains of clusters, folders with long names.

Microsoft's "FAT: General Overview of On-Disk Format" 1.03. Numbers are little-endian; cluster 2 is the first of
the data; a long name stands before its short entry in pieces of 13 UTF-16 units, last piece first.
"""

import struct
import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Literal

from imagekit.inspect.report import Filesystem, Kind, Segment
from imagekit.inspect.volumes.base import Node, Run, Volume, joined
from imagekit.inspect.window import Window

_BOOT = struct.Struct("<11xHBHBHHBH8xIIHHIHH")
_ENTRY = struct.Struct("<11sB8xH4xHI")
_LABEL, _FOLDER, _LONG = 0x08, 0x10, 0x0F
_END, _ERASED, _KANJI = 0x00, 0xE5, 0x05
_LAST_PIECE = 0x40
_LARGEST_TABLE = 1 << 25  # bytes: 8 million clusters
_LINK = 0x0FFFFFFF  # the top four bits of a FAT32 link are not ours to judge
_MOST_ENTRIES = 1 << 16  # the format's own limit of a folder


@dataclass(frozen=True)
class FatLayout:
    """What the boot sector says; places and sizes in bytes of the window."""

    window: Window
    bits: Literal[12, 16, 32]
    sector: int
    cluster: int
    table_at: int
    tables: int
    table_size: int
    root_at: int
    root_size: int
    root_cluster: int
    clusters: int
    label: str
    serial: int

    @property
    def data_at(self) -> int:
        """Where cluster 2 lies."""
        return self.root_at + self.root_size

    @cached_property
    def links(self) -> Sequence[int]:
        """Each cluster's following one, from the first table; the first two are not clusters."""
        raw = self.window.read(self.table_at, min(self.table_size, _LARGEST_TABLE))
        if self.bits in {16, 32}:
            links = array("H" if self.bits == 16 else "I", raw[: len(raw) // 4 * 4])  # noqa: PLR2004
            if sys.byteorder == "big":
                links.byteswap()
            return links
        triples = (raw[at : at + 3] for at in range(0, len(raw) - 2, 3))
        pairs = (int.from_bytes(triple, "little") for triple in triples)
        return [half for pair in pairs for half in (pair & 0xFFF, pair >> 12)]

    def chain(self, first: int) -> Iterator[int]:
        """Yield a chain's clusters; a circle ends it."""
        seen: set[int] = set()
        while 2 <= first < min(self.clusters + 2, len(self.links)) and first not in seen:  # noqa: PLR2004
            seen.add(first)
            yield first
            first = self.links[first] & _LINK

    def place(self, cluster: int) -> int:
        """Return where a cluster starts."""
        return self.data_at + (cluster - 2) * self.cluster


class FatVolume(Volume):
    """A FAT file system that can be looked through. A node's number is its first cluster; 0 is a fixed root."""

    def __init__(self, layout: FatLayout) -> None:
        super().__init__(layout.window)
        self.layout = layout

    def describe(self, partition: int) -> Filesystem:
        """Return the file system without its tree."""
        layout = self.layout
        free = layout.links[2 : layout.clusters + 2].count(0)
        return Filesystem(
            f"FAT{layout.bits}",
            partition,
            self.window.start,
            min(layout.data_at + layout.clusters * layout.cluster, self.window.length),
            layout.label,
            f"{layout.serial >> 16:04X}-{layout.serial & 0xFFFF:04X}",
            layout.cluster,
            layout.clusters,
            free,
        )

    def root(self) -> Node:
        """Return the root folder."""
        return Node(self.layout.root_cluster, "directory", 0)

    def children(self, folder: Node) -> Iterator[tuple[bytes, Node]]:
        """Yield a folder's entries, by their long names where they have one."""
        pieces: list[bytes] = []
        for raw in self._records(folder):
            name, kind, high, low, size = _ENTRY.unpack(raw)
            if kind & 0x3F == _LONG and name[0] != _ERASED:
                pieces = [_piece(raw), *([] if name[0] & _LAST_PIECE else pieces)]
                continue
            long, pieces = b"".join(pieces), []
            if name[0] == _ERASED or kind & _LABEL or name[:2] in {b". ", b".."}:
                continue
            high = high if self.layout.bits == 32 else 0  # noqa: PLR2004
            node = Node(high << 16 | low, "directory" if kind & _FOLDER else "file", 0 if kind & _FOLDER else size)
            yield _long_name(long) or _short_name(name, raw[12]), node

    def runs(self, node: Node) -> Sequence[Run]:
        """Return where a node's content lies."""
        layout = self.layout
        if not node.number:
            return [Run(0, layout.root_at, layout.root_size)] if node.kind == "directory" else []
        chain = enumerate(layout.chain(node.number))
        found = joined(Run(at * layout.cluster, layout.place(cluster), layout.cluster) for at, cluster in chain)
        self.budget.spend(len(found))
        return found

    def fixed(self) -> Iterable[Segment]:
        """Yield the boot sector, the tables and the fixed root."""
        layout = self.layout
        yield Segment(0, layout.table_at, Kind.SUPERBLOCK, "boot sector and reserved sectors")
        for number in range(layout.tables):
            at = layout.table_at + number * layout.table_size
            yield Segment(at, layout.table_size, Kind.BITMAP, f"file allocation table {number + 1}")
        if layout.root_size:
            yield Segment(layout.root_at, layout.root_size, Kind.DIRECTORY, "/")

    def used(self) -> Iterable[tuple[int, int]]:
        """Yield the clusters that are in use."""
        layout = self.layout
        for taken, group in groupby(
            enumerate(layout.links[2 : layout.clusters + 2], 2), lambda pair: pair[1] != 0
        ):
            if taken:
                clusters = [cluster for cluster, _ in group]
                yield layout.place(clusters[0]), len(clusters) * layout.cluster

    def fold(self, name: bytes) -> bytes:
        """FAT does not tell upper from lower case."""
        return name.decode(errors="surrogateescape").casefold().encode(errors="surrogateescape")

    def _records(self, folder: Node) -> Iterator[bytes]:
        count = 0
        for run in self.runs(folder):
            for at in range(run.start, run.start + run.length, 4096):
                block = self.window.read(at, min(4096, run.start + run.length - at))
                for offset in range(0, len(block) - 31, 32):
                    count += 1
                    if block[offset] == _END or count > _MOST_ENTRIES:
                        return
                    yield block[offset : offset + 32]
                if not self.budget.spend():
                    return


def read_fat(window: Window) -> FatLayout | None:
    """Return the layout of the FAT file system in a window; None when there is none, or none that makes sense."""
    raw = window.read(0, 512)
    if len(raw) < 512 or raw[510:] != b"\x55\xaa" or raw[0] not in {0xEB, 0xE9}:  # noqa: PLR2004
        return None
    sector, per_cluster, reserved, tables, roots, small, media, short, large, long, _, _, root, _, _ = (
        _BOOT.unpack_from(raw)
    )
    if (
        sector not in {512, 1024, 2048, 4096}
        or not per_cluster
        or per_cluster & (per_cluster - 1)
        or not reserved
        or tables not in {1, 2}
        or media < 0xF0  # noqa: PLR2004
        or not (short or long)
    ):
        return None
    table_size = (short or long) * sector
    root_at = reserved * sector + tables * table_size
    root_size = -(-roots * 32 // sector) * sector
    clusters = max((small or large) * sector - root_at - root_size, 0) // (per_cluster * sector)
    bits: Literal[12, 16, 32] = 32 if not short else 12 if clusters < 4085 else 16  # noqa: PLR2004
    tail = 67 if bits == 32 else 39  # noqa: PLR2004
    label = raw[tail + 4 : tail + 15].decode("cp437").strip()
    return FatLayout(
        window,
        bits,
        sector,
        per_cluster * sector,
        reserved * sector,
        tables,
        table_size,
        root_at,
        root_size,
        root if bits == 32 else 0,  # noqa: PLR2004
        clusters,
        "" if label == "NO NAME" else label,
        int.from_bytes(raw[tail : tail + 4], "little"),
    )


def _piece(raw: bytes) -> bytes:
    return raw[1:11] + raw[14:26] + raw[28:32]


def _long_name(raw: bytes) -> bytes:
    return raw.decode("utf-16-le", "replace").split("\0")[0].encode()


def _short_name(raw: bytes, case: int) -> bytes:
    raw = b"\xe5" + raw[1:] if raw[0] == _KANJI else raw
    stem, ending = (part.decode("cp437").rstrip() for part in (raw[:8], raw[8:]))
    # Windows NT keeps an all-lower-case 8.3 name as two bits instead of a long name.
    stem = stem.lower() if case & 0x08 else stem
    ending = ending.lower() if case & 0x10 else ending
    return f"{stem}.{ending}".rstrip(".").encode()
