"""The disk of a VHD and its parents, read where it lies: the same as the one that is taken out, and qemu-img's."""

import os
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.command import run
from imagekit.formats import vhd
from imagekit.sparse import map_blocks
from tests.formats.vhd.conftest import Raw, read, wrapped, written

MIB = 1 << 20
SIZE = 12 * MIB


def chain_of(stack: ExitStack, *paths: Path) -> list[tuple[int, vhd.Vhd]]:
    """Open VHDs, the parent of all first."""
    files = [stack.enter_context(path.open("rb")) for path in paths]
    return [(file.fileno(), vhd.read_file(file.fileno())) for file in files]


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, bytes]:
    """Return a parent, its child, and the child's disk, which is zeros where the parent has data."""
    folder = tmp_path_factory.mktemp("family")
    old, new = folder / "old.raw", folder / "new.raw"
    for path, data in (
        (old, {0: b"kept", 5 * MIB: b"old", 9 * MIB: b"gone"}),
        (new, {0: b"kept", 5 * MIB: b"new"}),
    ):
        with path.open("wb") as file:
            file.truncate(SIZE)
            for offset, piece in data.items():
                os.pwrite(file.fileno(), piece, offset)
    parent = wrapped(old)
    footer = read(parent).footer
    named = vhd.Parent(footer.uuid, footer.time, parent.name)
    child = written(new, new.with_suffix(".vhd"), vhd.difference(map_blocks(new), map_blocks(old), named, 0))
    return parent, child, new.read_bytes()


def test_a_child_over_its_parent_is_hashed_without_unpacking(family: tuple[Path, Path, bytes]) -> None:
    parent, child, _ = family
    with ExitStack() as stack:
        assert vhd.map_chain(chain_of(stack, parent, child)) == map_blocks(child.with_suffix(".raw"))


@given(st.integers(0, SIZE + 5), st.integers(0, 3 * MIB))
def test_any_of_its_bytes(family: tuple[Path, Path, bytes], offset: int, length: int) -> None:
    parent, child, disk = family
    with ExitStack() as stack:
        found = vhd.read_chain(chain_of(stack, parent, child), offset, length)
    assert found == disk[offset : offset + length]


@pytest.mark.parametrize("form", ["dynamic", "fixed"])
def test_what_qemu_makes(raw: Raw, tmp_path: Path, form: str) -> None:
    disk = raw(9 * MIB, {0: b"a", 5 * MIB + 700: b"b" * MIB, 9 * MIB - 1: b"c"})
    path, back = tmp_path / "qemu.vhd", tmp_path / "back"
    run("qemu-img", "convert", "-O", "vpc", "-o", f"subformat={form},force_size=on", disk, path)
    run("qemu-img", "convert", "-f", "vpc", "-O", "raw", path, back)
    with ExitStack() as stack:
        assert vhd.map_chain(chain_of(stack, path)) == map_blocks(back)


def test_a_disk_of_2040_gib_is_mapped_by_what_it_has(raw: Raw) -> None:
    disk = raw(2040 << 30, {0: b"first", (2040 << 30) - 7: b"the end"})
    with ExitStack() as stack:
        assert vhd.map_chain(chain_of(stack, wrapped(disk))) == map_blocks(disk)
