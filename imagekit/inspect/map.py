"""The map of a disk: every byte belongs to exactly one segment, whatever the structures on it claim."""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from imagekit.inspect.report import Kind, Segment

MOST = 3_000
"""Segments of a map: neighbours are merged until there are no more than these."""

NAMES = {
    Kind.TABLE: "partition table",
    Kind.SUPERBLOCK: "superblock",
    Kind.DESCRIPTORS: "group descriptors",
    Kind.BITMAP: "allocation maps",
    Kind.INODES: "inode tables",
    Kind.JOURNAL: "journal",
    Kind.DIRECTORY: "folders",
    Kind.KERNEL: "kernel",
    Kind.BOOT: "boot files",
    Kind.FILE: "files",
    Kind.OTHER: "in use, not told apart",
    Kind.FREE: "free",
    Kind.GAP: "outside partitions",
    Kind.HOLE: "never written",
}
"""Kinds for people, in the order of a legend."""

# Who wins where two claims meet, best first: what a boot needs, then what is told exactly.
_RANK = {
    kind: rank
    for rank, kind in enumerate(
        (
            Kind.TABLE,
            Kind.SUPERBLOCK,
            Kind.DESCRIPTORS,
            Kind.BITMAP,
            Kind.INODES,
            Kind.JOURNAL,
            Kind.KERNEL,
            Kind.BOOT,
            Kind.DIRECTORY,
            Kind.FILE,
            Kind.OTHER,
            Kind.HOLE,
            Kind.FREE,
            Kind.GAP,
        )
    )
}
_NEVER_MERGED = {Kind.TABLE, Kind.KERNEL, Kind.BOOT}
_GRAIN = 1 << 10
_ROW = 16


def cover(size: int, claims: Iterable[Segment]) -> list[Segment]:
    """Return segments that cover `size` bytes once; where claims meet, the better kind (see _RANK) wins."""
    ordered = sorted(_clipped(size, claims), key=lambda claim: claim.start)
    borders = sorted({0, size, *(claim.start for claim in ordered), *(claim.end for claim in ordered)})
    found: list[Segment] = []
    active: list[tuple[int, int, Segment]] = []
    following = 0
    for start, end in pairwise(borders):
        while following < len(ordered) and ordered[following].start <= start:
            heapq.heappush(active, (_RANK[ordered[following].kind], following, ordered[following]))
            following += 1
        while active and active[0][2].end <= start:
            heapq.heappop(active)
        best = active[0][2] if active else Segment(0, size, Kind.GAP, "outside every partition")
        _append(found, Segment(start, end - start, best.kind, best.label))
    return found


def merge(segments: Sequence[Segment], most: int = MOST) -> list[Segment]:
    """Merge small neighbours, with ever coarser grain, until at most `most` are left or only kept kinds are."""
    grain, found = _GRAIN, list(segments)
    size = found[-1].end if found else 0
    while len(found) > most and grain <= 2 * size:
        found = list(_coarser(segments, grain))
        grain *= 2
    return found


def _clipped(size: int, claims: Iterable[Segment]) -> Iterator[Segment]:
    for claim in claims:
        start, end = max(claim.start, 0), min(claim.end, size)
        if start < end:
            yield Segment(start, end - start, claim.kind, claim.label)


def _append(found: list[Segment], segment: Segment) -> None:
    last = found[-1] if found else None
    if last and (last.kind, last.label) == (segment.kind, segment.label):
        found[-1] = Segment(last.start, last.length + segment.length, last.kind, last.label)
    else:
        found.append(segment)


def _coarser(segments: Sequence[Segment], grain: int) -> Iterator[Segment]:
    """Yield segments with each row of small ones made one, named after its largest kind."""
    row: list[Segment] = []
    for segment in segments:
        small = segment.length < grain and segment.kind not in _NEVER_MERGED
        if row and not (small and segment.end - row[0].start <= _ROW * grain):
            yield _one(row)
            row = []
        if small:
            row.append(segment)
        else:
            yield segment
    if row:
        yield _one(row)


def _one(row: Sequence[Segment]) -> Segment:
    if len(row) == 1:
        return row[0]
    lengths: dict[Kind, int] = {}
    for segment in row:
        lengths[segment.kind] = lengths.get(segment.kind, 0) + segment.length
    kind = max(lengths, key=lambda kind: lengths[kind])
    start = row[0].start
    return Segment(start, row[-1].end - start, kind, f"{len(row)} pieces, mostly {NAMES[kind]}")
