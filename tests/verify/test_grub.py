"""A disk for an HVM guest: what is as it was made passes, and each lie on GRUB's way to the kernel is found."""

from collections.abc import Callable
from pathlib import Path

import pytest

from imagekit.artifact import Artifact
from imagekit.command import run
from imagekit.disk import grub_folder, grub_modules
from imagekit.disk.grub import checked_core, write_core
from imagekit.errors import VerificationError
from imagekit.verify import verify
from tests.verify.lie import GRUB_CFG, MENU, MIB, Built, Lie

MASKS = "  outb 0x21 0xff\n  outb 0xa1 0xff\n"
CFG = (
    f"set default=0\nset timeout=0\nmenuentry 'x' {{\n  multiboot '/boot/hello-pvh.xen' 'a=1' 'b=two'\n{MASKS}}}\n"
)
EVIL_IN_THE_ENTRY = (
    "set default=0\nset timeout=0\nmenuentry 'x' {\n  multiboot '/boot/hello-pvh.xen' 'a=1' 'b=two'\n"
    "  multiboot /boot/evil.xen\n  if false; then\n  outb 0x21 0xff\n  outb 0xa1 0xff\n  fi\n}\n"
)
UNKNOWN = "has a line that imagekit does not write\nline "
HVM = ["digest", "companions", "partition table", "identity", "file system", "boot sector", "grub.cfg", "kernel"]


@pytest.fixture
def image(artifact: Built) -> Lie:
    return artifact(kernel="hello-pvh.xen", boot="hvm")


def told(image: Lie) -> str:
    """Return what the VerificationError says, which must come."""
    with pytest.raises(VerificationError) as error:
        list(verify(image.main))
    return f"{error.value.brief}\n{error.value.details}"


def test_what_is_true(image: Lie) -> None:
    checks = list(verify(image.main))
    assert {check.verdict for check in checks} == {"ok"}
    assert [check.name for check in checks][: len(HVM)] == HVM
    seen = {check.name: check.seen for check in checks}
    assert seen["grub.cfg"] == "multiboot /boot/hello-pvh.xen, with 'a=1 b=two'"
    assert seen["boot sector"].endswith("reads (hd0,msdos1)/boot/grub")


@pytest.mark.parametrize(
    "more",
    [
        {"filesystem__type": "fat16"},
        {"filesystem__type": "ext4", "disk__boot": "8MiB"},
        {"cmdline": '"a  b"  $c {'},
        {"target": "ebs"},
        {"target": "xcp"},
        {"target": "xcp", "xcp__format": "xva"},
    ],
    ids=str,
)
def test_what_else_is_true(artifact: Built, tmp_path: Path, more: dict[str, object]) -> None:
    (tmp_path / "initrd").write_bytes(b"initrd")
    image = artifact(kernel="hello-pvh.xen", **{"boot": "hvm", "ramdisk": str(tmp_path / "initrd"), **more})
    assert {check.verdict for check in verify(image.main)} == {"ok"}


def test_linux(make: Callable[..., list[Artifact]]) -> None:
    kernels = sorted(Path("/boot").glob("vmlinuz-*-amd64"))
    if not kernels:
        pytest.skip("no /boot/vmlinuz-*-amd64 is there (package linux-image-amd64)")
    (made,) = make(kernels[-1], settings={"boot": "hvm"})
    seen = {check.name: check.seen for check in verify(made.path)}
    assert seen["grub.cfg"].startswith("linux /boot/vmlinuz-")


def test_without_a_sidecar(image: Lie) -> None:
    image.sidecar.unlink()
    names = [check.name for check in verify(image.main, target="xen")]
    assert {"boot sector", "grub.cfg", "kernel"} <= set(names)
    assert not {"menu.lst", "pygrub"} & set(names)


@pytest.mark.parametrize(
    "text, line",
    [
        (
            CFG.replace("menuentry", "multiboot /boot/evil.xen\nboot\nmenuentry", 1),
            "3: 'multiboot /boot/evil.xen'",
        ),
        (EVIL_IN_THE_ENTRY, "5: '  multiboot /boot/evil.xen'"),
        (CFG.replace("default=0", "default=1") + "menuentry 'y' {\n  multiboot '/boot/evil.xen'\n}\n", "1: "),
        (CFG + "menuentry 'y' {\n  multiboot '/boot/evil.xen'\n}\n", "8: \"menuentry 'y' {\""),
    ],
)
def test_a_menu_that_boots_something_else(image: Lie, text: str, line: str) -> None:
    """Nobody says what it is to boot: no sidecar is there to tell the menu from."""
    image.write(GRUB_CFG, text.encode(), offset=MIB)
    image.sidecar.unlink()
    with pytest.raises(VerificationError, match=UNKNOWN.partition("\n")[0]) as error:
        list(verify(image.main, target="xen"))
    assert error.value.details.startswith(f"line {line}")


@pytest.mark.parametrize(
    "at, data, words",
    [
        (512 + 0x1F4, b"\3", "the rest of it at sector 2"),
        (1024 + 8, b"\0\0\0\0", "GRUB's core is damaged"),
        (512, bytes(31 << 10), "the boot sector, or what it loads, is not GRUB's"),
    ],
)
def test_a_damaged_one_without_a_sidecar(image: Lie, at: int, data: bytes, words: str) -> None:
    """GRUB's boot sector starts it, and nothing that pygrub would."""
    image.put(at, data)
    image.sidecar.unlink()
    with pytest.raises(VerificationError) as error:
        list(verify(image.main, target="xen"))
    assert words in f"{error.value.brief}\n{error.value.details}"


@pytest.mark.parametrize(
    "at, data, words",
    [
        (0x5C, b"\2", "core.img at sector 1"),
        (0, bytes(64), "a jump over the BIOS parameter block"),
        (512 + 0x1F4, b"\3", "the rest of it at sector 2"),
        (512 + 0x1FC, b"\xff\xff", "all of it in its list"),
        (1024 + 8, b"\0\0\0\0", "GRUB's core is damaged"),
        (64 * 512, bytes(512), "GRUB's core is damaged"),
    ],
)
def test_a_boot_sector_that_does_not_boot(image: Lie, at: int, data: bytes, words: str) -> None:
    image.put(at, data)
    assert words in told(image)


def test_a_core_without_the_module(image: Lie, tmp_path: Path) -> None:
    """It is GRUB's, and whole; and does not read this file system."""
    names = ["biosdisk", "part_msdos", "normal", "serial", "terminal", "echo", "test", "fat", "multiboot", "iorw"]
    write_core({}, tmp_path / "area", {"modules": names})
    area = (tmp_path / "area").read_bytes()
    image.put(512, area[512:])
    assert "GRUB's core would not find the kernel\nit lacks ext2" in told(image)


def test_a_core_with_commands_of_its_own(image: Lie, tmp_path: Path) -> None:
    """It would boot something before it looks for grub.cfg."""
    (tmp_path / "own.cfg").write_text("multiboot /boot/other\nboot\n")
    names = grub_modules("ext2", "multiboot", packed=False)
    own = ("-O", "i386-pc", "-p", "(hd0,msdos1)/boot/grub", "-c", tmp_path / "own.cfg", "-o", tmp_path / "core")
    run("grub-mkimage", "-d", grub_folder(), *own, *names)
    image.put(512, checked_core((tmp_path / "core").read_bytes()))
    assert "GRUB's core has commands of its own, before grub.cfg\n'multiboot /boot/other'" in told(image)


@pytest.mark.parametrize(
    "text, words",
    [
        (CFG.replace("b=two", "b=three"), "grub.cfg's command line is 'a=1 b=three'"),
        (CFG.replace("'b=two'", "'b=\"two\"'"), "grub.cfg's command line is 'a=1 b=\\\\\"two\\\\\"'"),
        (CFG.replace("timeout=0", "timeout=5"), "grub.cfg's timeout is '5'"),
        (CFG.replace("/boot/hello-pvh.xen", "/boot/none.xen"), "names /boot/none.xen, and there is no such file"),
        (CFG.replace("/boot/hello-pvh.xen", GRUB_CFG), f"grub.cfg's kernel is '{GRUB_CFG}'"),
        (
            CFG.replace("multiboot", "linux").replace(MASKS, ""),
            "grub.cfg loads the kernel by linux\nit takes multiboot",
        ),
        (CFG.replace(MASKS, ""), "leaves the 8259 as the BIOS had it"),
        (CFG.replace("menuentry", "submenu"), f"{UNKNOWN}3: \"submenu 'x' {{\""),
        (CFG.replace("'a=1'", "'a=1"), f"{UNKNOWN}4: "),
        (CFG.replace("  outb", "  module --nounzip '/boot/none'\n  outb", 1), "names /boot/none, and there is no"),
        (CFG.replace("'/boot/hello", "'boot/hello"), "names boot/hello-pvh.xen, and there is no such file"),
    ],
)
def test_a_menu_that_does_not_boot(image: Lie, text: str, words: str) -> None:
    image.write(GRUB_CFG, CFG.encode(), offset=MIB)
    assert {check.verdict for check in verify(image.main)} == {"ok"}, "a menu that says the same in other words"
    image.write(GRUB_CFG, text.encode(), offset=MIB)
    assert words in told(image)


def test_no_menu(image: Lie) -> None:
    image.remove(GRUB_CFG, offset=MIB)
    assert f"GRUB finds no {GRUB_CFG}" in told(image)


def test_another_kernel(image: Lie, kernels: Path) -> None:
    kernel = bytearray((kernels / "hello-pvh.xen").read_bytes())
    kernel[-1] ^= 1
    image.write("/boot/hello-pvh.xen", bytes(kernel), offset=MIB)
    assert "the kernel that /boot/grub/grub.cfg boots is not the one in the sidecar" in told(image)


def test_pygrub_boots_no_such_disk(image: Lie) -> None:
    """So it gets no menu of its own: Xen's pygrub breaks on this grub.cfg, whatever else lies there."""
    done = run(
        "pygrub", "-q", "--output-format=simple", f"--output-directory={image.main.parent}", image.main, ok=(0, 1)
    )
    assert done.status == 1
    assert MENU.encode() not in done.stderr
