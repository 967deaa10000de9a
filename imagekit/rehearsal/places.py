"""Regions, and the instance types that each of them has."""

from dataclasses import dataclass

from imagekit.rehearsal.cloud import Ask
from imagekit.rehearsal.filters import choose, page
from imagekit.rehearsal.query import NotDoneError

_PAGES = range(5, 101)
_BOTH = ("i386", "x86_64")
_LONG = ("x86_64",)


@dataclass(frozen=True)
class InstanceType:
    """What EC2 says of an instance type, as far as an image's maker asks."""

    name: str
    processors: int
    memory: int
    architectures: tuple[str, ...] = _LONG
    virtualizations: tuple[str, ...] = ("paravirtual",)
    roots: tuple[str, ...] = ("ebs", "instance-store")
    current: bool = False


_EITHER = ("hvm", "paravirtual")
_PARAVIRTUAL = (
    InstanceType("c1.medium", 2, 1740, _BOTH),
    InstanceType("c1.xlarge", 8, 7168),
    InstanceType("c3.large", 2, 3840, _BOTH, _EITHER),
    InstanceType("c3.xlarge", 4, 7680, _LONG, _EITHER),
    InstanceType("c3.2xlarge", 8, 15360, _LONG, _EITHER),
    InstanceType("c3.4xlarge", 16, 30720, _LONG, _EITHER),
    InstanceType("c3.8xlarge", 32, 61440, _LONG, _EITHER),
    InstanceType("hs1.8xlarge", 17, 119808, _LONG, _EITHER),
    InstanceType("m1.small", 1, 1740, _BOTH),
    InstanceType("m1.medium", 1, 3788, _BOTH),
    InstanceType("m1.large", 2, 7680),
    InstanceType("m1.xlarge", 4, 15360),
    InstanceType("m2.xlarge", 2, 17510),
    InstanceType("m2.2xlarge", 4, 35020),
    InstanceType("m2.4xlarge", 8, 70041),
    InstanceType("m3.medium", 1, 3840, _LONG, _EITHER),
    InstanceType("m3.large", 2, 7680, _LONG, _EITHER),
    InstanceType("m3.xlarge", 4, 15360, _LONG, _EITHER),
    InstanceType("m3.2xlarge", 8, 30720, _LONG, _EITHER),
    InstanceType("t1.micro", 1, 627, _BOTH, roots=("ebs",)),
)
_ONLY_HVM = (
    InstanceType("c5.large", 2, 4096, _LONG, ("hvm",), ("ebs",), current=True),
    InstanceType("m5.large", 2, 8192, _LONG, ("hvm",), ("ebs",), current=True),
    InstanceType("t3.micro", 2, 1024, _LONG, ("hvm",), ("ebs",), current=True),
    InstanceType("t4g.micro", 2, 1024, ("arm64",), ("hvm",), ("ebs",), current=True),
)
_FIELDS = {
    "current-generation": lambda one: ["true" if one.current else "false"],
    "instance-type": lambda one: [one.name],
    "memory-info.size-in-mib": lambda one: [str(one.memory)],
    "processor-info.supported-architecture": lambda one: list(one.architectures),
    "supported-root-device-type": lambda one: list(one.roots),
    "supported-virtualization-type": lambda one: list(one.virtualizations),
    "vcpu-info.default-vcpus": lambda one: [str(one.processors)],
}


def instance_types(ask: Ask) -> dict[str, object]:
    """DescribeInstanceTypes."""
    asked = ask.asked
    asked.only("InstanceType", "Filter", "MaxResults", "NextToken")
    rows = [*(_PARAVIRTUAL if ask.region.paravirtual else ()), *_ONLY_HVM]
    if names := asked.texts("InstanceType"):
        known = {one.name: one for one in rows}
        if missing := [name for name in names if name not in known]:
            message = f"The following supplied instance types do not exist: [{', '.join(missing)}]"
            raise NotDoneError("InvalidInstanceType", message)
        rows = [known[name] for name in names]
    shown, following = page(choose(rows, asked, _FIELDS), asked, _PAGES, "InstanceType")
    return {"instanceTypeSet": [_described(one) for one in shown], "nextToken": following}


def regions(ask: Ask) -> dict[str, object]:
    """DescribeRegions."""
    ask.asked.only("RegionName", "AllRegions", "Filter")
    rows = list(ask.cloud.regions)
    names = ask.asked.texts("RegionName")
    if missing := [name for name in names if name not in rows]:
        raise NotDoneError("InvalidParameterValue", f"Invalid region names: [{', '.join(missing)}]")
    fields = {
        "region-name": lambda one: [one],
        "opt-in-status": lambda _: ["opt-in-not-required"],
        "endpoint": lambda one: [f"ec2.{one}.amazonaws.com"],
    }
    said = [
        {"regionName": one, "regionEndpoint": f"ec2.{one}.amazonaws.com", "optInStatus": "opt-in-not-required"}
        for one in choose(names or rows, ask.asked, fields)
    ]
    return {"regionInfo": said}


def _described(one: InstanceType) -> dict[str, object]:
    return {
        "instanceType": one.name,
        "currentGeneration": one.current,
        "freeTierEligible": one.name in {"t1.micro", "t3.micro"},
        "supportedRootDeviceTypes": list(one.roots),
        "supportedVirtualizationTypes": list(one.virtualizations),
        "bareMetal": False,
        "hypervisor": "nitro" if one.current else "xen",
        "processorInfo": {"supportedArchitectures": list(one.architectures)},
        "vCpuInfo": {"defaultVCpus": one.processors},
        "memoryInfo": {"sizeInMiB": one.memory},
        "instanceStorageSupported": "instance-store" in one.roots,
    }
