"""Regions, and the instance types that each of them has."""

from imagekit.rehearsal.cloud import Ask
from imagekit.rehearsal.filters import choose, page
from imagekit.rehearsal.instance_types import InstanceType, types_of
from imagekit.rehearsal.query import NotDoneError

_PAGES = range(5, 101)
_FREE = {"t1.micro", "t2.micro", "t3.micro"}


def _word(*, is_so: bool) -> str:
    return "true" if is_so else "false"


_FIELDS = {
    "bare-metal": lambda one: [_word(is_so=not one.hypervisor)],
    "current-generation": lambda one: [_word(is_so=one.current)],
    "ebs-info.nvme-support": lambda one: [one.nvme],
    "free-tier-eligible": lambda one: [_word(is_so=one.name in _FREE)],
    "hypervisor": lambda one: [one.hypervisor] if one.hypervisor else [],
    "instance-type": lambda one: [one.name],
    "memory-info.size-in-mib": lambda one: [str(one.memory)],
    "network-info.ena-support": lambda one: [one.ena],
    "processor-info.supported-architecture": lambda one: list(one.architectures),
    "supported-boot-mode": lambda one: list(one.boots),
    "supported-root-device-type": lambda one: list(one.roots),
    "supported-virtualization-type": lambda one: list(one.virtualizations),
    "vcpu-info.default-vcpus": lambda one: [str(one.processors)],
}


def instance_types(ask: Ask) -> dict[str, object]:
    """DescribeInstanceTypes. Pages are of all types, and filters pass over each: one may come back empty."""
    asked = ask.asked
    asked.only("InstanceType", "Filter", "MaxResults", "NextToken")
    rows = types_of(ask.region.name)
    if names := asked.texts("InstanceType"):
        known = {one.name: one for one in rows}
        if missing := [name for name in names if name not in known]:
            message = f"The following supplied instance types do not exist: [{', '.join(missing)}]"
            raise NotDoneError("InvalidInstanceType", message)
        rows = [known[name] for name in dict.fromkeys(names)]
    shown, following = page(rows, asked, _PAGES, "InstanceType")
    return {"instanceTypeSet": [_described(one) for one in choose(shown, asked, _FIELDS)], "nextToken": following}


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
        "freeTierEligible": one.name in _FREE,
        "supportedRootDeviceTypes": list(one.roots),
        "supportedVirtualizationTypes": list(one.virtualizations),
        "bareMetal": not one.hypervisor,
        "hypervisor": one.hypervisor or None,
        "processorInfo": {"supportedArchitectures": list(one.architectures)},
        "vCpuInfo": {"defaultVCpus": one.processors},
        "memoryInfo": {"sizeInMiB": one.memory},
        "instanceStorageSupported": "instance-store" in one.roots,
        "ebsInfo": {"nvmeSupport": one.nvme},
        "networkInfo": {"enaSupport": one.ena},
        "supportedBootModes": list(one.boots),
    }
