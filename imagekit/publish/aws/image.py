# ruff: noqa: ANN401 -- boto3 has no types
"""An AMI of a snapshot: registered under a name that is the lock, given to others, and waited for."""

import hashlib
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from imagekit.errors import InterruptedByUser, PublishError
from imagekit.publish.aws.account import Wait, code_of, pages, told
from imagekit.publish.aws.snapshot import KEY, Patience, pauses, tag_list

_NAME = re.compile(r"[A-Za-z0-9()\[\] ./\-'@_]{3,128}")
_SUFFIXES = 100


@dataclass(frozen=True)
class Wanted:
    """What is registered. `key` tells our own images by their tag, `boot` is `Guest.registration`."""

    key: str
    name: str
    clash: str
    description: str
    boot: Mapping[str, str]
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Found:
    """An image that is there: `fresh` when this call registered it."""

    id: str
    name: str
    fresh: bool


def default_name(image: str, digest: str) -> str:
    """Return a name that says which bytes it is: two publishers of the same image meet in it."""
    return f"{image} {digest[:24]}"


def check_name(name: str) -> None:
    """Raise PublishError for what RegisterImage would refuse."""
    if not _NAME.fullmatch(name):
        raise PublishError(
            f"{name!r} cannot be the name of an AMI",
            hint="3 to 128 characters: letters, digits, spaces and ( ) [ ] . / - ' @ _",
        )


def image_key(snapshot_key: str, *parts: str) -> str:
    """Return what makes two images the same: 32 hex characters."""
    return hashlib.sha256("\0".join((snapshot_key, *parts)).encode()).hexdigest()[:32]


def choose(ec2: Any, wanted: Wanted) -> tuple[str, Found | None]:
    """Return the name to register, and the image that has it already and will do."""
    for number in range(1, _SUFFIXES):
        name = wanted.name if number == 1 else f"{wanted.name}-{number}"
        check_name(name)
        known = _named(ec2, name)
        if known is None:
            return name, None
        tags = {tag["Key"]: tag["Value"] for tag in known.get("Tags", [])}
        if tags.get(KEY) == wanted.key or wanted.clash == "reuse":
            return name, Found(known["ImageId"], name, fresh=False)
        if wanted.clash == "fail":
            raise PublishError(
                f"the name {name!r} belongs to {known['ImageId']}, another image",
                hint="--name, or --on-name-clash reuse or suffix",
            )
    raise PublishError(f"{_SUFFIXES} images are named {wanted.name!r}-N", hint="give it another name")


def from_snapshot(root: str, snapshot: str, volume_type: str) -> dict[str, Any]:
    """Return what RegisterImage is told of an image whose root device is a snapshot."""
    ebs = {"SnapshotId": snapshot, "VolumeType": volume_type, "DeleteOnTermination": True}
    return {"RootDeviceName": root, "BlockDeviceMappings": [{"DeviceName": root, "Ebs": ebs}]}


def register(ec2: Any, wanted: Wanted, source: Mapping[str, Any]) -> Found:
    """Register the image, or return the one that somebody else registered for the same bytes meanwhile.

    `source` is where its root device comes from: `from_snapshot`, or {"ImageLocation": "BUCKET/MANIFEST"}.
    """
    while True:
        name, known = choose(ec2, wanted)
        if known is not None:
            return known
        try:
            with told(f"registering {name!r}"):
                said = ec2.register_image(
                    Name=name,
                    Description=wanted.description,
                    **wanted.boot,
                    **source,
                    TagSpecifications=[
                        {"ResourceType": "image", "Tags": tag_list({**wanted.tags, KEY: wanted.key})}
                    ],
                )
            return Found(said["ImageId"], name, fresh=True)
        except PublishError as error:
            if code_of(error) != "InvalidAMIName.Duplicate":
                raise
            # Ours, whose answer was lost, or another publisher's: it is looked up.


def await_available(ec2: Any, image: str, patience: Patience, wait: Wait) -> None:
    """Wait until it can be launched; PublishError when it fails, or never can."""
    until, pause = time.monotonic() + patience.available, pauses()
    while True:
        with told(f"looking at {image}"):
            try:
                found = ec2.describe_images(ImageIds=[image])["Images"]
            except ec2.exceptions.ClientError as error:
                if code_of(error) != "InvalidAMIID.NotFound":
                    raise
                found = []  # just registered
        state = found[0]["State"] if found else "not seen yet"
        if state == "available":
            return
        if state in {"failed", "error", "invalid", "deregistered", "disabled"}:
            reason = found[0].get("StateReason", {}).get("Message", "")
            raise PublishError(f"{image} is {state}", details=reason)
        if time.monotonic() > until:
            raise PublishError(f"{image} is {state} after {patience.available:.0f} s")
        if not wait(next(pause)):
            raise InterruptedByUser("interrupted")


def checked(ec2: Any, image: str, boot: Mapping[str, str]) -> str | None:
    """Return the snapshot of an image's root device, None for one from S3.

    PublishError when EC2 has the image as another kind of guest: one of another's, whose name was to be reused.
    """
    with told(f"looking at {image}"):
        said = ec2.describe_images(ImageIds=[image])["Images"][0]
    for name in ("Architecture", "VirtualizationType", "BootMode"):
        seen = said.get(name)  # a boot mode that was never named is the instance type's own: BIOS on x86
        if name in boot and seen != boot[name] and (name, seen) != ("BootMode", None):
            raise PublishError(f"{image} has {name} {seen}, and {boot[name]} is wanted")
    for mapping in said["BlockDeviceMappings"]:
        if mapping["DeviceName"] == said["RootDeviceName"] and "Ebs" in mapping:
            return str(mapping["Ebs"]["SnapshotId"])
    return None


def share(ec2: Any, image: str, snapshot: str | None, accounts: Sequence[str], *, public: bool) -> None:
    """Let others launch it, and make volumes of its snapshot."""
    permissions = [{"UserId": account} for account in accounts] + ([{"Group": "all"}] if public else [])
    if not permissions:
        return
    with told(f"sharing {image}"):
        ec2.modify_image_attribute(ImageId=image, LaunchPermission={"Add": permissions})
    if accounts and snapshot:
        with told(f"sharing {snapshot}"):
            ec2.modify_snapshot_attribute(
                SnapshotId=snapshot,
                Attribute="createVolumePermission",
                OperationType="add",
                UserIds=list(accounts),
            )


def deprecate(ec2: Any, image: str, when: str) -> None:
    """Set the time from which it is deprecated (ISO 8601, UTC)."""
    with told(f"setting the deprecation date of {image}"):
        ec2.enable_image_deprecation(ImageId=image, DeprecateAt=when)


def _named(ec2: Any, name: str) -> Mapping[str, Any] | None:
    with told(f"looking for the name {name!r}"):
        found = pages(
            ec2, "describe_images", "Images", Owners=["self"], Filters=[{"Name": "name", "Values": [name]}]
        )
    exact = [image for image in found if image.get("Name") == name]  # * and ? are patterns in a filter
    return exact[0] if exact else None
