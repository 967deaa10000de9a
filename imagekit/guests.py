"""The guest types that a host starts, by pygrub, PV-GRUB or a kernel file: which of them boots a kernel."""

from collections.abc import Mapping
from typing import Literal

from imagekit.errors import UnsuitedError
from imagekit.kernel import KernelFacts, Refusal, Way, why_not
from imagekit.recipe import Image
from imagekit.stages import Guest

Loader = Literal["pygrub", "direct"]
"""What reads the kernel: pygrub, from the disk, or the toolstack, from a file in dom0."""

_WAYS: dict[tuple[Guest, Loader], Way] = {
    ("pv", "pygrub"): Way.PYGRUB_PV,
    ("pv", "direct"): Way.PV_DIRECT,
    ("pvh", "pygrub"): Way.PVH_PYGRUB,
    ("pvh", "direct"): Way.PVH,
}


# What reads the boot menu, and on which file systems: Xen 4.17's libfsimage (whose xfs is older than version 5,
# which mkfs.xfs makes today), and Amazon's EC2 user guide, "User provided kernels" (GRUB 0.97: the same of xfs).
_EXT = {"ext2", "ext3", "ext4"}
READS: Mapping[str, set[str]] = {
    "pygrub": _EXT | {"fat16", "fat32", "reiserfs"},
    "Amazon's PV-GRUB": _EXT | {"jfs", "reiserfs"},
}
_PV_GRUB = "Amazon's PV-GRUB"


def check_readable(image: Image, loader: Literal["pygrub", "direct", "pv-grub"]) -> None:
    """UnsuitedError for a disk on which what boots it would not find menu and kernel."""
    if loader == "direct" or image.disk.boot:
        return
    name, kind = _PV_GRUB if loader == "pv-grub" else loader, image.filesystem.type
    if image.disk.lvm is None and kind in READS[name]:
        return
    told = "LVM" if image.disk.lvm else "FAT" if kind.startswith("fat") else kind
    hint = 'disk.boot = "64MiB" and a layout of mbr or gpt: an ext2 partition for /boot; or a type that it reads: '
    raise UnsuitedError(f"{name} reads no {told}", hint=hint + ", ".join(sorted(READS[name])))


def way_of(guest: Guest, loader: Loader) -> Way:
    """Return how such a guest boots."""
    return _WAYS[guest, loader]


def guest_of(facts: KernelFacts, image: Image, loader: Loader) -> Guest:
    """Return the first guest type that the image allows and that boots the kernel, which was not refused."""
    return next(guest for guest in _allowed(image) if why_not(facts, _WAYS[guest, loader]) is None)


def refusal_of(facts: KernelFacts, image: Image, loader: Loader) -> Refusal | None:
    """Tell why no guest type that the image allows boots this kernel: of that type which it has an entry for."""
    refusals = [why_not(facts, _WAYS[guest, loader]) for guest in _allowed(image)]
    found = [one for one in refusals if one is not None]
    if len(found) < len(refusals):
        return None
    telling = (one for one in found if facts.kind in {"none", "both"} or facts.kind.value in one.way.value)
    return next(telling, found[0])


def pv_alone(cloud: str, facts: KernelFacts, image: Image, way: Way = Way.PYGRUB_PV) -> Refusal | None:
    """Tell why a cloud that has no guests but PV ones cannot boot this kernel as the image wants it."""
    if image.boot == "pvh":
        return Refusal(f"{cloud} has no PVH guests, and the image asks for one", 'boot = "auto" or "pv"', way)
    return why_not(facts, way)


def _allowed(image: Image) -> tuple[Guest, ...]:
    return ("pv", "pvh") if image.boot == "auto" else (image.boot,)
