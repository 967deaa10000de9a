"""Where the file system lies: arithmetic that always adds up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.disk import LAYOUTS, lay_out, partition_offset
from imagekit.disk.layout import Layout
from imagekit.errors import BuildError

MIB, GIB = 1 << 20, 1 << 30
SIZES = st.one_of(
    st.integers(0, 200).map(lambda mib: mib * MIB), st.integers(0, 300 * 1024).map(lambda kib: kib * 1024)
)


@given(
    layout=st.sampled_from(LAYOUTS),
    needed=st.integers(1, 200).map(lambda mib: mib * MIB),
    disk=st.none() | SIZES,
    filesystem=st.none() | SIZES,
    unit=st.sampled_from([MIB, 512 * 1024, GIB]),
)
def test_a_spot_fits_or_is_refused(
    layout: Layout, needed: int, disk: int | None, filesystem: int | None, unit: int
) -> None:
    before, after = {"plain": (0, 0), "mbr": (MIB, 0), "gpt": (MIB, MIB)}[layout]
    try:
        spot = lay_out(layout, needed, disk=disk, filesystem=filesystem, unit=unit)
    except BuildError as error:
        assert "auto" in error.hint  # noqa: PT017
        too_small = filesystem is not None and filesystem < needed
        assert too_small or (disk is not None and disk < before + (filesystem or needed) + after)
        return
    assert spot.size >= needed
    assert spot.offset == partition_offset(layout) == before
    assert spot.offset + spot.size + after <= spot.disk
    if disk is None:
        assert spot.disk % unit == 0
        assert spot.disk - unit < before + (filesystem or needed) + after
    else:
        assert spot.disk == disk
    if filesystem is None:
        # What lies between the last whole MiB and the end of the disk is not used.
        assert spot.size % MIB == 0
        assert spot.disk - after - spot.offset - spot.size < MIB
    else:
        assert spot.size == filesystem


def test_what_an_mbr_cannot_count() -> None:
    most = 2 << 40
    assert lay_out("mbr", most - MIB, disk=None, filesystem=None, unit=MIB).disk == most
    with pytest.raises(BuildError, match="an MBR holds 2 TiB at most, and the disk has 2097153 MiB") as caught:
        lay_out("mbr", most, disk=None, filesystem=None, unit=MIB)
    assert "gpt" in caught.value.hint
    assert lay_out("gpt", most, disk=None, filesystem=None, unit=MIB).size == most


@pytest.mark.parametrize("layout, disk", [("plain", 10 * MIB - 1), ("mbr", 11 * MIB - 1), ("gpt", 12 * MIB - 1)])
def test_one_byte_too_few(layout: Layout, disk: int) -> None:
    assert lay_out(layout, 10 * MIB, disk=disk + 1, filesystem=None, unit=MIB).size == 10 * MIB
    with pytest.raises(BuildError, match="needs a file system of 10 MiB"):
        lay_out(layout, 10 * MIB, disk=disk, filesystem=None, unit=MIB)
