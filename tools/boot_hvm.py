"""Rows of `make prove` for HVM guests: disks with GRUB in their boot sector."""

from collections.abc import Iterator
from functools import partial

from boot_images import KERNELS, LINUX_MEMORY, PAGE_BODY, RECIPES, SHELL, built, changed, initramfs
from boot_row import LINK, MULTIBOOT, SHORT, Boot, Row

from imagekit.kernel import Way
from imagekit.prove import Expected, Verdict

_HEADER = bytes.fromhex("02b0ad1b 03000100")
_WAIT = bytes.fromhex("fb f4 eb fd")  # sti; 1: hlt; jmp 1b


def hvm() -> Iterator[Row]:
    """Yield disks with GRUB in their boot sector, on every file system that it reads."""
    source = KERNELS / "hello-pvh.xen"
    for kind in ("ext2", "ext3", "ext4", "fat16", "fat32"):
        image = built(source, boot="hvm", filesystem__type=kind)
        yield Boot(f"hello-pvh.xen, {kind}", Way.HVM, image, MULTIBOOT)
    image = built(source, "ebs", boot="hvm")
    yield Boot("hello-pvh.ebs, ext2, 1 GiB", Way.HVM, image, MULTIBOOT)
    recipe, booting = RECIPES / "linux.toml", partial(Boot, memory=LINUX_MEMORY, timeout=300.0)
    bare = built(recipe, image="linux", boot="hvm")
    yield booting("Debian's Linux, first message", Way.HVM, bare, Expected("Linux version"))
    shell = built(recipe, image="linux", boot="hvm", ramdisk=initramfs)
    yield booting("Debian's Linux, a shell", Way.HVM, shell, SHELL)
    page = Expected("shell: 42", body=PAGE_BODY)
    yield booting("Debian's Linux, DHCP and a web page", Way.HVM, shell, page, LINK)


def bad_hvm() -> Iterator[Row]:
    """Yield disks that no HVM guest boots from, each with the reason that has to be told."""
    bad = partial(Boot, expected=Expected(off=True), timeout=2 * SHORT)
    good = built(KERNELS / "hello-pvh.xen", boot="hvm")
    empty = changed(good, lambda disk: bytes(512) + disk[512:])
    yield bad("bad: no boot sector", Way.HVM, empty, fails=Verdict.REFUSED, why="no boot sector")
    lost = changed(good, lambda disk: disk.replace(b"multiboot '/boot/hello", b"multiboot '/boot/hallo"))
    yield bad("bad: no kernel of that name", Way.HVM, lost, fails=Verdict.REFUSED, why="is not on partition 1")
    headless = changed(good, lambda disk: disk.replace(_HEADER, bytes(8)))
    yield bad("bad: no multiboot header", Way.HVM, headless, fails=Verdict.REFUSED, why="no multiboot header")
    ticking = changed(good, _interrupted)
    masked = "bad: interrupts without a handler, the 8259 masked"
    yield bad(masked, Way.HVM, ticking, fails=Verdict.HUNG, why="nor ended")
    unmasked = changed(good, lambda disk: _interrupted(disk).replace(b"outb 0x", b"echo 0x"))
    yield bad("bad: the same, unmasked", Way.HVM, unmasked, fails=Verdict.CRASHED, why="the 8259 is masked")


def _interrupted(disk: bytes) -> bytes:
    """Let hello-pvh.xen do nothing but wait for interrupts, which it has no handlers for."""
    entry = disk.index(_HEADER) + 32  # recipes/kernels/hello-pvh.S
    return disk[:entry] + _WAIT + disk[entry + len(_WAIT) :]
