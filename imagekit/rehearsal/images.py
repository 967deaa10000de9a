"""EC2's images: describing, deregistering, sharing, deprecating."""

import re
from datetime import UTC, datetime, timedelta

from imagekit.rehearsal.cloud import Ask, Image, Mapping, check_image_id, stamp
from imagekit.rehearsal.filters import choose, page
from imagekit.rehearsal.query import Asked, NotDoneError, tag_set

_PAGES = range(1, 1001)
_LONGEST = timedelta(days=3653)
_ACCOUNT = re.compile(r"[0-9]{12}")


def _word(*, is_so: bool) -> str:
    return "true" if is_so else "false"


_FIELDS = {
    "architecture": lambda one: [one.architecture],
    "block-device-mapping.snapshot-id": lambda one: [part.snapshot for part in one.mappings if part.snapshot],
    "block-device-mapping.volume-type": lambda one: [part.kind for part in one.mappings if part.snapshot],
    "creation-date": lambda one: [one.created],
    "description": lambda one: [one.description],
    "hypervisor": lambda _: ["xen"],
    "image-id": lambda one: [one.id],
    "image-type": lambda one: [one.kind],
    "is-public": lambda one: [_word(is_so="all" in one.shared)],
    "kernel-id": lambda one: [one.kernel],
    "manifest-location": lambda one: [one.location],
    "name": lambda one: [one.name],
    "owner-id": lambda one: [one.owner],
    "owner-alias": lambda one: [_alias(one) or ""],
    "root-device-name": lambda one: [one.root],
    "root-device-type": lambda one: [_root_kind(one)],
    "state": lambda one: [one.state],
    "virtualization-type": lambda one: [one.virtualization],
}


def describe(ask: Ask) -> dict[str, object]:
    """DescribeImages."""
    asked = ask.asked
    asked.only(
        "ImageId",
        "Owner",
        "Filter",
        "ExecutableBy",
        "IncludeDeprecated",
        "IncludeDisabled",
        "MaxResults",
        "NextToken",
    )
    rows = ask.region.visible(ask.cloud.settings.image_settle)
    if names := asked.texts("ImageId"):
        for name in names:
            check_image_id(name)
        known = {one.id: one for one in rows}
        if missing := [name for name in names if name not in known]:
            verb = "does" if len(missing) == 1 else "do"
            said = f"The image id{'s'[: len(missing) - 1]} '[{', '.join(missing)}]' {verb} not exist"
            raise NotDoneError("InvalidAMIID.NotFound", said)
        rows = [known[name] for name in dict.fromkeys(names)]
    elif not asked.flag("IncludeDeprecated"):
        # An owner sees the own deprecated images without asking.
        rows = [one for one in rows if one.owner == ask.cloud.settings.owner or not one.deprecated]
    if owners := set(asked.texts("Owner")):
        own = {"self"} if "self" in owners else set()
        rows = [one for one in rows if owners & {one.owner, _alias(one)} or (own and _is_own(ask, one))]
    if users := set(asked.texts("ExecutableBy")):
        rows = [
            one
            for one in rows
            if users & one.shared or ("self" in users and ask.cloud.settings.owner in one.shared)
        ]
    rows = choose(rows, asked, _FIELDS, lambda one: one.tags)
    shown, following = page(rows, asked, _PAGES, "ImageId")
    return {"imagesSet": [_described(one) for one in shown], "nextToken": following}


def deregister(ask: Ask) -> dict[str, object]:
    """DeregisterImage, and its snapshots when that is asked for."""
    ask.asked.only("ImageId", "DeleteAssociatedSnapshots")
    image = ask.image(ask.asked.needed("ImageId"))
    del ask.region.images[image.id]
    ask.region.gone.add(image.id)
    if not ask.asked.flag("DeleteAssociatedSnapshots"):
        return {"return": True}
    results: list[dict[str, str]] = []
    for name in dict.fromkeys(part.snapshot for part in image.mappings if part.snapshot):
        used = ask.region.users(name)
        snapshot = ask.region.ebs.account.snapshots.get(name)
        if snapshot is not None and not used:
            ask.cloud.drop(ask.region, snapshot)
        results.append({"snapshotId": name, "returnCode": "skipped" if used else "success"})
    return {"return": True, "deleteSnapshotResultSet": results}


def modify(ask: Ask) -> dict[str, object]:
    """ModifyImageAttribute: launch permissions, the description."""
    asked = ask.asked
    asked.only(
        "ImageId", "Attribute", "OperationType", "UserId", "UserGroup", "LaunchPermission", "Description", "Value"
    )
    image = ask.image(asked.needed("ImageId"))
    if image.state != "available":
        raise NotDoneError("InvalidAMIID.Unavailable", f"The image ID '{image.id}' is not available")
    if "Description" in asked or asked.text("Attribute") == "description":
        image.description = asked.part("Description").text("Value") or asked.text("Value")
        return {"return": True}
    if "LaunchPermission" not in asked and asked.text("Attribute") != "launchPermission":
        raise NotDoneError("InvalidParameterCombination", "No attributes specified.")
    add, remove = changes(asked, "LaunchPermission")
    if "all" in add and ask.cloud.settings.private:
        message = (
            "You can't publicly share this image because block public access for AMIs is enabled in this region."
        )
        raise NotDoneError("OperationNotPermitted", message)
    if (
        add
        and any(part.encrypted for part in image.mappings)
        and ("all" in add or any(_own_key(ask, part) for part in image.mappings))
    ):
        raise NotDoneError("InvalidParameter", "Snapshots encrypted with the AWS Managed CMK can't be shared")
    image.shared = (image.shared | add) - remove
    return {"return": True}


def changes(asked: Asked, name: str) -> tuple[set[str], set[str]]:
    """Read who is to be allowed and who no more, in either of the two ways of saying it."""
    if name in asked:
        both = asked.part(name)
        both.only("Add", "Remove")
        read: list[set[str]] = []
        for one in ("Add", "Remove"):
            parts = both.parts(one)
            for part in parts:
                part.only("UserId", "Group")
            read.append({part.text("UserId") or part.text("Group") for part in parts})
        add, remove = read
    else:
        who = {*asked.texts("UserId"), *asked.texts("UserGroup")}
        kind = asked.needed("OperationType")
        if kind not in {"add", "remove"}:
            raise asked.invalid("OperationType")
        add, remove = (who, set()) if kind == "add" else (set(), who)
    if not add and not remove:
        raise NotDoneError("InvalidParameterCombination", "No users or groups specified.")
    for one in add | remove:
        if one != "all" and not _ACCOUNT.fullmatch(one):
            raise NotDoneError("InvalidAMIAttributeItemValue", f'Invalid attribute item value "{one}" for userId')
    return add, remove


def who_may(shared: set[str]) -> list[dict[str, str]]:
    """Return permissions as answers have them."""
    return [{"group": one} if one == "all" else {"userId": one} for one in sorted(shared)]


def attribute(ask: Ask) -> dict[str, object]:
    """DescribeImageAttribute."""
    ask.asked.only("ImageId", "Attribute")
    image = ask.image(ask.asked.needed("ImageId"))
    known: dict[str, dict[str, object]] = {
        "launchPermission": {"launchPermission": who_may(image.shared)},
        "description": {"description": {"value": image.description}},
        "kernel": {"kernel": {"value": image.kernel or None}},
        "blockDeviceMapping": {"blockDeviceMapping": [_mapped(part) for part in image.mappings]},
    }
    name = ask.asked.needed("Attribute")
    if name not in known:
        raise ask.asked.invalid("Attribute")
    return {"imageId": image.id, **known[name]}


def deprecate(ask: Ask) -> dict[str, object]:
    """EnableImageDeprecation."""
    ask.asked.only("ImageId", "DeprecateAt")
    image = ask.image(ask.asked.needed("ImageId"))
    text = ask.asked.needed("DeprecateAt")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ask.asked.invalid("DeprecateAt") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    now = datetime.now(UTC)
    if not now < moment <= now + _LONGEST:
        message = "DeprecateAt must be in the future, and at most 10 years from now"
        raise NotDoneError("InvalidParameterValue", message)
    image.deprecation = stamp(moment.replace(second=0))  # EC2 keeps minutes
    return {"return": True}


def undeprecate(ask: Ask) -> dict[str, object]:
    """DisableImageDeprecation."""
    ask.asked.only("ImageId")
    ask.image(ask.asked.needed("ImageId")).deprecation = ""
    return {"return": True}


def _alias(image: Image) -> str | None:
    return "amazon" if image.kind == "kernel" else None


def _is_own(ask: Ask, image: Image) -> bool:
    return image.owner == ask.cloud.settings.owner


def _root_kind(image: Image) -> str:
    return "instance-store" if image.bundled else "ebs"


def _own_key(ask: Ask, part: Mapping) -> bool:
    snapshot = ask.region.ebs.account.snapshots.get(part.snapshot)
    return snapshot is not None and snapshot.key == ask.region.ebs.default_key


def _mapped(part: Mapping) -> dict[str, object]:
    if not part.snapshot and not part.size:
        return {"deviceName": part.device, "virtualName": part.virtual or None}
    ebs = {
        "snapshotId": part.snapshot or None,
        "volumeSize": part.size,
        "deleteOnTermination": part.delete,
        "volumeType": part.kind,
        "encrypted": part.encrypted,
    }
    return {"deviceName": part.device, "ebs": ebs}


def _described(image: Image) -> dict[str, object]:
    state = image.state
    reason = {"code": "Server.InternalError", "message": "The image could not be made."}
    return {
        "imageId": image.id,
        "imageLocation": image.location,
        "imageState": state,
        "imageOwnerId": image.owner,
        "imageOwnerAlias": _alias(image),
        "creationDate": image.created,
        "isPublic": "all" in image.shared,
        "architecture": image.architecture,
        "imageType": image.kind,
        "kernelId": image.kernel or None,
        "ramdiskId": image.ramdisk or None,
        "name": image.name,
        "description": image.description or None,
        "rootDeviceType": _root_kind(image),
        "rootDeviceName": image.root or None,
        "blockDeviceMapping": [_mapped(part) for part in image.mappings],
        "virtualizationType": image.virtualization,
        "hypervisor": "xen",
        "platformDetails": "Linux/UNIX",
        "usageOperation": "RunInstances",
        "enaSupport": True if image.asked.get("EnaSupport") == "true" else None,
        "sriovNetSupport": image.asked.get("SriovNetSupport"),
        "bootMode": image.asked.get("BootMode"),
        "deprecationTime": image.deprecation or None,
        "sourceImageId": image.source[0] or None,
        "sourceImageRegion": image.source[1] or None,
        "stateReason": reason if state == "failed" else None,
        "tagSet": tag_set(image.tags),
    }
