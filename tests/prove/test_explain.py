"""Why it does not boot: words of xl and pygrub, what inspect finds in real images, nothing a terminal obeys."""

import os
from pathlib import Path

import pytest

from imagekit.kernel import Way
from imagekit.prove.boot import Boot, Verdict
from imagekit.prove.explain import against_amazon, explain
from tests.conftest import Make


def ended(said: str = "", console: bytes = b"", verdict: Verdict = Verdict.REFUSED) -> Boot:
    return Boot(verdict, "why", console, said, {}, 0)


@pytest.fixture
def good(make: Make, kernels: Path) -> Path:
    """Return an image that inspect has nothing against."""
    return make(kernels / "hello.xen", target="xen")[0].path


@pytest.fixture
def hvm(make: Make, kernels: Path) -> Path:
    """Return an image for an HVM guest, that inspect has nothing against."""
    return make(kernels / "hello-pvh.xen", target="xen", settings={"boot": "hvm"})[0].path


@pytest.mark.parametrize(
    "said, meaning",
    [
        ("xc: xc_dom_find_loader: no loader found: Invalid kernel", "does not take this file for a kernel"),
        ("RuntimeError: Unable to find partition containing kernel", "pygrub finds no menu that names a kernel"),
        ("xc: Image is not capable of booting inside a HVM container", "has no entry for PVH"),
        ("Unable to open /boot/kernel", "is not on the disk"),
        ("xc: error: panic: xc_dom_alloc: memory allocation failed", "memory is perhaps too small"),
    ],
)
def test_words_have_a_meaning(said: str, meaning: str, good: Path) -> None:
    lines = explain(ended(said), good, Way.PYGRUB_PV).splitlines()
    assert lines[:2] == ["xl and the boot loader said:", f"  {said}"]
    assert lines[2:4] == ["the console is empty", "in the image:"]
    assert meaning in lines[4]
    assert len(lines) == 5


@pytest.mark.parametrize(
    "console, meaning",
    [
        (b"no root file system: /dev/mapper/vg0-root\r\n", "does not find its root"),
        (b"VFS: Unable to mount root fs on unknown-block(0,0)\r\n", "does not find its root"),
        (b"ALERT!  LABEL=root does not exist.  Dropping to a shell!\r\n", "does not find its root"),
        (b"Kernel panic - not syncing: System is deadlocked on memory\r\n", "memory is perhaps too small"),
    ],
)
def test_words_of_a_guest(console: bytes, meaning: str, good: Path) -> None:
    said = "xc: detail: elf_load_binary: phdr 0 at 0x1000000\nxc: detail: domain memory 64 MB, allocation done"
    told = explain(ended(said, console, Verdict.CRASHED), good, Way.PYGRUB_PV).splitlines()
    assert told[-2] == "in the image:"
    assert meaning in told[-1]


@pytest.mark.parametrize(
    "said, console, meaning",
    [
        (
            "(d1) Boot failed: not a bootable disk",
            "",
            "no boot sector that a BIOS would start",
        ),
        ("", "error: no multiboot header found.", "no multiboot header in the kernel"),
        ("", "error: file `/boot/hello.xen' not found.", "the kernel that grub.cfg names is not on the disk"),
        ("", "error: unknown filesystem.\nEntering rescue mode...\ngrub rescue>", "finds no /boot/grub/grub.cfg"),
        ("", "GNU GRUB  version 2.06\n\ngrub> ", "finds no /boot/grub/grub.cfg"),
        ("(XEN) d1v0 Triple fault - invoking HVM shutdown action 1", "hello", "outb 0x21 0xff, outb 0xa1 0xff"),
        ("", "Solo5: trap: type=#DF ec=0x0", "the 8259 is masked before it starts"),
        ("", "VFS: Unable to mount root fs on unknown-block(0,0)", "does not find its root"),
        ("(d1) Booting from 0000:7c00", "", "GRUB ended before it said a word"),
        ("", "error: syntax error.\nerror: Incorrect command.", "grub.cfg has a syntax error"),
        ("(XEN) d1v0 Triple fault - invoking HVM shutdown action 1", "", "GRUB ended before it said a word"),
    ],
)
def test_words_of_an_hvm_guest(said: str, console: str, meaning: str, hvm: Path) -> None:
    told = explain(ended(said, console.encode(), Verdict.HUNG), hvm, Way.HVM).splitlines()
    assert told[-2] == "in the image:"
    assert meaning in told[-1]


def test_a_boot_sector_that_is_silent(hvm: Path) -> None:
    with hvm.open("r+b") as file:
        os.pwrite(file.fileno(), b"\xfa", 0)
    told = explain(ended("(d1) Booting from 0000:7c00", verdict=Verdict.HUNG), hvm, Way.HVM).splitlines()
    assert told[-1].startswith("  the boot sector starts no GRUB that imagekit knows")


def test_a_silent_disk_of_which_nothing_is_known(tmp_path: Path) -> None:
    (tmp_path / "none.raw").write_bytes(bytes(1 << 20))
    told = explain(ended("(d1) Booting from 0000:7c00", verdict=Verdict.HUNG), tmp_path / "none.raw", Way.HVM)
    assert "says nothing on the serial port" in told


def test_an_hvm_guest_that_crashed_without_a_word(hvm: Path) -> None:
    assert explain(ended(verdict=Verdict.CRASHED), hvm, Way.HVM) == "the console is empty"


FAULT = "(XEN) d1v0 Triple fault - invoking HVM shutdown action 1"


def in_the_image(image: Path, said: str = "", console: bytes = b"") -> list[str]:
    """Return what it is found to be of."""
    told = explain(ended(said, console, Verdict.CRASHED), image, Way.HVM)
    return told.partition("in the image:\n")[2].splitlines()


def test_grubs_core_explains_it(hvm: Path) -> None:
    """Whatever the fault looks like, it was none of the kernel's."""
    with hvm.open("r+b") as file:
        os.pwrite(file.fileno(), bytes(512), 80 * 512)
    first, second = in_the_image(hvm, FAULT)
    assert "the boot sector is GRUB's, and its core cannot be read" in first
    assert "GRUB ended before it said a word" in second


@pytest.mark.parametrize(
    "old, new, console, words",
    [
        (b"fi\n}", b"  \n}", b"error: syntax error.\ngrub> ", "grub.cfg: an `if` or a brace is not closed"),
        (b" {\n", b"  \n", b"error: syntax error.\ngrub> ", "grub.cfg: an `if` or a brace is not closed"),
        (b"set timeout=0", b"set timeaut=0", b"", "/boot/grub/grub.cfg has no timeout: it waits for a key"),
    ],
)
def test_grub_cfg_explains_it(hvm: Path, old: bytes, new: bytes, console: bytes, words: str) -> None:
    disk = hvm.read_bytes()
    assert disk.count(old)
    hvm.write_bytes(disk.replace(old, new))
    (reason,) = in_the_image(hvm, console=console)
    assert words in reason


def test_a_boot_sector_that_starts_no_grub(good: Path) -> None:
    assert in_the_image(good) == ["  the boot sector starts no GRUB"]


def test_a_triple_fault_is_xens_word(hvm: Path) -> None:
    told = explain(ended(f"(d1) SeaBIOS\n{FAULT}", b"hello", Verdict.CRASHED), hvm, Way.HVM)
    assert told.splitlines()[:2] == ["Xen said:", f"  {FAULT}"]


def test_words_of_memory_alone_explain_nothing(good: Path) -> None:
    said = "xc: detail: domain memory 64 MB, allocation done"
    assert "in the image" not in explain(ended(said, b"hello\n", Verdict.CRASHED), good, Way.PYGRUB_PV)


def test_words_without_a_meaning_stand_for_themselves(good: Path) -> None:
    told = explain(ended("something new"), good, Way.PYGRUB_PV)
    assert told == "xl and the boot loader said:\n  something new\nthe console is empty"


def test_only_the_last_lines_are_told_and_never_a_screen(good: Path) -> None:
    said = "\n".join(["    pyGRUB  version 0.7   lqqqqk  hello", *(f"line {number}" for number in range(30))])
    console = b"".join(b"console %d\r\n\r\n" % number for number in range(30))
    told = explain(ended(said, console), good, Way.PYGRUB_PV)
    assert "pyGRUB" not in told
    lines = [line for line in told.splitlines() if line.startswith("  line")]
    assert lines == [f"  line {number}" for number in range(18, 30)]
    assert told.splitlines()[-12:] == [f"  console {number}" for number in range(18, 30)]


def test_what_xl_said_is_not_told_when_it_started_the_guest(good: Path) -> None:
    told = explain(ended("Parsing config", b"panic: no disk\n", Verdict.CRASHED), good, Way.PYGRUB_PV)
    assert told == "the console's last lines:\n  panic: no disk"


def test_the_kernel_in_the_image_explains_it(make: Make, kernels: Path) -> None:
    image = make(kernels / "hello-pvh.xen", target="xen")[0].path
    told = explain(ended("no loader found"), image, Way.PYGRUB_PV)
    assert told.endswith("in the image:\n  /boot/hello-pvh.xen: it has no entry for PV, only for PVH")


def test_the_kernel_alone_explains_it(kernels: Path) -> None:
    told = explain(ended(), kernels / "hello-pvh.xen", Way.PV_DIRECT)
    assert "in the image:\n  it has no entry for PV" in told


def test_a_disk_without_a_menu_explains_it(tmp_path: Path) -> None:
    (tmp_path / "zero.raw").write_bytes(bytes(1 << 20))
    told = explain(ended(), tmp_path / "zero.raw", Way.PYGRUB_PV)
    assert "in the image:\n  " in told


def test_an_image_that_is_gone_is_said_so(tmp_path: Path) -> None:
    told = explain(ended(), tmp_path / "none.raw", Way.PYGRUB_PV)
    assert told.partition("in the image:")[2].strip() == "none.raw: no such file"


def test_amazons_rules(make: Make, kernels: Path) -> None:
    assert against_amazon(make(kernels / "hello.xen", target="ebs")[0].path) == ()
    with_files = make(kernels / "hello.xen", target="xen", settings={"filesystem.type": "fat16"})[0].path
    assert against_amazon(with_files)
