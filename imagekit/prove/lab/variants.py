"""The two labs: a small one for PV and PVH guests, and one whose dom0 has a device model, for HVM guests.

They differ in packages, files and in what dom0 is made of; everything else is one mechanism.
"""

from dataclasses import dataclass

from imagekit.prove.lab.names import HVM_PACKAGES, PACKAGES


@dataclass(frozen=True, slots=True)
class Variant:
    """A lab by its name, which is that of its folder in the cache; `memory` is dom0's, in MiB.

    `preparing` is the command that makes it.
    """

    name: str
    packages: tuple[str, ...]
    files: tuple[str, ...]
    memory: int
    device_model: bool
    preparing: str


_PREPARING = "imagekit prove --prepare"
_ALWAYS = ("xen", "vmlinux", "dom0.img")

PLAIN = Variant(
    "lab",
    PACKAGES,
    (*_ALWAYS, "pv-grub.bin", "pvh-grub.bin"),
    memory=256,
    device_model=False,
    preparing=_PREPARING,
)
"""dom0's memory holds its initramfs, and a kernel and a ramdisk that pygrub copies out of an image."""

HVM = Variant(
    "lab-hvm",
    HVM_PACKAGES,
    _ALWAYS,
    memory=256,
    device_model=True,
    preparing=f"{_PREPARING} --by hvm",
)
"""dom0's memory holds its initramfs and one QEMU."""
