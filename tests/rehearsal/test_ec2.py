"""EC2 by boto3's own client: what it keeps of images and snapshots, and what it refuses."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from imagekit.rehearsal.snapshots import BLOCK
from tests.rehearsal.conftest import STOCKHOLM, VIRGINIA, Place, refused

Make = Callable[..., Place]
TAGS = [{"Key": "imagekit", "Value": "a <b> & c"}]


def test_an_image_keeps_what_it_was_registered_with(place: Make) -> None:
    here = place()
    snapshot = here.snapshot()
    tagged = [{"ResourceType": "image", "Tags": TAGS}]
    made = here.register(snapshot, Description="d & e", TagSpecifications=tagged)
    image = here.image(made)
    assert here.ec2.get_waiter("image_available").wait(ImageIds=[made]) is None
    assert (image["Name"], image["Description"], image["Tags"]) == ("hello", "d & e", TAGS)
    assert (image["State"], image["Architecture"], image["VirtualizationType"]) == (
        "available",
        "x86_64",
        "paravirtual",
    )
    assert (image["KernelId"], image["RootDeviceName"], image["RootDeviceType"]) == (
        "aki-dc9ed9af",
        "/dev/sda",
        "ebs",
    )
    ebs = {
        "SnapshotId": snapshot,
        "VolumeSize": 1,
        "VolumeType": "gp2",
        "DeleteOnTermination": True,
        "Encrypted": False,
    }
    assert image["BlockDeviceMappings"] == [{"DeviceName": "/dev/sda", "Ebs": ebs}]
    assert (image["OwnerId"], image["Public"]) == ("123456789012", False)
    assert [one.id for one in here.account.images("eu-west-1")] == [made]


@pytest.mark.parametrize(
    "code,more",
    [
        ("InvalidAMIName.Malformed", {"Name": "no#hash"}),
        ("InvalidAMIName.Malformed", {"Name": "n" * 129}),
        ("InvalidParameterValue", {"Architecture": "ia64"}),
        ("InvalidParameterCombination", {"Architecture": "i386"}),
        ("InvalidParameterCombination", {"Architecture": None}),
        ("InvalidParameterCombination", {"VirtualizationType": "hvm"}),
        ("InvalidParameterValue", {"VirtualizationType": "xen"}),
        ("InvalidBlockDeviceMapping", {"RootDeviceName": "/dev/sda1"}),
        ("MissingParameter", {"RootDeviceName": None}),
        ("MissingParameter", {"KernelId": None}),
        ("InvalidParameterCombination", {"BootMode": "legacy-bios"}),
        ("InvalidAMIID.NotFound", {"KernelId": "aki-00000000"}),
        ("InvalidAMIID.Malformed", {"KernelId": "ami-00000000"}),
        ("InvalidAMIID.NotFound", {"RamdiskId": "ari-00000000"}),
        ("InvalidBlockDeviceMapping", {"BlockDeviceMappings": []}),
        ("InvalidParameterValue", {"TagSpecifications": [{"ResourceType": "volume", "Tags": TAGS}]}),
        ("InvalidParameterValue", {"Description": "d" * 256}),
    ],
)  # fmt: skip
def test_what_register_refuses(place: Make, code: str, more: dict[str, Any]) -> None:
    here = place()
    refused(code, here.ec2.register_image, **here.asked(here.snapshot(), **more))
    assert here.account.images("eu-west-1") == []


@pytest.mark.parametrize(
    "code,ebs",
    [
        ("InvalidSnapshot.NotFound", {"SnapshotId": "snap-00000000000000000"}),
        ("InvalidParameterValue", {"SnapshotId": "vol-1"}),
        ("InvalidBlockDeviceMapping", {"VolumeSize": 1}),
        ("InvalidParameterValue", {"VolumeSize": 2000, "VolumeType": "standard"}),
        ("InvalidParameterValue", {"VolumeType": "gp9"}),
        ("InvalidParameterValue", {"VolumeType": "st1"}),
        ("MissingParameter", {"VolumeType": "io1"}),
        ("InvalidBlockDeviceMapping", {"Encrypted": True}),
    ],
)
def test_what_register_refuses_of_a_volume(place: Make, code: str, ebs: dict[str, Any]) -> None:
    here = place()
    whole = {"SnapshotId": here.snapshot(VolumeSize=2), **ebs}
    asked = here.asked("", BlockDeviceMappings=[{"DeviceName": "/dev/sda", "Ebs": whole}])
    refused(code, here.ec2.register_image, **asked)


def test_a_snapshot_must_be_completed(place: Make) -> None:
    here = place(seal=30.0)
    assert "pending" in refused("IncorrectState", here.ec2.register_image, **here.asked(here.snapshot()))


def test_a_name_is_there_once(place: Make) -> None:
    here = place()
    snapshot = here.snapshot()
    made = here.register(snapshot)
    message = refused("InvalidAMIName.Duplicate", here.ec2.register_image, **here.asked(snapshot))
    assert message == f"AMI name hello is already in use by AMI {made}"
    here.ec2.deregister_image(ImageId=made)
    assert here.register(snapshot) != made


def test_the_defaults_are_those_of_ec2(place: Make) -> None:
    here = place()
    more = {"Architecture": None, "VirtualizationType": None, "KernelId": "aki-1c9fd86f"}
    image = here.image(here.register(here.snapshot(), **more))
    assert (image["Architecture"], image["VirtualizationType"]) == ("i386", "paravirtual")


def test_no_paravirtual_image_where_nothing_runs_it(place: Make) -> None:
    here = place()
    snapshot = here.snapshot(STOCKHOLM)
    there = here.client("ec2", STOCKHOLM)
    refused("UnsupportedOperation", there.register_image, **here.asked(snapshot, KernelId=None))
    assert there.describe_images(Owners=["amazon"], IncludeDeprecated=True)["Images"] == []


def test_pending_then_available_and_not_seen_at_once(place: Make) -> None:
    here = place(registering=0.6, image_settle=0.3)
    made = here.register(here.snapshot())
    refused("InvalidAMIID.NotFound", here.image, made)
    time.sleep(0.35)
    assert here.image(made)["State"] == "pending"
    waiter = here.ec2.get_waiter("image_available")
    waiter.wait(ImageIds=[made], WaiterConfig={"Delay": 1, "MaxAttempts": 3})
    assert here.image(made)["State"] == "available"


def test_an_image_may_fail(place: Make) -> None:
    here = place(faults=("RegisterImage 1 failed",))
    image = here.image(here.register(here.snapshot()))
    assert (image["State"], image["StateReason"]["Code"]) == ("failed", "Server.InternalError")


def test_kernels_are_found_live(place: Make) -> None:
    here = place()
    asked = [
        {"Name": "image-type", "Values": ["kernel"]},
        {"Name": "architecture", "Values": ["x86_64"]},
        {"Name": "name", "Values": ["pv-grub-hd0_*-x86_64.gz"]},
    ]
    assert here.ec2.describe_images(Owners=["amazon"], Filters=asked)["Images"] == []
    found = here.ec2.describe_images(Owners=["amazon"], Filters=asked, IncludeDeprecated=True)["Images"]
    names = {one["Name"]: one["ImageId"] for one in found}
    assert sorted(names) == [f"pv-grub-hd0_1.0{at}-x86_64.gz" for at in (3, 4, 5)]
    assert names["pv-grub-hd0_1.05-x86_64.gz"] == "aki-dc9ed9af"
    assert {one["ImageOwnerAlias"] for one in found} == {"amazon"}
    everywhere = here.client("ec2", VIRGINIA).describe_images(ImageIds=["aki-5c21674b"])
    assert everywhere["Images"][0]["Name"] == "pv-grub-hd0_1.05-x86_64.gz"


def test_filters_and_pages(place: Make) -> None:
    here = place()
    snapshot = here.snapshot()
    tagged = [{"ResourceType": "image", "Tags": TAGS}]
    made = [here.register(snapshot, Name=f"image-{at}", TagSpecifications=tagged) for at in range(5)]
    here.register(snapshot, Name="another")
    ask = here.ec2.describe_images
    own = {"Owners": ["self"]}
    by_tag = ask(**own, Filters=[{"Name": "tag:imagekit", "Values": ["a <b>*"]}])["Images"]
    assert [one["ImageId"] for one in by_tag] == made
    assert len(ask(**own, Filters=[{"Name": "tag-key", "Values": ["imagekit", "x"]}])["Images"]) == 5
    assert len(ask(**own, Filters=[{"Name": "name", "Values": ["another", "image-[1]"]}])["Images"]) == 1
    assert len(ask(**own, Filters=[{"Name": "kernel-id", "Values": ["aki-dc9ed9af"]}])["Images"]) == 6
    pages = list(here.ec2.get_paginator("describe_images").paginate(**own, PaginationConfig={"PageSize": 4}))
    assert [len(one["Images"]) for one in pages] == [4, 2]
    refused("InvalidParameterValue", ask, Filters=[{"Name": "nonsense", "Values": ["x"]}])
    refused("InvalidParameterCombination", ask, ImageIds=made, MaxResults=5)
    refused("InvalidAMIID.Malformed", ask, ImageIds=["ami-x"])


def test_deregistered_with_its_snapshots(place: Make) -> None:
    here = place()
    snapshot = here.snapshot()
    first, second = here.register(snapshot), here.register(snapshot, Name="second")
    said = here.ec2.deregister_image(ImageId=first, DeleteAssociatedSnapshots=True)
    assert said["DeleteSnapshotResults"] == [{"SnapshotId": snapshot, "ReturnCode": "skipped"}]
    refused("InvalidAMIID.Unavailable", here.ec2.deregister_image, ImageId=first)
    refused("InvalidAMIID.NotFound", here.image, first)
    assert second in refused("InvalidSnapshot.InUse", here.ec2.delete_snapshot, SnapshotId=snapshot)
    said = here.ec2.deregister_image(ImageId=second, DeleteAssociatedSnapshots=True)
    assert said["Return"] is True
    assert said["DeleteSnapshotResults"] == [{"SnapshotId": snapshot, "ReturnCode": "success"}]
    assert here.account.snapshots("eu-west-1") == []
    refused("InvalidSnapshot.NotFound", here.ec2.delete_snapshot, SnapshotId=snapshot)
    assert not list(here.account.log.parent.rglob("snap-*"))


def test_launch_permissions(place: Make) -> None:
    here = place()
    made = here.register(here.snapshot())
    who = [{"Group": "all"}, {"UserId": "210987654321"}]
    here.ec2.modify_image_attribute(ImageId=made, LaunchPermission={"Add": who})
    ask = here.ec2.describe_image_attribute
    assert ask(ImageId=made, Attribute="launchPermission")["LaunchPermissions"] == who[::-1]
    assert here.image(made)["Public"] is True
    here.ec2.modify_image_attribute(
        ImageId=made, Attribute="launchPermission", OperationType="remove", UserGroups=["all"]
    )
    assert ask(ImageId=made, Attribute="launchPermission")["LaunchPermissions"] == who[1:]
    wrong = {"Add": [{"UserId": "me"}]}
    refused("InvalidAMIAttributeItemValue", here.ec2.modify_image_attribute, ImageId=made, LaunchPermission=wrong)
    here.ec2.modify_image_attribute(ImageId=made, Description={"Value": "new"})
    assert ask(ImageId=made, Attribute="description")["Description"] == {"Value": "new"}


def test_what_is_encrypted_is_not_shared(place: Make) -> None:
    here = place(encrypted=frozenset({"eu-west-1"}), private=True)
    assert here.ec2.get_ebs_encryption_by_default()["EbsEncryptionByDefault"] is True
    snapshot = here.snapshot()
    made = here.register(snapshot)
    assert here.image(made)["BlockDeviceMappings"][0]["Ebs"]["Encrypted"] is True
    share = here.ec2.modify_image_attribute
    refused("InvalidParameter", share, ImageId=made, LaunchPermission={"Add": [{"UserId": "210987654321"}]})
    refused("OperationNotPermitted", share, ImageId=made, LaunchPermission={"Add": [{"Group": "all"}]})
    other = {"CreateVolumePermission": {"Add": [{"UserId": "210987654321"}]}}
    refused("InvalidParameter", here.ec2.modify_snapshot_attribute, SnapshotId=snapshot, **other)
    here.ec2.disable_ebs_encryption_by_default()
    assert "KmsKeyArn" not in here.client("ebs").start_snapshot(VolumeSize=1)


def test_deprecation(place: Make) -> None:
    here = place()
    made = here.register(here.snapshot())
    then = datetime.now(UTC) + timedelta(days=30)
    here.ec2.enable_image_deprecation(ImageId=made, DeprecateAt=then)
    assert here.image(made)["DeprecationTime"] == then.strftime("%Y-%m-%dT%H:%M:00.000Z")
    past = then - timedelta(days=40)
    refused("InvalidParameterValue", here.ec2.enable_image_deprecation, ImageId=made, DeprecateAt=past)
    here.ec2.disable_image_deprecation(ImageId=made)
    assert "DeprecationTime" not in here.image(made)


def test_snapshots_are_those_of_the_direct_apis(place: Make) -> None:
    here = place()
    snapshot = here.snapshot(Tags=TAGS, Description="d")
    pending = here.client("ebs").start_snapshot(VolumeSize=3)["SnapshotId"]
    ask = here.ec2.describe_snapshots
    found = ask(OwnerIds=["self"], Filters=[{"Name": "tag:imagekit", "Values": ["*"]}])["Snapshots"]
    assert [(one["SnapshotId"], one["State"], one["Progress"]) for one in found] == [
        (snapshot, "completed", "100%")
    ]
    assert (found[0]["Tags"], found[0]["Description"], found[0]["VolumeSize"]) == (TAGS, "d", 1)
    here.ec2.get_waiter("snapshot_completed").wait(SnapshotIds=[snapshot])
    found = ask(Filters=[{"Name": "status", "Values": ["pending"]}])["Snapshots"]
    assert [(one["SnapshotId"], one["VolumeSize"]) for one in found] == [(pending, 3)]
    for _ in range(4):
        here.client("ebs").start_snapshot(VolumeSize=1)
    pages = list(here.ec2.get_paginator("describe_snapshots").paginate(PaginationConfig={"PageSize": 5}))
    assert [len(one["Snapshots"]) for one in pages] == [5, 1]
    assert here.client("ec2", VIRGINIA).describe_snapshots(OwnerIds=["self"])["Snapshots"] == []


def test_tags(place: Make) -> None:
    here = place()
    snapshot = here.snapshot()
    made = here.register(snapshot)
    here.ec2.create_tags(Resources=[made, snapshot], Tags=[*TAGS, {"Key": "k", "Value": ""}])
    assert here.image(made)["Tags"] == [*TAGS, {"Key": "k", "Value": ""}]
    here.ec2.delete_tags(Resources=[snapshot], Tags=[{"Key": "imagekit", "Value": "other"}, {"Key": "k"}])
    assert here.ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"][0]["Tags"] == TAGS
    refused("InvalidAMIID.NotFound", here.ec2.create_tags, Resources=["ami-00000000"], Tags=TAGS)
    reserved = [{"Key": "aws:x", "Value": ""}]
    refused("InvalidParameterValue", here.ec2.create_tags, Resources=[made], Tags=reserved)
    many = [{"Key": str(at), "Value": ""} for at in range(49)]
    refused("TagLimitExceeded", here.ec2.create_tags, Resources=[made], Tags=many)


def test_a_snapshot_is_copied_to_another_region(place: Make) -> None:
    here = place(copying=0.5)
    snapshot = here.snapshot()
    there = here.client("ec2", VIRGINIA)
    tagged = [{"ResourceType": "snapshot", "Tags": TAGS}]
    asked = {"SourceRegion": "eu-west-1", "SourceSnapshotId": snapshot}
    made = there.copy_snapshot(**asked, Description="copy", TagSpecifications=tagged, Encrypted=True)
    assert made["Tags"] == TAGS
    copy = there.describe_snapshots(SnapshotIds=[made["SnapshotId"]])["Snapshots"][0]
    assert (copy["State"], copy["Encrypted"], copy["Description"]) == ("pending", True, "copy")
    assert copy["Progress"] != "100%"
    waiter = there.get_waiter("snapshot_completed")
    waiter.wait(SnapshotIds=[made["SnapshotId"]], WaiterConfig={"Delay": 1, "MaxAttempts": 3})
    here.ec2.delete_snapshot(SnapshotId=snapshot)
    (kept,) = here.account.snapshots(VIRGINIA)
    assert kept.read(0) == b"a" * BLOCK
    refused("InvalidSnapshot.NotFound", there.copy_snapshot, **asked)


def test_a_copy_may_fail(place: Make) -> None:
    here = place(faults=("CopySnapshot 1 failed",))
    there = here.client("ec2", VIRGINIA)
    made = there.copy_snapshot(SourceRegion="eu-west-1", SourceSnapshotId=here.snapshot())["SnapshotId"]
    assert there.describe_snapshots(SnapshotIds=[made])["Snapshots"][0]["State"] == "error"


def test_an_image_is_copied_to_another_region(place: Make) -> None:
    here = place()
    made = here.register(here.snapshot())
    asked = {"SourceRegion": "eu-west-1", "SourceImageId": made, "Name": "hello"}
    there = here.client("ec2", VIRGINIA)
    copy = there.copy_image(**asked, ClientToken="t")["ImageId"]
    assert there.copy_image(**asked, ClientToken="t")["ImageId"] == copy
    refused("InvalidAMIName.Duplicate", there.copy_image, **asked)
    image = there.describe_images(ImageIds=[copy])["Images"][0]
    assert (image["KernelId"], image["SourceImageId"]) == ("aki-5c21674b", made)
    refused("UnsupportedOperation", here.client("ec2", STOCKHOLM).copy_image, **asked)


def test_signatures(place: Make) -> None:
    here = place()
    refused("SignatureDoesNotMatch", here.client("ec2", aws_secret_access_key="x").describe_regions)  # noqa: S106
    refused("AuthFailure", here.client("ec2", aws_access_key_id="x").describe_regions)
    refused("SignatureDoesNotMatch", here.client("ec2", "mars-north-1").describe_regions)
    assert here.client("sts").get_caller_identity()["Account"] == "123456789012"


def test_what_ec2_does_not_know(place: Make) -> None:
    here = place(denied=frozenset({"DeregisterImage"}), ec2_write_rate=0.01, ec2_write_burst=1.0)
    refused("InvalidAction", here.ec2.run_instances, ImageId="ami-00000000", MinCount=1, MaxCount=1)
    refused("InvalidSnapshot.NotFound", here.ec2.register_image, **here.asked("snap-00000000"))
    refused("RequestLimitExceeded", here.ec2.register_image, **here.asked("snap-00000000"))
    refused("UnauthorizedOperation", here.ec2.deregister_image, ImageId="ami-00000000")
    refused("UnknownParameter", here.ec2.describe_instance_types, DryRun=False, IncludeUnsupportedInRegion=True)
    refused("DryRunOperation", here.ec2.describe_regions, DryRun=True)


def test_faults_by_script(place: Make) -> None:
    kinds = {"500": "InternalError", "503": "Unavailable", "throttle": "RequestLimitExceeded"}
    kinds |= {"denied": "UnauthorizedOperation"}
    broken = ("reset", "lost", "truncated", "hang")
    scripted = [f"DescribeRegions {at} {kind}" for at, kind in enumerate([*kinds, *broken, "slow"], 1)]
    here = place(faults=tuple(scripted))
    errors = tuple(
        getattr(pytest.importorskip(f"botocore.{module}"), name)
        for module, name in (("exceptions", "BotoCoreError"), ("parsers", "ResponseParserError"))
    )
    config = pytest.importorskip("botocore.config").Config(retries={"total_max_attempts": 1}, read_timeout=1.5)
    ec2 = here.client("ec2", config=config)
    for code in kinds.values():
        refused(code, ec2.describe_regions)
    for _ in broken:
        with pytest.raises(errors):
            ec2.describe_regions()
    began = time.monotonic()
    assert ec2.describe_regions()["Regions"]
    assert time.monotonic() - began > 0.8
    assert ec2.describe_regions()["Regions"]
    assert [one.fault for one in here.account.calls] == [*kinds, *broken, "slow", ""]
