"""The guest types that a system starts, by pygrub, PV-GRUB, GRUB or a kernel file: which of them boots a kernel.

They are tried in the order in which a system has them: PV, PVH, HVM; for Qubes OS, PVH first. Where an image
leaves it open, the first one that boots is taken.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from imagekit.errors import UnsuitedError
from imagekit.kernel import KernelFacts, Refusal, Way, why_not
from imagekit.plan import Json
from imagekit.recipe import MIB, Image
from imagekit.stages import Guest

Loader = Literal["pygrub", "direct"]
"""What reads a PV or PVH guest's kernel: pygrub, from the disk, or the toolstack, from a file in dom0."""

Ways = Mapping[Guest, Way]
"""The guest types that a system has, the one that is tried first before the others, and how each boots."""

HOST: Mapping[Loader, Ways] = {
    "pygrub": {"pv": Way.PYGRUB_PV, "pvh": Way.PVH_PYGRUB, "hvm": Way.HVM},
    "direct": {"pv": Way.PV_DIRECT, "pvh": Way.PVH},
}
"""Those of a Xen host, whether xl or xapi runs it. An HVM guest's kernel comes from its disk."""

# What reads the boot menu, and on which file systems: Xen 4.17's libfsimage (whose xfs is older than version 5,
# which mkfs.xfs makes today), Amazon's EC2 user guide, "User provided kernels" (GRUB 0.97: the same of xfs), and
# the modules that `imagekit.disk` puts into GRUB's core.
_EXT = {"ext2", "ext3", "ext4"}
READS: Mapping[str, set[str]] = {
    "pygrub": _EXT | {"fat16", "fat32", "reiserfs"},
    "Amazon's PV-GRUB": _EXT | {"jfs", "reiserfs"},
    "GRUB in the boot sector": _EXT | {"fat16", "fat32"},
}
_READERS: Mapping[Way, str] = {
    Way.PYGRUB_PV: "pygrub",
    Way.PVH_PYGRUB: "pygrub",
    Way.PV_GRUB: "Amazon's PV-GRUB",
    Way.HVM: "GRUB in the boot sector",
}

_HEAP = 2 * MIB
"""What a kernel that is no Linux wants, at the least, beside itself: Solo5's own page tables, stack and a heap."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The guest type that boots a kernel, how it does, and in a line what is against those tried before it."""

    guest: Guest
    way: Way
    since: str = ""

    def to_json(self) -> dict[str, Json]:
        """Return what a sidecar says of it."""
        return {"guest": self.guest, "way": self.way.value, **({"since": self.since} if self.since else {})}


def check_readable(image: Image, way: Way) -> None:
    """UnsuitedError for a disk on which what boots it would not find menu and kernel."""
    if way not in _READERS or image.disk.boot:
        return
    name, kind = _READERS[way], image.filesystem.type
    if image.disk.lvm is None and kind in READS[name]:
        return
    told = "LVM" if image.disk.lvm else "FAT" if kind.startswith("fat") else kind
    hint = 'disk.boot = "64MiB": an ext2 partition for /boot; or a type that it reads: '
    raise UnsuitedError(f"{name} reads no {told}", hint=hint + ", ".join(sorted(READS[name])))


def choose(facts: KernelFacts, image: Image, ways: Ways) -> Choice:
    """Return the first guest type that the image allows and that boots the kernel, which was not refused."""
    against: list[str] = []
    for guest in _allowed(image, ways):
        refusal = why_not(facts, ways[guest])
        if refusal is None:
            return Choice(guest, ways[guest], "; ".join(dict.fromkeys(against)))
        against.append(refusal.reason)
    raise AssertionError("a kernel that no guest of this system boots")


def scarce_memory(facts: KernelFacts, image: Image) -> str:
    """Return, in a line, why the guest's memory is perhaps too small; "" where it is not.

    Linux dies without a word where it is: unpacked it lies beside itself, and so does its initrd. Others have
    their heap behind them, and few of them say what they need.
    """
    ramdisk = image.ramdisk.stat().st_size if image.ramdisk and image.ramdisk.is_file() else 0
    spans = facts.memory + ramdisk
    wanted = 2 * spans if facts.is_linux else spans + _HEAP
    if image.memory >= wanted:
        return ""
    what = "kernel and ramdisk span" if ramdisk else "the kernel spans"
    told = f"memory is {_mib(image.memory)} MiB, and {what} {_mib(spans)} MiB of it"
    return f'{told}: memory = "{_mib(wanted)}MiB" is safer'


def _mib(size: int) -> int:
    return -(-size // MIB)


def refusal_of(facts: KernelFacts, image: Image, ways: Ways, system: str) -> Refusal | None:
    """Tell why no guest type that system and image allow boots this kernel: of that which it has an entry for."""
    allowed = _allowed(image, ways)
    if not allowed:
        reason = f"{system} has no {image.boot.upper()} guests, and the image asks for one"
        return Refusal(reason, "", next(iter(ways.values())))
    found = [refusal for guest in allowed if (refusal := why_not(facts, ways[guest])) is not None]
    if len(found) < len(allowed):
        return None
    telling = [one for one in found if facts.kind in {"none", "both"} or facts.kind.value in one.way.value]
    return telling[0] if telling else _joined(allowed, found)


def host_refusal(facts: KernelFacts, image: Image, target: Literal["xen", "xcp"], system: str) -> Refusal | None:
    """Tell the same of a host, with the loader that the recipe has in the target's table."""
    loader: Loader = getattr(image, target).loader
    if loader == "direct" and image.boot == "hvm":
        reason = f"an HVM guest's kernel comes from its disk, and {target}.loader is direct"
        return Refusal(reason, f'{target}.loader = "pygrub"', Way.HVM)
    return refusal_of(facts, image, HOST[loader], system)


def _joined(guests: Iterable[Guest], found: Sequence[Refusal]) -> Refusal:
    """Return one refusal of several guest types, none of which the kernel is made for."""
    if len(found) == 1:
        return found[0]
    reasons = (f"as {guest.upper()}: {one.reason}" for guest, one in zip(guests, found, strict=True))
    return Refusal("; ".join(reasons), "; or ".join(one.missing for one in found if one.missing), found[0].way)


def _allowed(image: Image, ways: Ways) -> tuple[Guest, ...]:
    return tuple(guest for guest in ways if image.boot in {"auto", guest})
