# ruff: noqa: ANN401 -- boto3 has no types
"""HVM images and the instance types that run them, by boto3's own client."""

from collections.abc import Callable
from typing import Any

import pytest

from imagekit.rehearsal.instance_types import types_of
from tests.rehearsal.conftest import SPAIN, STOCKHOLM, VIRGINIA, Place, refused

Make = Callable[..., Place]
BIOS = {"Name": "supported-boot-mode", "Values": ["legacy-bios"]}
XEN = {"Name": "hypervisor", "Values": ["xen"]}
HVM = {"Name": "supported-virtualization-type", "Values": ["hvm"]}
PV = {"Name": "supported-virtualization-type", "Values": ["paravirtual"]}


def types(place: Place, region: str, *filters: Any, size: int | None = None) -> set[str]:
    pages = place.client("ec2", region).get_paginator("describe_instance_types")
    found = pages.paginate(Filters=list(filters), **({"PaginationConfig": {"PageSize": size}} if size else {}))
    return {one["InstanceType"] for each in found for one in each["InstanceTypes"]}


def families(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def test_an_image_keeps_how_it_boots(place: Make) -> None:
    here = place()
    made = str(here.ec2.register_image(**here.asked_hvm(here.snapshot()))["ImageId"])
    image = here.image(made)
    assert (image["VirtualizationType"], image["BootMode"]) == ("hvm", "legacy-bios")
    assert "KernelId" not in image
    there = here.client("ec2", STOCKHOLM)
    copy = there.copy_image(SourceRegion="eu-west-1", SourceImageId=made, Name="hello")["ImageId"]
    seen = there.describe_images(ImageIds=[copy])["Images"][0]
    assert (seen["VirtualizationType"], seen["BootMode"]) == ("hvm", "legacy-bios")


@pytest.mark.parametrize(
    "code,more",
    [
        ("InvalidParameterCombination", {"KernelId": "aki-dc9ed9af"}),
        ("InvalidParameterCombination", {"RamdiskId": "ari-00000000"}),
        ("InvalidParameterValue", {"BootMode": "bios"}),
        ("InvalidParameterCombination", {"BootMode": "uefi", "Architecture": "i386"}),
        ("InvalidParameterCombination", {"BootMode": "legacy-bios", "Architecture": "arm64"}),
        ("InvalidParameterValue", {"VirtualizationType": "pvh"}),
    ],
)
def test_what_register_refuses(place: Make, code: str, more: dict[str, Any]) -> None:
    here = place()
    refused(code, here.ec2.register_image, **here.asked_hvm(here.snapshot(), **more))
    assert here.account.images("eu-west-1") == []


@pytest.mark.parametrize("device", ["/dev/xvda", "/dev/sda1"])
def test_the_root_devices_that_are_reserved(place: Make, device: str) -> None:
    here = place()
    made = here.ec2.register_image(**here.asked_hvm(here.snapshot(), device))["ImageId"]
    assert here.image(made)["RootDeviceName"] == device


@pytest.mark.parametrize("device", ["/dev/sda", "/dev/sdb", "/dev/xvdb", "/dev/xvda1"])
def test_root_devices_that_are_for_data(place: Make, device: str) -> None:
    here = place()
    told = here.asked_hvm(here.snapshot(), device)
    assert device in refused("InvalidBlockDeviceMapping", here.ec2.register_image, **told)
    assert here.account.images("eu-west-1") == []


def test_instance_types_that_run_paravirtual_guests(place: Make) -> None:
    here = place()
    assert families(types(here, "eu-west-1", PV, size=7)) == {"c1", "c3", "hs1", "m1", "m2", "m3", "t1"}
    stores = {"Name": "supported-root-device-type", "Values": ["instance-store"]}
    assert types(here, "eu-west-1", PV) - types(here, "eu-west-1", PV, stores) == {"t1.micro"}
    assert types(here, STOCKHOLM, PV) == types(here, "eu-west-2", PV) == set()
    names = [one["RegionName"] for one in here.ec2.describe_regions()["Regions"]]
    assert names == list(here.account.settings.regions)


def test_instance_types_that_boot_a_bios_disk_on_xen(place: Make) -> None:
    here = place()
    found = families(types(here, VIRGINIA, XEN, HVM, BIOS))
    assert {"t2", "m3", "m4", "c3", "c4", "r3", "r4", "i2", "d2"} < found
    assert not found & {"t1", "m1", "t3", "m5", "c5"}
    assert families(types(here, STOCKHOLM, XEN, HVM)) == {"d2", "i3"}
    assert types(here, SPAIN, XEN) == set()
    short = {"Name": "processor-info.supported-architecture", "Values": ["i386"]}
    assert families(types(here, VIRGINIA, XEN, HVM, short)) == {"c3", "t2"}
    metal = {"Name": "bare-metal", "Values": ["true"]}
    assert types(here, VIRGINIA, metal) == {"c5.metal", "i3.metal", "m5.metal"}


def test_pages_of_instance_types(place: Make) -> None:
    here = place()
    whole = types(here, VIRGINIA)
    assert whole == {one.name for one in types_of(VIRGINIA)}
    first = here.client("ec2", VIRGINIA).describe_instance_types()
    assert (len(first["InstanceTypes"]), bool(first["NextToken"])) == (100, True), "a caller has to turn the page"
    empty = here.ec2.describe_instance_types(MaxResults=5, Filters=[{"Name": "instance-type", "Values": ["x1*"]}])
    assert (empty["InstanceTypes"], bool(empty["NextToken"])) == ([], True)
    refused("InvalidParameterValue", here.ec2.describe_instance_types, MaxResults=101)


def test_what_is_said_of_an_instance_type(place: Make) -> None:
    here = place()
    ask = here.ec2.describe_instance_types
    names = ["t1.micro", "t2.micro", "t3.micro", "m5.metal"]
    old, micro, nitro, metal = ask(InstanceTypes=names)["InstanceTypes"]
    assert old["ProcessorInfo"]["SupportedArchitectures"] == ["i386", "x86_64"]
    assert old["SupportedVirtualizationTypes"] == ["paravirtual"]
    assert (micro["Hypervisor"], micro["SupportedBootModes"], micro["FreeTierEligible"]) == (
        "xen",
        ["legacy-bios"],
        True,
    )
    assert (micro["EbsInfo"]["NvmeSupport"], micro["NetworkInfo"]["EnaSupport"]) == ("unsupported", "unsupported")
    assert (nitro["Hypervisor"], nitro["EbsInfo"]["NvmeSupport"]) == ("nitro", "required")
    assert (metal["BareMetal"], "Hypervisor" in metal) == (True, False)
    refused("InvalidInstanceType", ask, InstanceTypes=["t2.micro", "t2.enormous"])
    refused("InvalidInstanceType", here.client("ec2", SPAIN).describe_instance_types, InstanceTypes=["t2.micro"])


def test_names_and_values_are_those_of_the_model(place: Make) -> None:
    """What the table says is held against botocore's own lists."""
    here = place()
    model = here.ec2.meta.service_model.operation_model("DescribeInstanceTypes").output_shape
    members = model.members["InstanceTypes"].member.members
    for one in types_of(VIRGINIA):
        assert one.name in members["InstanceType"].enum
        assert set(one.boots) <= set(members["SupportedBootModes"].member.enum)
        assert not one.hypervisor or one.hypervisor in members["Hypervisor"].enum
        assert one.nvme in members["EbsInfo"].members["NvmeSupport"].enum
        assert one.ena in members["NetworkInfo"].members["EnaSupport"].enum
