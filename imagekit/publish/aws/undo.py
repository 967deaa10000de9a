"""Taking back what was made: of one publication, and what is left over in an account."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from imagekit.errors import PublishError
from imagekit.publish import Ask
from imagekit.publish.aws.account import Account, code_of, pages, told
from imagekit.publish.aws.snapshot import KEY
from imagekit.publish.keeping import Orphan
from imagekit.receipt import Ledger, Receipt, Resource

_GONE = {
    *("InvalidAMIID.NotFound", "InvalidAMIID.Unavailable", "InvalidSnapshot.NotFound"),
    *("InvalidSnapshotID.NotFound", "ResourceNotFoundException", "NoSuchBucket", "NoSuchKey"),
}
_TARGETS = {"ebs", "ami"}
_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d+")


class Keeper:
    """Takes back in the account that the environment names."""

    def __init__(self, environment: Mapping[str, str], ask: Ask) -> None:  # noqa: ARG002 -- AWS asks nobody
        self._environment = environment

    @cached_property
    def _account(self) -> Account:
        return Account(self._environment, {})

    def undo(self, receipt: Receipt, ledger: Ledger) -> list[Resource]:
        """Remove what a publication made."""
        return undo(self._account, receipt, ledger)

    def places(self, named: Sequence[str], ledger: Ledger) -> list[str]:
        """Return regions: those named, or those of the receipts and the account's own."""
        if named:
            return [name for name in named if _REGION.fullmatch(name)]
        known = [receipt.region for receipt in ledger if receipt.target in _TARGETS]
        default = self._account.default_region
        return list(dict.fromkeys([*known, *([default] if default else [])]))

    def orphans(self, places: Sequence[str], age: timedelta, ledger: Ledger) -> list[Orphan]:
        """Return what has our tags there."""
        return orphans(self._account, places, age, ledger)

    def remove(self, orphan: Orphan) -> None:
        """Remove one of them."""
        remove(self._account, orphan.kind, orphan.id, orphan.region)


def undo(account: Account, receipt: Receipt, ledger: Ledger) -> list[Resource]:
    """Remove what a publication made, the newest first, and return it; what is gone already counts as removed."""
    removed = []
    for resource in receipt.left:
        remove(account, resource.kind, resource.id, resource.region)
        resource.gone = True
        ledger.write(receipt)
        removed.append(resource)
    return removed


def remove(account: Account, kind: str, name: str, region: str) -> None:
    """Deregister an image, delete a snapshot or an object; PublishError when AWS does not do it."""
    ec2 = account.client("ec2", region)
    try:
        with told(f"removing {name}"):
            if kind == "image":
                ec2.deregister_image(ImageId=name)
            elif kind == "snapshot":
                ec2.delete_snapshot(SnapshotId=name)
            elif kind == "object":
                bucket, _, key = name.partition("/")
                account.client("s3", region).delete_object(Bucket=bucket, Key=key)
            else:
                raise ValueError(kind)
    except PublishError as error:
        if code_of(error) not in _GONE:
            raise


def orphans(account: Account, regions: Iterable[str], age: timedelta, ledger: Ledger) -> list[Orphan]:
    """Return what has our tags in these regions, is older than `age`, and belongs to no published receipt.

    A snapshot that an image uses is no orphan; neither is an image: somebody published it, if not from here.
    """
    claimed = {
        resource.id
        for receipt in ledger
        if receipt.state == "published"
        for resource in receipt.resources
        if not resource.gone
    }
    found = []
    for region in regions:
        ec2 = account.client("ec2", region)
        with told(f"looking through {region}"):
            filters = [{"Name": "tag-key", "Values": [KEY]}]
            images = pages(ec2, "describe_images", "Images", Owners=["self"], IncludeDeprecated=True)
            snapshots = pages(ec2, "describe_snapshots", "Snapshots", OwnerIds=["self"], Filters=filters)
        used = {
            mapping["Ebs"].get("SnapshotId")
            for image in images
            for mapping in image.get("BlockDeviceMappings", [])
            if "Ebs" in mapping
        }
        for snapshot in snapshots:
            name, begun = str(snapshot["SnapshotId"]), snapshot["StartTime"]
            if name in used | claimed or begun > datetime.now(UTC) - age:
                continue
            why = f"{snapshot['State']}, and no image uses it"
            found.append(
                Orphan("snapshot", name, region, begun.astimezone(UTC).isoformat(timespec="seconds"), why)
            )
        found += _failed(images, region, age)
    return found


def _failed(images: Iterable[Any], region: str, age: timedelta) -> list[Orphan]:
    """Return our images that can never be launched."""
    bad = []
    for image in images:
        tags = {tag["Key"] for tag in image.get("Tags", [])}
        if KEY not in tags or image.get("State") not in {"failed", "error", "invalid"}:
            continue
        made = datetime.fromisoformat(str(image["CreationDate"]))
        if made < datetime.now(UTC) - age:
            bad.append(
                Orphan("image", str(image["ImageId"]), region, made.isoformat(timespec="seconds"), "failed")
            )
    return bad
