"""`imagekit convert` to an XVA: its VM's kind is one that the disk boots."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from imagekit.artifact import sidecar_path
from imagekit.formats.xva import Machine, Xva
from tests.cli.conftest import Cli

MIB = 1 << 20
Alone = Callable[[str, str], Path]
GUESTS = [("pv", "hello.xen"), ("pvh", "hello-pvh.xen"), ("hvm", "hello-pvh.xen")]


def machine_of(path: str) -> Machine:
    """Return the one VM of an XVA."""
    with Path(path).open("rb") as file:
        (machine,) = Xva(iter(lambda: file.read(MIB), b"")).facts.machines
    return machine


@pytest.fixture
def alone(cli: Cli, kernels: Path) -> Alone:
    """Return a function that builds alone.raw, without a sidecar, of a kernel for a kind of guest."""

    def build(kernel: str, boot: str) -> Path:
        more = ("-t", "xcp", "--boot", boot, "--set", "xcp.format=raw", "-q", "-o", "alone.raw")
        assert cli("build", kernels / kernel, *more).code == 0
        sidecar_path(Path("alone.raw")).unlink()
        return Path("alone.raw")

    return build


@pytest.mark.parametrize("boot, kernel", GUESTS)
def test_a_disk_s_own_guest_is_the_xva_s(cli: Cli, alone: Alone, boot: str, kernel: str) -> None:
    """No sidecar says what it is: what pygrub finds does, or GRUB in its boot sector."""
    said = cli("convert", alone(kernel, boot), "app.xva")
    assert (said.code, said.out, said.err) == (0, "app.xva\n", "")
    assert machine_of("app.xva").kind == boot
    assert cli("verify", "app.xva", "-t", "xcp").code == 0


@pytest.mark.parametrize(
    "boot, kernel, guest, words",
    [
        ("hvm", "hello-pvh.xen", "pv", "PV: pygrub: /boot/grub/grub.cfg says `multiboot`, which it does not"),
        ("hvm", "hello-pvh.xen", "pvh", "PVH: pygrub: /boot/grub/grub.cfg says `multiboot`, which it does not"),
        ("pv", "hello.xen", "hvm", "HVM: GRUB BIOS: the boot sector starts no GRUB"),
        ("pv", "hello.xen", "pvh", "PVH: it has no entry for PVH"),
        ("pvh", "hello-pvh.xen", "pv", "PV: it has no entry for PV"),
    ],
)
def test_a_guest_that_the_disk_does_not_boot(
    cli: Cli, alone: Alone, boot: str, kernel: str, guest: str, words: str
) -> None:
    said = cli("convert", alone(kernel, boot), "app.xva", "--guest", guest)
    assert (said.code, said.out) == (3, "")
    assert f"alone.raw boots no {guest.upper()} guest\n" in said.err
    assert words in said.err
    assert f"hint: it boots by --guest {boot}\n" in said.err
    assert not Path("app.xva").exists()


def test_a_disk_that_no_guest_boots(cli: Cli, alone: Alone) -> None:
    disk = alone("hello-pvh.xen", "hvm")
    with disk.open("r+b") as file:
        os.pwrite(file.fileno(), bytes(440), 0)
    said = cli("convert", disk, "app.xva")
    assert said.code == 3
    assert "alone.raw boots no guest of a Xen host\n" in said.err
    assert "PV: pygrub: " in said.err
    assert "HVM: GRUB BIOS: the boot sector starts no GRUB" in said.err


def test_a_disk_of_which_nothing_is_told(cli: Cli) -> None:
    Path("zero.raw").write_bytes(bytes(2 << 20))
    said = cli("convert", "zero.raw", "app.xva", "--guest", "hvm")
    assert said.code == 0
    assert "warning: whether it boots as HVM guest cannot be told: no partition table, no file system" in said.err
    assert machine_of("app.xva").kind == "hvm"


def test_a_kernel_is_no_disk(cli: Cli, kernels: Path) -> None:
    said = cli("convert", kernels / "hello.xen", "app.xva")
    assert said.code == 3
    assert "PV: it is a kernel, and no disk" in said.err


def test_an_xva_of_a_vhd(cli: Cli, alone: Alone) -> None:
    assert cli("convert", alone("hello-pvh.xen", "hvm"), "app.vhd").code == 0
    assert cli("convert", "app.vhd", "app.xva").code == 0
    assert machine_of("app.xva").kind == "hvm"


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("convert", "a.raw", "b.xva", "--guest", "foo"), "'--guest': 'foo' is not one of 'pv', 'pvh', 'hvm'."),
        (("prove", "a.raw", "--boot", "foo"), "'--boot': 'foo' is not one of 'auto', 'pv', 'pvh', 'hvm'."),
    ],
)
def test_a_choice_that_is_none(cli: Cli, arguments: tuple[str, ...], words: str) -> None:
    said = cli(*arguments)
    assert said.code == 2
    assert f"Invalid value for {words}\n" in said.err
