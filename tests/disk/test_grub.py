"""GRUB's boot sector and core: taken as Debian's are, and nothing else; put around the table, and read again."""

import io
import re
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.boot import CONSOLES
from imagekit.command import run
from imagekit.disk import core_of, grub_folder, grub_modules, grub_version
from imagekit.disk.grub import TABLE_AT, boot_sector, checked_core, put_grub, write_core
from imagekit.errors import KernelError, ToolError, UnsuitedError
from imagekit.formats.grub_core import read_core
from tests.conftest import Make

SECTOR = 512
NAMES = grub_modules("ext2", "multiboot", packed=False)


@pytest.fixture(scope="module")
def area(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return what lies before the first partition, as the step writes it."""
    out = tmp_path_factory.mktemp("core") / "area"
    write_core({}, out, {"modules": list(NAMES)})
    return out.read_bytes()


def test_the_area(area: bytes) -> None:
    boot = (grub_folder() / "boot.img").read_bytes()
    assert len(area) % SECTOR == 0
    assert [at for at in range(SECTOR) if area[at] != boot[at]] == [0x66, 0x67]
    assert area[0x66:0x68] == b"\x90\x90"
    assert core_of(area + bytes(SECTOR)) == area[SECTOR:]


def test_what_is_in_the_core(area: bytes) -> None:
    core = read_core(area[SECTOR:])
    assert core.prefix == "(hd0,msdos1)/boot/grub"
    assert core.config == CONSOLES
    assert set(NAMES) <= set(core.modules)
    assert not {"fat", "gzio", "multiboot2"} & set(core.modules), "modules by need"


@pytest.mark.parametrize(
    "filesystem, command, packed, expected, none",
    [
        ("fat32", "multiboot2", True, {"fat", "multiboot2", "gzio", "iorw"}, {"ext2", "multiboot", "linux"}),
        ("ext4", "linux", False, {"ext2", "linux"}, {"fat", "multiboot", "gzio", "iorw"}),
    ],
)
def test_modules_by_need(filesystem: str, command: str, packed: bool, expected: set[str], none: set[str]) -> None:
    names = set(grub_modules(filesystem, command, packed=packed))
    assert expected <= names
    assert not none & names


def test_the_same_core_again(area: bytes, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    write_core({}, tmp_path / "other" / "again", {"modules": list(NAMES)})
    assert (tmp_path / "other" / "again").read_bytes() == area
    assert re.fullmatch(r"2\.\d\S*, modules [0-9a-f]{64}", grub_version()), "no path: it is part of a key"


def test_around_the_table(area: bytes, tmp_path: Path) -> None:
    table = bytes([7]) * (SECTOR - TABLE_AT)
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(TABLE_AT) + table + bytes(1 << 20))
    with disk.open("r+b") as file:
        put_grub(file, area, 1 << 20)
    written = disk.read_bytes()
    assert written[:TABLE_AT] == area[:TABLE_AT]
    assert written[TABLE_AT:SECTOR] == table
    assert written[SECTOR : len(area)] == area[SECTOR:]
    assert not any(written[len(area) :])


def test_a_core_that_does_not_fit(area: bytes) -> None:
    with pytest.raises(ToolError, match="does not fit before the first partition"):
        put_grub(io.BytesIO(), area, len(area) - SECTOR)


@pytest.mark.parametrize(
    "at, data, missing",
    [
        (510, b"\0\0", "a boot sector's signature"),
        (0, b"\xfa", "a jump over the BIOS parameter block"),
        (0x5C, b"\2", "core.img at sector 1"),
        (0x60, b"\1", "core.img at sector 1"),
        (0x64, b"\x80", "the drive that the BIOS boots from"),
        (0x66, b"\xeb\x06", "a check of the drive's number"),
    ],
)
def test_another_boot_sector(at: int, data: bytes, missing: str) -> None:
    """Of another version, or of another loader: it is not patched, but refused."""
    image = bytearray((grub_folder() / "boot.img").read_bytes())
    image[at : at + len(data)] = data
    with pytest.raises(ToolError, match="not one that is known here") as caught:
        boot_sector(bytes(image))
    assert missing in caught.value.details
    with pytest.raises(ToolError, match="not one"):
        boot_sector(bytes(image[:511]))


@pytest.mark.parametrize(
    "at, data, missing",
    [
        (0x1F4, b"\3", "the rest of it at sector 2"),
        (0x1FC, b"\1", "all of it in its list"),
        (0x1FE, b"\x00\x10", "its segment in memory"),
        (0x1E8, b"\1", "one piece"),
    ],
)
def test_another_core(area: bytes, at: int, data: bytes, missing: str) -> None:
    image = bytearray(area[SECTOR:])
    image[at : at + len(data)] = data
    with pytest.raises(ToolError, match="not one that is known here") as caught:
        checked_core(bytes(image))
    assert missing in caught.value.details


@pytest.mark.parametrize("image", [b"", b"x" * 512, b"x" * 513, bytes(4096)])
def test_no_core_at_all(image: bytes) -> None:
    with pytest.raises(ToolError):
        checked_core(image)
    with pytest.raises(ValueError, match="no core"):
        read_core(image)


@pytest.mark.parametrize("there", [600, 1000, 2048])
def test_a_core_that_is_cut_short_within_its_sectors(area: bytes, there: int) -> None:
    """More is packed, it says, than lies before the zeros: nothing before its beginning is read for it."""
    image = area[SECTOR : SECTOR + there]
    with pytest.raises(ValueError, match="nothing unpacks to"):
        read_core(image + bytes(len(area) - len(image)))


@settings(max_examples=60)
@given(st.data())
def test_a_damaged_core_is_an_error_or_is_read(area: bytes, data: st.DataObject) -> None:
    image = bytearray(area[SECTOR:])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.one_of(st.integers(0x200, 0x21F), st.integers(0, len(image) - 1)))
        image[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.sampled_from([len(image), len(image) // 2, 600, 520, 3]))
    with suppress(ValueError):
        read_core(bytes(image[:cut]))


def test_without_the_package(tmp_path: Path) -> None:
    with pytest.raises(ToolError) as caught:
        grub_folder([str(tmp_path)])
    assert caught.value.hint == "sudo apt-get install grub-pc-bin"


@pytest.mark.parametrize("layout", ["plain", "gpt"])
def test_only_an_mbr_has_room(make: Make, kernels: Path, layout: str) -> None:
    with pytest.raises(UnsuitedError, match=f"boots no disk of the layout {layout}") as caught:
        make(kernels / "hello-pvh.xen", settings={"boot": "hvm", "disk.layout": layout})
    assert 'disk.layout = "mbr", or "auto"' in caught.value.hint


@pytest.mark.parametrize(
    "more, word",
    [
        ({"filesystem.type": "xfs"}, "reads no xfs"),
        ({"filesystem.type": "btrfs"}, "reads no btrfs"),
        ({"disk.lvm": {}, "disk.layout": "mbr"}, "reads no LVM"),
    ],
)
def test_what_grub_does_not_read(make: Make, kernels: Path, more: dict[str, object], word: str) -> None:
    with pytest.raises(UnsuitedError, match=f"GRUB in the boot sector {word}") as caught:
        make(kernels / "hello-pvh.xen", settings={"boot": "hvm", **more})
    assert "disk.boot" in caught.value.hint


def test_no_multiboot_no_hvm(make: Make, kernels: Path) -> None:
    with pytest.raises(KernelError, match="GRUB finds no Multiboot header in it") as caught:
        make(kernels / "hello.xen", settings={"boot": "hvm"})
    assert caught.value.exit_code == 3
    assert caught.value.hint == 'boot = "auto" boots it'


def test_the_disk(make: Make, kernels: Path, area: bytes) -> None:
    """The same bytes again, the table as sfdisk reads it, and the file system as e2fsck does."""
    (artifact,) = make(kernels / "hello-pvh.xen", settings={"boot": "hvm"})
    disk = artifact.path.read_bytes()
    assert disk[:TABLE_AT] == area[:TABLE_AT]
    assert disk[SECTOR : len(area)] == area[SECTOR:]
    (again,) = make(kernels / "hello-pvh.xen", settings={"boot": "hvm"}, out=artifact.path.with_name("again"))
    assert again.digest == artifact.digest
    told = run("sfdisk", "-d", artifact.path).text()
    assert "start=        2048" in told
    assert "bootable" in told
    run("e2fsck", "-fn", f"{artifact.path}?offset={1 << 20}")
