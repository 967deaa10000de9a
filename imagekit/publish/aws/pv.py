# ruff: noqa: ANN401 -- boto3 has no types
"""Amazon's PV-GRUB kernels (AKIs), which start PV guests on EC2.

Source: Amazon EC2 User Guide, "Use your own Linux kernel".
"""

import re
from collections.abc import Callable
from typing import Any

from imagekit.errors import ImagekitError, KernelError
from imagekit.publish.aws.account import pages, told

# pv-grub-hd0 1.05, as it was published: x86_64 and i386. Such tables hold mistakes, so the account is asked first.
_KNOWN = {
    "us-east-1": ("aki-5c21674b", "aki-04206613"),
    "us-west-1": ("aki-59cc8239", "aki-43cf8123"),
    "us-west-2": ("aki-70cb0e10", "aki-7a69931a"),
    "eu-west-1": ("aki-dc9ed9af", "aki-1c9fd86f"),
    "eu-central-1": ("aki-931fe3fc", "aki-1419e57b"),
    "ap-northeast-1": ("aki-7077ab11", "aki-f975a998"),
    "ap-southeast-1": ("aki-73a50110", "aki-17a40074"),
    "ap-southeast-2": ("aki-66506305", "aki-ba5665d9"),
    "sa-east-1": ("aki-912fbcfd", "aki-7cd34110"),
    "us-gov-west-1": ("aki-9ee55bff", "aki-5ee9573f"),
}
_NAME = re.compile(r"pv-grub-hd0_([0-9]+(?:\.[0-9]+)*)-(?:x86_64|i386)\.gz")
_PARTITIONED = (1, 4)  # the first version that has partitions on hd0, and GPT


def kernel(
    ec2: Any, region: str, architecture: str, *, partitioned: bool, warn: Callable[[str], None]
) -> tuple[str, str]:
    """Return the newest PV-GRUB of a region for an architecture: its id, and its name."""
    filters = [
        {"Name": "image-type", "Values": ["kernel"]},
        {"Name": "architecture", "Values": [architecture]},
        {"Name": "name", "Values": [f"pv-grub-hd0_*-{architecture}.gz"]},
    ]
    found: list[tuple[tuple[int, ...], str, str]] = []
    try:
        with told(f"asking {region} for Amazon's PV-GRUB"):
            said = pages(
                ec2, "describe_images", "Images", Owners=["amazon"], Filters=filters, IncludeDeprecated=True
            )
        for image in said:
            name = _NAME.fullmatch(image.get("Name", ""))
            if name:
                version = tuple(int(part) for part in name[1].split("."))
                found.append((version, str(image["ImageId"]), name[0]))
    except ImagekitError as error:
        warn(f"{error.brief}: the table of known kernels is used")
    if found:
        version, identity, called = max(found)
        if partitioned and version < _PARTITIONED:
            raise KernelError(
                f"{region}'s newest PV-GRUB, {called}, finds no partitions", hint='disk.layout = "plain"'
            )
        return identity, called
    known = _KNOWN.get(region)
    if known is None:
        raise KernelError(
            f"{region} has no PV-GRUB kernel for {architecture}",
            hint='kernel = "aki-…" in [publish.ebs] names one',
        )
    chosen = known[architecture == "i386"]
    warn(f"{region} names no PV-GRUB: {chosen} is from a table, and may be out of date")
    return chosen, "pv-grub-hd0_1.05 (from a table)"
