"""Images for `make prove`: by imagekit, and by hand where it rightly refuses; Debian's Linux with an initramfs."""

import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from boot_row import MIB, Maker

import imagekit
from imagekit import command
from imagekit.prove import Expected
from imagekit.prove.lab import cpio, load

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build"
CACHE, STATE = BUILD / "lab-cache", BUILD / "lab-state"  # tests use the same lab
KERNELS = BUILD / "kernels"
RECIPES = ROOT / "recipes"

PAGE_FAULT = bytes.fromhex("48 a1 00f0ffffffffffff")  # mov 0xfffffffffffff000, %rax
FOR_EVER = bytes.fromhex("eb fe")  # 1: jmp 1b
SHELL = Expected("shell: 42", off=True)
LINUX_MEMORY = 128 * MIB

_INIT = b"""#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install /bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
insmod /xen-netfront.ko
if [ -e /sys/class/net/eth0 ]; then
  ip link set eth0 up
  udhcpc -q -n -i eth0 -s /dhcp
  httpd -h /www
fi
echo "shell: $((6 * 7))"
[ -e /sys/class/net/eth0 ] && sleep 600
poweroff -f
"""
_DHCP = b"""#!/bin/busybox sh
[ "$1" = bound ] && ip addr add "$ip/$mask" dev "$interface"
exit 0
"""
PAGE_BODY = "A page from Linux"


def built(source: Path, target: str = "xen", /, image: str = "", **settings: object) -> Maker:
    """Return the maker of an image of a kernel or a recipe; in a setting's name __ stands for the dot."""
    keys = {name.replace("__", "."): value for name, value in settings.items()}

    def make(folder: Path) -> Path:
        artifacts = imagekit.make(
            [source],
            targets=[target],
            out=f"{folder}/",
            settings={name: value() if callable(value) else value for name, value in keys.items()},
            environment={"LINUX": str(linux()), "BUILD": "1"},
            cache=CACHE,
        )
        return next(artifact.path for artifact in artifacts if image in {"", artifact.image})

    return make


def by_hand(*, partitioned: bool = False, **files: Callable[[], bytes]) -> Maker:
    """Return the maker of an ext2 image by mke2fs, in an MBR's partition by sfdisk if so wished."""
    places = {"menu": "boot/grub/menu.lst", "cfg": "boot/grub/grub.cfg", "kernel": "boot/app.xen"}

    def make(folder: Path) -> Path:
        for name, content in files.items():
            path = folder / "tree" / places[name]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content())
        disk, start = folder / "disk.raw", MIB if partitioned else 0
        disk.touch()
        if partitioned:
            with disk.open("r+b") as file:
                file.truncate(9 * MIB)
            command.run("sfdisk", "-q", disk, stdin=b"label: dos\nstart=2048, type=83\n")
        command.run("mke2fs", "-q", "-F", "-E", f"offset={start}", "-d", folder / "tree", disk, "8M")
        return disk

    return make


def menu(root: str = "(hd0)", kernel: str = "/boot/app.xen") -> Callable[[], bytes]:
    """Return a menu.lst."""
    return f"default 0\ntimeout 0\ntitle app\nroot {root}\nkernel {kernel} by=hand\n".encode


def kernel(name: str, start: bytes = b"") -> Callable[[], bytes]:
    """Return a kernel file; `start` is machine code over the instructions that it begins with."""

    def read() -> bytes:
        data = bytearray((KERNELS / name).read_bytes())
        if start:
            at = 4096  # recipes/kernels/kernel.lds.S
            data[at : at + len(start)] = start
        return bytes(data)

    return read


def changed(maker: Maker, change: Callable[[bytes], bytes]) -> Maker:
    """Return the maker of an image whose bytes are changed."""

    def make(folder: Path) -> Path:
        before = maker(folder)
        after, data = before.with_name("changed.raw"), change(before.read_bytes())
        after.write_bytes(data)
        return after

    return make


@cache
def linux() -> Path:
    """Return the newest kernel that Debian installed here."""
    found = [path for path in Path("/boot").glob("vmlinuz-*") if modules(path).is_dir()]
    if not found:
        sys.exit("tools/prove: no kernel in /boot: make setup installs linux-image-amd64")
    return max(found, key=lambda path: path.stat().st_mtime)


def modules(vmlinuz: Path) -> Path:
    """Return where a kernel's modules lie."""
    return Path("/lib/modules") / vmlinuz.name.removeprefix("vmlinuz-")


@cache
def initramfs() -> str:
    """Make an initramfs and return its path: a shell, one script, and a card's driver."""
    entries = [
        *map(cpio.folder, ("bin", "dev", "proc", "sys", "www")),
        cpio.file("bin/busybox", busybox(), executable=True),
        cpio.file("init", _INIT, executable=True),
        cpio.file("dhcp", _DHCP, executable=True),
        cpio.file("www/index.html", PAGE_BODY.encode()),
        cpio.file("xen-netfront.ko", (modules(linux()) / "kernel/drivers/net/xen-netfront.ko").read_bytes()),
    ]
    path = BUILD / "prove-initramfs.img"
    path.write_bytes(b"".join(cpio.newc(entries)))
    return str(path)


def busybox() -> bytes:
    """Return Debian's static busybox, out of the initramfs of the lab's dom0."""
    lab = load(CACHE / "lab" / "dom0")
    members = _members(lab.dom0.read_bytes()) if lab else ()
    return next(data for name, data in members if name.endswith("bin/busybox"))


def _members(archive: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the names and contents of a cpio archive, as imagekit.prove.lab.cpio writes it."""
    header, at = 110, 0
    while at < len(archive):
        size, name_size = (int(archive[at + field : at + field + 8], 16) for field in (54, 94))
        start = (at + header + name_size + 3) & ~3
        yield archive[at + header : at + header + name_size - 1].decode(), archive[start : start + size]
        at = (start + size + 3) & ~3
