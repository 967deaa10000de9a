"""EC2's snapshots, over those of the EBS direct APIs: describing, deleting, copying, sharing; tags; encryption."""

import time
from dataclasses import replace
from datetime import UTC, datetime

from imagekit.rehearsal.cloud import Ask, Image, Region, stamp
from imagekit.rehearsal.filters import choose, page
from imagekit.rehearsal.images import changes, who_may
from imagekit.rehearsal.query import NotDoneError, read_tags, specified_tags, tag_set
from imagekit.rehearsal.register import check_free, check_name, keep
from imagekit.rehearsal.snapshots import Snapshot

_PAGES = range(5, 1001)
_MOST_TAGS = 50


def describe(ask: Ask) -> dict[str, object]:
    """DescribeSnapshots."""
    asked = ask.asked
    asked.only("SnapshotId", "Owner", "RestorableBy", "Filter", "MaxResults", "NextToken")
    ebs, owner = ask.region.ebs, ask.cloud.settings.owner
    now = time.monotonic()
    rows = [one for one in list(ebs.account.snapshots.values()) if now >= one.born + ebs.settings.settle]
    if names := asked.texts("SnapshotId"):
        rows = [ask.region.snapshot(name) for name in dict.fromkeys(names)]
    if (owners := set(asked.texts("Owner"))) and not owners & {"self", owner}:
        rows = []
    fields = {
        "description": lambda one: [_description(one)],
        "encrypted": lambda one: ["true" if one.key else "false"],
        "owner-id": lambda _: [owner],
        "progress": lambda one: [_progress(ask, one)],
        "snapshot-id": lambda one: [one.name],
        "status": lambda one: [ebs.status(one)],
        "volume-size": lambda one: [str(one.volume_size)],
    }
    rows = choose(rows, asked, fields, lambda one: one.tags)
    shown, following = page(rows, asked, _PAGES, "SnapshotId")
    return {"snapshotSet": [_described(ask, one) for one in shown], "nextToken": following}


def delete(ask: Ask) -> dict[str, object]:
    """DeleteSnapshot."""
    ask.asked.only("SnapshotId")
    snapshot = ask.region.snapshot(ask.asked.needed("SnapshotId"))
    if used := ask.region.users(snapshot.name):
        message = f"The snapshot {snapshot.name} is currently in use by {used[0].id}"
        raise NotDoneError("InvalidSnapshot.InUse", message)
    ask.cloud.drop(ask.region, snapshot)
    return {"return": True}


def copy(ask: Ask) -> dict[str, object]:
    """CopySnapshot."""
    asked = ask.asked
    asked.only(
        "SourceRegion",
        "SourceSnapshotId",
        "Description",
        "DestinationRegion",
        "PresignedUrl",
        "Encrypted",
        "KmsKeyId",
        "TagSpecification",
        "CompletionDurationMinutes",
    )
    if asked.text("DestinationRegion", ask.region.name) != ask.region.name:
        raise asked.invalid("DestinationRegion")
    tags = specified_tags(asked, "snapshot")["snapshot"]
    source_region = _source_region(ask)
    source = source_region.snapshot(asked.needed("SourceSnapshotId"))
    made = _copied(ask, source_region, source, asked.text("Description"))
    made.tags = tags
    made.failed = ask.fault == "failed"
    return {"snapshotId": made.name, "tagSet": tag_set(tags)}


def copy_image(ask: Ask) -> dict[str, object]:
    """CopyImage: the snapshots, and an image of them whose kernel is that of the same name here."""
    asked = ask.asked
    asked.only(
        "ClientToken",
        "Description",
        "Encrypted",
        "KmsKeyId",
        "Name",
        "SourceImageId",
        "SourceRegion",
        "CopyImageTags",
        "TagSpecification",
    )
    token = asked.text("ClientToken")
    if token and token in ask.region.tokens:
        return {"imageId": ask.region.tokens[token].id}
    name = check_name(asked)
    tags = specified_tags(asked, "image", "snapshot")
    place = _source_region(ask)
    source = place.own_image(asked.needed("SourceImageId"), ask.cloud.settings.image_settle)
    if source.state != "available":
        raise NotDoneError("IncorrectState", f"The image '{source.id}' is {source.state}.")
    if source.virtualization == "paravirtual" and not ask.region.paravirtual:
        message = f"Paravirtual images are not supported in {ask.region.name}"
        raise NotDoneError("UnsupportedOperation", message)
    check_free(ask, name)
    parts = []
    for part in source.mappings:
        if not part.snapshot:
            parts.append(part)
            continue
        made = _copied(ask, place, place.snapshot(part.snapshot), f"Copied for {source.id} from {place.name}")
        made.tags = dict(tags["snapshot"])
        parts.append(replace(part, snapshot=made.name, encrypted=bool(made.key)))
    image = Image(
        name,
        source.architecture,
        source.virtualization,
        asked.text("Description", source.description),
        kernel=_kernel(ask, place, source),
        root=source.root,
        bundled=source.bundled,
        mappings=tuple(parts),
        source=(source.id, place.name),
        asked=dict(source.asked),
        tags=(source.tags if asked.flag("CopyImageTags") else {}) | tags["image"],
    )
    if token:
        ask.region.tokens[token] = image
    return keep(ask, image, ask.cloud.settings.copying)


def modify(ask: Ask) -> dict[str, object]:
    """ModifySnapshotAttribute: who may make volumes of it."""
    ask.asked.only("SnapshotId", "Attribute", "OperationType", "UserId", "UserGroup", "CreateVolumePermission")
    snapshot = ask.region.snapshot(ask.asked.needed("SnapshotId"))
    add, remove = changes(ask.asked, "CreateVolumePermission")
    if add and snapshot.key and ("all" in add or snapshot.key == ask.region.ebs.default_key):
        raise NotDoneError("InvalidParameter", "Encrypted snapshots with EBS default key cannot be shared")
    snapshot.shared = (snapshot.shared | add) - remove
    return {"return": True}


def attribute(ask: Ask) -> dict[str, object]:
    """DescribeSnapshotAttribute."""
    ask.asked.only("SnapshotId", "Attribute")
    snapshot = ask.region.snapshot(ask.asked.needed("SnapshotId"))
    if ask.asked.needed("Attribute") != "createVolumePermission":
        raise ask.asked.invalid("Attribute")
    return {"snapshotId": snapshot.name, "createVolumePermission": who_may(snapshot.shared)}


def tag(ask: Ask) -> dict[str, object]:
    """CreateTags."""
    ask.asked.only("ResourceId", "Tag")
    tags = read_tags(ask.asked.parts("Tag"))
    found = _resources(ask)
    if not tags:
        raise NotDoneError("MissingParameter", "The request must contain the parameter Tag")
    for one in found:
        if len(one.tags | tags) > _MOST_TAGS:
            raise NotDoneError("TagLimitExceeded", "The maximum number of tags is 50.")
    for one in found:
        one.tags |= tags
    return {"return": True}


def untag(ask: Ask) -> dict[str, object]:
    """DeleteTags: those named, only where a value that was named is the tag's; all without a name."""
    ask.asked.only("ResourceId", "Tag")
    named = ask.asked.parts("Tag")
    for one in _resources(ask):
        for asked in named:
            key = asked.needed("Key")
            if "Value" not in asked or one.tags.get(key) == asked.text("Value"):
                one.tags.pop(key, None)
        if not named:
            one.tags.clear()
    return {"return": True}


def encryption(ask: Ask) -> dict[str, object]:
    """GetEbsEncryptionByDefault."""
    ask.asked.only()
    return {"ebsEncryptionByDefault": ask.region.ebs.encrypts}


def encrypt(ask: Ask) -> dict[str, object]:
    """EnableEbsEncryptionByDefault."""
    ask.asked.only()
    ask.region.ebs.encrypts = True
    return {"ebsEncryptionByDefault": True}


def leave_plain(ask: Ask) -> dict[str, object]:
    """DisableEbsEncryptionByDefault."""
    ask.asked.only()
    ask.region.ebs.encrypts = False
    return {"ebsEncryptionByDefault": False}


def _source_region(ask: Ask) -> Region:
    name = ask.asked.needed("SourceRegion")
    if name not in ask.cloud.regions:
        raise ask.asked.invalid("SourceRegion")
    return ask.cloud.regions[name]


def _copied(ask: Ask, place: Region, source: Snapshot, description: str) -> Snapshot:
    state = place.ebs.status(source)
    if state != "completed":
        raise NotDoneError("IncorrectState", f"The snapshot '{source.name}' is not completed, it is {state}.")
    ebs = ask.region.ebs
    with ebs.account.lock:
        made = ebs.account.copy(source, ask.region.key(ask.asked, source.key), description)
        made.born -= ebs.settings.settle  # EC2's own calls see at once what they made
        made.sealed = time.monotonic() + ask.cloud.settings.copying - ebs.settings.seal
    return made


def _kernel(ask: Ask, place: Region, source: Image) -> str:
    if not source.kernel:
        return ""
    name = place.kernels[source.kernel].name
    return next(one.id for one in ask.region.kernels.values() if one.name == name)


def _resources(ask: Ask) -> list[Image | Snapshot]:
    names = ask.asked.texts("ResourceId")
    if not names:
        raise NotDoneError("MissingParameter", "The request must contain the parameter ResourceId")
    return [ask.region.snapshot(name) if name.startswith("snap-") else ask.image(name) for name in names]


def _description(snapshot: Snapshot) -> str:
    return str(snapshot.asked.get("Description", ""))


def _progress(ask: Ask, snapshot: Snapshot) -> str:
    if ask.region.ebs.status(snapshot) == "completed":
        return "100%"
    if snapshot.sealed is None:
        return "0%"
    end = snapshot.sealed + ask.region.ebs.settings.seal
    return f"{min(99, int(100 * (time.monotonic() - snapshot.born) / max(0.001, end - snapshot.born)))}%"


def _described(ask: Ask, snapshot: Snapshot) -> dict[str, object]:
    state = ask.region.ebs.status(snapshot)
    return {
        "snapshotId": snapshot.name,
        "volumeId": "vol-ffffffff",
        "status": state,
        "statusMessage": "The copy failed." if state == "error" else None,
        "startTime": stamp(datetime.fromtimestamp(snapshot.started, UTC)),
        "progress": _progress(ask, snapshot),
        "ownerId": ask.cloud.settings.owner,
        "volumeSize": snapshot.volume_size,
        "description": _description(snapshot),
        "encrypted": bool(snapshot.key),
        "kmsKeyId": snapshot.key or None,
        "storageTier": "standard",
        "tagSet": tag_set(snapshot.tags),
    }
