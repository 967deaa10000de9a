"""The map: every byte once, whatever is claimed."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from imagekit.inspect.map import NAMES, cover, merge
from imagekit.inspect.report import Kind, Segment

SIZE = 1 << 20
claims = st.builds(
    Segment,
    st.integers(-100, SIZE + 100),
    st.integers(-10, SIZE) | st.integers(0, 2000),
    st.sampled_from(Kind),
    st.sampled_from(["a", "b", ""]),
)


def is_whole(segments: list[Segment], size: int) -> bool:
    inner = all(left.end == right.start for left, right in pairwise(segments))
    return (
        inner and segments[0].start == 0 and segments[-1].end == size and all(part.length > 0 for part in segments)
    )


@given(st.lists(claims, max_size=30), st.integers(1, SIZE), st.integers(1, 20))
def test_segments_cover_the_disk_without_overlap(some: list[Segment], size: int, most: int) -> None:
    covered = cover(size, some)
    assert is_whole(covered, size)
    assert is_whole(merge(covered, most), size)


@given(st.lists(claims, max_size=20), st.integers(0, SIZE - 1))
def test_the_better_claim_wins(some: list[Segment], at: int) -> None:
    ranks = {kind: rank for rank, kind in enumerate([*NAMES])}
    assert set(ranks) == set(Kind)
    found = next(part for part in cover(SIZE, some) if part.start <= at < part.end)
    kinds = {claim.kind for claim in some if claim.start <= at < claim.end}
    assert found.kind in kinds or (not kinds and found.kind is Kind.GAP)
    if Kind.KERNEL in kinds and found.kind is not Kind.KERNEL:
        assert found.kind in {
            Kind.TABLE,
            Kind.SUPERBLOCK,
            Kind.DESCRIPTORS,
            Kind.BITMAP,
            Kind.INODES,
            Kind.JOURNAL,
        }


def test_a_long_map_is_merged_but_keeps_the_kernel() -> None:
    many = [Segment(at * 8192, 4096, Kind.FILE, f"/f{at}") for at in range(20_000)]
    kernel = Segment(4096, 4096, Kind.KERNEL, "/boot/app.xen")
    merged = merge(cover(8 << 30, [Segment(0, 8 << 30, Kind.FREE, "free"), *many, kernel]), 500)
    assert len(merged) <= 500
    assert is_whole(merged, 8 << 30)
    assert kernel in merged
    assert any("pieces, mostly" in part.label for part in merged)


def test_nothing_merges_to_nothing() -> None:
    assert merge([]) == []
