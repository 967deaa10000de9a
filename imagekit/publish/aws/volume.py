"""An image's bytes into a snapshot of a region: found, gone on with, sent block by block, or copied by AWS."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from imagekit.errors import PublishError
from imagekit.publish.aws import snapshot
from imagekit.publish.aws.account import Account, told
from imagekit.publish.aws.parent import differing, read_back
from imagekit.publish.aws.snapshot import Journal, Patience, tag_list
from imagekit.publish.course import Course
from imagekit.publish.entry import Entry
from imagekit.receipt import Receipt
from imagekit.recipe import PublishEbs
from imagekit.sparse import BlockMap

_GIB = 1 << 30


@dataclass(frozen=True)
class Volume:
    """The image as a volume: its file, the blocks of it, and how its snapshots are told from others."""

    account: Account
    settings: PublishEbs
    path: Path
    blocks: BlockMap
    description: str
    tags: Mapping[str, str]
    patience: Patience

    def differing(self, course: Course) -> frozenset[int] | None:
        """Return the blocks that differ from the parent, None for all; PublishError for a larger parent."""
        parent = self.settings.parent
        if parent is None:
            return None
        ec2 = self.account.client("ec2", course.place)
        with told(f"looking at the parent {parent}"):
            said = ec2.describe_snapshots(SnapshotIds=[parent])["Snapshots"][0]
        gib = max(1, -(-self.blocks.length // _GIB))
        if said["VolumeSize"] > gib:
            raise PublishError(f"{parent} has {said['VolumeSize']} GiB, and the image {gib}")
        held = read_back(self.account.client("ebs", course.place), parent)
        only = differing(self.blocks, held, encrypted=bool(said.get("Encrypted")), gib=gib)
        course.tell(f"{len(only)} blocks differ from {parent}")
        return only

    def completed(
        self, course: Course, key: str, only: frozenset[int] | None, entry: Entry, source: Receipt | None
    ) -> str:
        """Return a completed snapshot of the image; of another region's, `source`, AWS makes a copy."""
        wanted = self._wanted(course.place, key, only)
        ec2 = self.account.client("ec2", course.place)
        if source is not None and not snapshot.find(ec2, key):
            begun = self._copied(course, key, source)
        else:
            gone = {one.id for one in entry.receipt.resources if one.gone}

            def made(new: snapshot.Begun) -> None:
                entry.receipt.resource("snapshot", new.id)
                entry.save()

            begun = snapshot.begin(self.account, wanted, gone, made, self.patience, course.wait)
        ours = begun.fresh or entry.has("snapshot", begun.id)
        entry.receipt.resource("snapshot", begun.id, ours=ours)
        entry.save()
        if begun.state == "completed":
            course.tell(f"{begun.id} holds these bytes already")
        elif source is None:
            self._fill(course, wanted, begun, entry)
        snapshot.await_completed(ec2, begun.id, self.patience, course.wait)
        return begun.id

    def _wanted(self, region: str, key: str, only: frozenset[int] | None) -> snapshot.Wanted:
        return snapshot.Wanted(
            key=key,
            region=region,
            blocks=self.blocks,
            description=self.description,
            tags=self.tags,
            encrypted=self.settings.encrypted,
            kms_key=self.settings.kms_key,
            parent=self.settings.parent,
            only=only,
            uploader=self.settings.uploader,
            workers=self.settings.workers,
        )

    def _fill(self, course: Course, wanted: snapshot.Wanted, begun: snapshot.Begun, entry: Entry) -> None:
        journal = Journal(entry.ledger.folder / f".{wanted.key}", begun.id)
        already = journal.read()
        words = f", {len(already)} are there already" if already else ""
        course.tell(f"{begun.id}: sending blocks{words}")
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with journal.writing() as enter:

                def done(index: int) -> None:
                    enter(index)
                    course.go_on()

                sent = snapshot.fill(self.account, wanted, begun, descriptor, already, done)
            course.go_on()
            snapshot.complete(self.account, wanted, begun.id, sent)
        except PublishError:
            ec2 = self.account.client("ec2", course.place)
            if not snapshot.was_completed(ec2, begun.id, course.wait):
                raise
            course.tell(f"{begun.id}: another publisher was faster")
            return
        finally:
            os.close(descriptor)
        journal.forget()
        course.tell(f"{begun.id}: {sent.sent} of {sent.count} blocks sent")

    def _copied(self, course: Course, key: str, source: Receipt) -> snapshot.Begun:
        """Have AWS copy the first region's snapshot."""
        asked: dict[str, object] = {
            "SourceRegion": source.region,
            "SourceSnapshotId": str(source.details["snapshot"]),
            "Description": self.description,
            "TagSpecifications": [
                {"ResourceType": "snapshot", "Tags": tag_list({**self.tags, snapshot.KEY: key})}
            ],
        }
        if self.settings.encrypted or self.settings.kms_key:
            asked["Encrypted"] = True
        if self.settings.kms_key:
            raise PublishError(
                "a KMS key belongs to one region, and copies need one each", hint="copy_snapshot = false"
            )
        with told(f"copying the snapshot from {source.region} to {course.place}"):
            made = self.account.client("ec2", course.place).copy_snapshot(**asked)["SnapshotId"]
        course.tell(f"{made}: copied by AWS from {source.region}")
        return snapshot.Begun(made, encrypted=False, state="pending", fresh=True)
