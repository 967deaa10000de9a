"""A bzImage packed anew: the same ELF file, by gzip, the same bytes each time."""

import gzip
from pathlib import Path

import pytest

from imagekit.errors import KernelError
from imagekit.executor import SourceInput
from imagekit.kernel import Way, can_repack, read_kernel, repacked, why_not, write_repacked
from tests.kernel.elf_builder import PACKERS, bzimage, kernel, note, sized

# With what Xen asks of a Linux: the notes of a PV kernel, and no word of dom0.
NOTES = note(6, "linux") + note(5, "xen-3.0") + note(8, "generic") + note(1, 0x100000) + note(3, 0)


def packed(folder: Path, packing: str) -> tuple[Path, bytes]:
    """Write a bzImage, and return it with the ELF file that is in it."""
    elf = kernel(NOTES)
    payload = PACKERS[packing](elf)
    path = folder / "vmlinuz"
    path.write_bytes(bzimage(payload if packing == "gzip" else sized(payload, len(elf))))
    return path, elf


@pytest.mark.parametrize("packing", sorted(PACKERS))
def test_what_is_in_it(packing: str, tmp_path: Path) -> None:
    path, elf = packed(tmp_path, packing)
    before = read_kernel(path)
    assert can_repack(before)
    for name in ("out", "again"):
        write_repacked({"kernel": SourceInput(path)}, tmp_path / name, {})
    assert gzip.decompress((tmp_path / "out").read_bytes()) == elf
    assert (tmp_path / "out").read_bytes() == (tmp_path / "again").read_bytes()
    after = read_kernel(tmp_path / "out")
    assert {**after.to_json(), "size": before.size} == repacked(before).to_json()
    assert why_not(after, Way.PV_GRUB) is None
    assert why_not(after, Way.PYGRUB_PV) is None


def test_an_elf_file_stays(tmp_path: Path) -> None:
    (tmp_path / "vmlinux").write_bytes(kernel(NOTES))
    assert not can_repack(read_kernel(tmp_path / "vmlinux"))


def test_damage(tmp_path: Path) -> None:
    path, _ = packed(tmp_path, "lz4")
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(KernelError):
        write_repacked({"kernel": SourceInput(path)}, tmp_path / "out", {})
