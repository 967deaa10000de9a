"""The instance types of a rehearsed account: what each runs on, how it boots, its disks and its network.

A selection of Amazon's of 2026, families that are gone from sale included, as DescribeInstanceTypes tells of
them. Types of the Xen hypervisor have Xen's own disks and a BIOS, those of Nitro have NVMe and ENA, bare metal has
no hypervisor. Sources: Amazon's EC2 instance types guide, "Amazon EC2 instance type specifications"; botocore's
model of ec2 for names and values.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from imagekit.rehearsal.settings import PARAVIRTUAL_REGIONS

_BOTH = ("i386", "x86_64")
_LONG = ("x86_64",)
_BIOS = ("legacy-bios",)
_EITHER = ("hvm", "paravirtual")
_ROOTS = ("ebs", "instance-store")


@dataclass(frozen=True)
class InstanceType:
    """What EC2 says of an instance type, as far as an image's maker asks. `memory` is in MiB.

    `hypervisor` is "xen", "nitro", or "" for bare metal; `nvme` and `ena` are "required", "supported" or
    "unsupported": how EBS volumes and the network are seen.
    """

    name: str
    processors: int
    memory: int
    architectures: tuple[str, ...] = _LONG
    virtualizations: tuple[str, ...] = ("hvm",)
    roots: tuple[str, ...] = ("ebs",)
    hypervisor: str = "xen"
    boots: tuple[str, ...] = _BIOS
    nvme: str = "unsupported"
    ena: str = "unsupported"
    current: bool = False

    @property
    def family(self) -> str:
        """The name before its dot."""
        return self.name.partition(".")[0]


_PV = InstanceType("", 0, 0, virtualizations=("paravirtual",), roots=_ROOTS)
_XEN = InstanceType("", 0, 0, current=True)
_XEN_ENA = replace(_XEN, ena="supported")
_STORED = replace(_XEN, roots=_ROOTS, current=False)
_NITRO = InstanceType(
    "", 0, 0, hypervisor="nitro", boots=("legacy-bios", "uefi"), nvme="required", ena="required", current=True
)
_ARM = replace(_NITRO, architectures=("arm64",), boots=("uefi",))

# The family, MiB of memory a processor, the sizes, what they have in common.
_FAMILIES = (
    ("c4", 1920, "large xlarge 2xlarge 4xlarge", _XEN),
    ("d2", 7808, "xlarge 2xlarge 4xlarge", _XEN),
    ("g2", 1920, "2xlarge 8xlarge", _STORED),
    ("g3", 7808, "4xlarge 8xlarge 16xlarge", _XEN_ENA),
    ("h1", 4096, "2xlarge 4xlarge 8xlarge 16xlarge", _XEN_ENA),
    ("i2", 7808, "xlarge 2xlarge 4xlarge 8xlarge", _STORED),
    ("i3", 7808, "large xlarge 2xlarge 4xlarge 8xlarge 16xlarge", _XEN_ENA),
    ("m4", 4096, "large xlarge 2xlarge 4xlarge 10xlarge", _XEN),
    ("p3", 7808, "2xlarge 8xlarge 16xlarge", _XEN_ENA),
    ("r3", 7808, "large xlarge 2xlarge 4xlarge 8xlarge", _STORED),
    ("r4", 7808, "large xlarge 2xlarge 4xlarge 8xlarge 16xlarge", _XEN_ENA),
    ("x1", 15616, "16xlarge 32xlarge", _XEN_ENA),
    ("x1e", 31232, "xlarge 2xlarge 4xlarge 8xlarge 16xlarge 32xlarge", _XEN_ENA),
    ("a1", 2048, "large xlarge 2xlarge 4xlarge", _ARM),
    ("c5", 2048, "large xlarge 2xlarge 4xlarge 9xlarge 12xlarge 18xlarge 24xlarge", _NITRO),
    ("c5n", 2688, "large xlarge 2xlarge 4xlarge 9xlarge 18xlarge", _NITRO),
    ("c6g", 2048, "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge", _ARM),
    ("c6i", 2048, "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 32xlarge", _NITRO),
    ("i3en", 8192, "large xlarge 2xlarge 3xlarge 6xlarge 12xlarge 24xlarge", _NITRO),
    ("m5", 4096, "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge", _NITRO),
    ("m6g", 4096, "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge", _ARM),
    ("m6i", 4096, "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 32xlarge", _NITRO),
    ("m7i-flex", 4096, "large xlarge 2xlarge 4xlarge 8xlarge", _NITRO),
    ("r5", 8192, "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge", _NITRO),
    ("r6i", 8192, "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 32xlarge", _NITRO),
)
# Sizes of the T families: processors and memory of their own.
_BURSTS = {
    size: 512 << at for at, size in enumerate(["nano", "micro", "small", "medium", "large", "xlarge", "2xlarge"])
}
_SINGLE = {"nano": 1, "micro": 1, "small": 1, "medium": 2, "large": 2, "xlarge": 4, "2xlarge": 8}
_DOUBLE = {**dict.fromkeys(_BURSTS, 2), "xlarge": 4, "2xlarge": 8}
_SMALL = {"nano", "micro", "small", "medium"}  # of t2, those that run 32-bit images, too

# Name, processors, MiB, what it has in common with others: those whose sizes follow no rule.
_SINGLES = (
    ("c1.medium", 2, 1740, replace(_PV, architectures=_BOTH)),
    ("c1.xlarge", 8, 7168, _PV),
    ("c3.large", 2, 3840, replace(_PV, architectures=_BOTH, virtualizations=_EITHER)),
    ("c3.xlarge", 4, 7680, replace(_PV, virtualizations=_EITHER)),
    ("c3.2xlarge", 8, 15360, replace(_PV, virtualizations=_EITHER)),
    ("c3.4xlarge", 16, 30720, replace(_PV, virtualizations=_EITHER)),
    ("c3.8xlarge", 32, 61440, replace(_PV, virtualizations=_EITHER)),
    ("hs1.8xlarge", 17, 119808, replace(_PV, virtualizations=_EITHER)),
    ("m1.small", 1, 1740, replace(_PV, architectures=_BOTH)),
    ("m1.medium", 1, 3788, replace(_PV, architectures=_BOTH)),
    ("m1.large", 2, 7680, _PV),
    ("m1.xlarge", 4, 15360, _PV),
    ("m2.xlarge", 2, 17510, _PV),
    ("m2.2xlarge", 4, 35020, _PV),
    ("m2.4xlarge", 8, 70041, _PV),
    ("m3.medium", 1, 3840, replace(_PV, virtualizations=_EITHER)),
    ("m3.large", 2, 7680, replace(_PV, virtualizations=_EITHER)),
    ("m3.xlarge", 4, 15360, replace(_PV, virtualizations=_EITHER)),
    ("m3.2xlarge", 8, 30720, replace(_PV, virtualizations=_EITHER)),
    ("t1.micro", 1, 627, replace(_PV, architectures=_BOTH, roots=("ebs",))),
    ("c4.8xlarge", 36, 61440, _XEN),
    ("d2.8xlarge", 36, 249856, _XEN),
    ("m4.16xlarge", 64, 262144, _XEN_ENA),
    ("c5.metal", 96, 196608, replace(_NITRO, hypervisor="")),
    ("i3.metal", 72, 524288, replace(_NITRO, hypervisor="")),
    ("m5.metal", 96, 393216, replace(_NITRO, hypervisor="")),
)

# Families of Xen's hypervisor where PV guests are gone: younger regions began with few, or with Nitro alone.
_LATER = frozenset({"c4", "d2", "g3", "i3", "m4", "p3", "r4", "t2", "x1"})
_XEN_THERE: Mapping[str, frozenset[str]] = {"eu-north-1": frozenset({"d2", "i3"}), "eu-south-2": frozenset()}


def types_of(region: str) -> list[InstanceType]:
    """Return the types that a region has, by name."""
    found = list(_all())
    if region not in PARAVIRTUAL_REGIONS:
        there = _XEN_THERE.get(region, _LATER)
        found = [one for one in found if one.hypervisor != "xen" or one.family in there]
    return sorted(found, key=lambda one: one.name)


def _all() -> Iterator[InstanceType]:
    for name, processors, memory, like in _SINGLES:
        yield replace(like, name=name, processors=processors, memory=memory)
    for family, each, sizes, like in _FAMILIES:
        for size in sizes.split():
            count = _processors(size)
            yield replace(like, name=f"{family}.{size}", processors=count, memory=each * count)
    for family, processors_of, like in (("t2", _SINGLE, _XEN), ("t3", _DOUBLE, _NITRO), ("t4g", _DOUBLE, _ARM)):
        for size, memory in _BURSTS.items():
            short = family == "t2" and size in _SMALL
            known = replace(like, name=f"{family}.{size}", processors=processors_of[size], memory=memory)
            yield replace(known, architectures=_BOTH) if short else known


def _processors(size: str) -> int:
    """Return 2 for large, 4 for xlarge, 4 a piece for 2xlarge and up."""
    number = re.match("[0-9]*", size)
    return 2 if size == "large" else 4 * int(number[0] if number and number[0] else 1)
