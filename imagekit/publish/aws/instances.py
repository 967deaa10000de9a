# ruff: noqa: ANN401 -- boto3 has no types
"""Which instance types run an image: what EC2 says of each, asked in every region before anything is sent.

Types of the Xen hypervisor show a guest Xen's own disks and network. Those of Nitro show NVMe and ENA, for which a
unikernel has no drivers; bare metal is no guest at all.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from imagekit.errors import KernelError, PublishError, UsageError
from imagekit.publish.aws.account import code_of, pages, told
from imagekit.publish.aws.guest import BIOS, Guest

PARAVIRTUAL_REGIONS = (
    *("us-east-1", "us-west-1", "us-west-2", "eu-west-1", "eu-central-1"),
    *("ap-northeast-1", "ap-southeast-1", "ap-southeast-2", "sa-east-1"),
)
"""Those that had PV instance types when this was written (2026); the account is asked each time."""

_NITRO = (
    "the kernel has to have drivers for NVMe and ENA; "
    "and EC2 starts there only what is registered with EnaSupport, which imagekit does not set"
)


def runnable(ec2: Any, region: str, guest: Guest, warn: Callable[[str], None]) -> list[str]:
    """Return the names of the types that run such a guest; KernelError (exit 3) when the region has none."""
    found = _names(ec2, region, guest, xen=guest.hvm)
    if not found and guest.linux:
        found = _names(ec2, region, guest, xen=False)
        if found:
            warn(f"{region} has Nitro's instance types alone: {_NITRO}")
    if not found:
        raise KernelError(
            f"{region} has no instance type that {'boots a BIOS disk on Xen' if guest.hvm else 'runs PV guests'}",
            details=f"it was asked for those of {guest.architecture} with a root device on {guest.root}",
            hint=_elsewhere(guest),
        )
    return found


def check_named(
    ec2: Any, region: str, guest: Guest, names: Sequence[str], types: Sequence[str], warn: Callable[[str], None]
) -> None:
    """KernelError (exit 3) when one of these types would not run the guest; UsageError for one that is none.

    `types` are those that would, for the hint.
    """
    if not names:
        return
    try:
        with told(f"asking {region} for {', '.join(names)}"):
            said = pages(ec2, "describe_instance_types", "InstanceTypes", InstanceTypes=list(names))
    except PublishError as error:
        if code_of(error) != "InvalidInstanceType":
            raise
        raise UsageError(
            f"{region} has not all of the instance types that are named", details=error.details
        ) from error
    wrong = []
    for one in said:
        name = str(one["InstanceType"])
        wrong += [f"{name} {words}" for words in _objections(one, guest)]
        if guest.linux and guest.hvm and _is_nitro(one):
            warn(f"{region}: {name} is of Nitro's: {_NITRO}")
    if wrong:
        raise KernelError(
            f"{region}: {wrong[0]}", details="\n".join(wrong[1:]), hint=f"it runs on {families(types)}"
        )


def families(types: Iterable[str]) -> str:
    """Return the families of types, "c3, m3, t2": the names before their dots."""
    return ", ".join(sorted({name.partition(".")[0] for name in types}))


def words(guest: Guest, types: Iterable[str]) -> str:
    """Return where an image runs, and of HVM where it does not."""
    said = f"runs on {families(types)}"
    if not guest.hvm:
        return said
    if guest.linux:
        return f"{said}; on Nitro's types {_NITRO}"
    return f"{said}; not on Nitro's types: its kernel has no drivers for NVMe and ENA"


def _names(ec2: Any, region: str, guest: Guest, *, xen: bool) -> list[str]:
    asked = {
        "supported-virtualization-type": guest.virtualization,
        "supported-root-device-type": guest.root,
        "processor-info.supported-architecture": guest.architecture,
        **({"supported-boot-mode": BIOS} if guest.hvm else {}),
        **({"hypervisor": "xen"} if xen else {}),
    }
    filters = [{"Name": name, "Values": [value]} for name, value in asked.items()]
    with told(f"asking {region} for its instance types"):
        found = pages(ec2, "describe_instance_types", "InstanceTypes", Filters=filters)
    return sorted(str(one["InstanceType"]) for one in found)


def _elsewhere(guest: Guest) -> str:
    if guest.hvm:
        return "regions of before 2017 have the most, us-east-1 and eu-west-1 among them: t2, m4, c4, r4, i3, d2"
    return f"regions that have some: {', '.join(PARAVIRTUAL_REGIONS)}"


def _objections(one: Mapping[str, Any], guest: Guest) -> Iterator[str]:
    """Yield why a type, as DescribeInstanceTypes tells of it, does not run the guest."""
    if guest.virtualization not in one["SupportedVirtualizationTypes"]:
        yield f"runs no {'HVM' if guest.hvm else 'PV'} guests"
    if guest.architecture not in one["ProcessorInfo"]["SupportedArchitectures"]:
        yield f"runs no {guest.architecture} images"
    if guest.root not in one["SupportedRootDeviceTypes"]:
        yield f"has no root device on {'EBS' if guest.root == 'ebs' else 'an instance store'}"
    if not guest.hvm:
        return
    if BIOS not in one.get("SupportedBootModes", [BIOS]):
        yield "boots by UEFI alone"
    if _is_nitro(one) and not guest.linux:
        kind = "is bare metal" if one.get("BareMetal") else "is of Nitro's"
        yield f"{kind}: its disk is NVMe and its network ENA, and this kernel has drivers for Xen's alone"


def _is_nitro(one: Mapping[str, Any]) -> bool:
    """Whether a type shows Nitro's devices: bare metal, which names no hypervisor, does as well."""
    return str(one.get("Hypervisor", "")) != "xen"
