"""What an HVM guest needs of dom0: Debian's QEMU for Xen, hvmloader, and SeaBIOS."""

from pathlib import Path

from imagekit.errors import ToolError
from imagekit.prove.lab.absent import absent
from imagekit.prove.lab.names import XEN
from imagekit.prove.lab.tree import Tree

DEVICE_MODEL = "usr/libexec/xen-qemu-system-i386"
"""The program that xl starts for each HVM guest."""

_HVMLOADER = f"usr/lib/xen-{XEN}/boot/hvmloader"
_BIOS = "usr/share/seabios/bios-256k.bin"
_SPICE = "usr/lib/x86_64-linux-gnu/libspice-server.so.1"
# `mov $2500, %edx`: the milliseconds for which it offers its boot menu (src/boot.c, interactive_bootmenu).
_MENU_WAIT, _NO_WAIT = b"\xba\xc4\x09\0\0", b"\xba\x01\0\0\0"


def leave_out_spice(unpacked: Path) -> None:
    """Lay an absent library in SPICE's place: of no use without a screen, it would bring thirty others."""
    (unpacked / _SPICE).write_bytes(absent(unpacked / DEVICE_MODEL, Path(_SPICE).name))


def take_device_model(tree: Tree, unpacked: Path) -> None:
    """Put all of it there but its libraries."""
    tree.take(DEVICE_MODEL)
    tree.take(_HVMLOADER)
    tree.file(_BIOS, impatient((unpacked / _BIOS).read_bytes()))
    # `-vnc none` wants one to exist all the same.
    tree.file("usr/share/qemu/keymaps/en-us", b"")


def impatient(bios: bytes) -> bytes:
    """Return SeaBIOS with its boot menu's wait shortened from 2.5 s to 1 ms: nobody sits before it."""
    if bios.count(_MENU_WAIT) != 1:
        raise ToolError("SeaBIOS does not wait where it used to", hint="the lab is made of Debian 12's seabios")
    return bios.replace(_MENU_WAIT, _NO_WAIT)
