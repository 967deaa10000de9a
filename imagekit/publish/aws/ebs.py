"""An EBS volume image to an AMI, in each region: snapshot, registration, receipt.

Everything that can refuse is asked before anything is made. A repeated run finds the image and the snapshot by
their tags; one that was killed goes on with the pending snapshot. What fails is undone.
"""

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import cast

from imagekit.errors import ImagekitError, InterruptedByUser, PublishError, UsageError, VerificationError
from imagekit.kernel import Way
from imagekit.publish import Order
from imagekit.publish.aws import image, pv, snapshot
from imagekit.publish.aws.account import Account, told
from imagekit.publish.aws.parent import differing, read_back
from imagekit.publish.aws.snapshot import Journal, Patience, tag_list
from imagekit.publish.aws.undo import undo
from imagekit.publish.course import settled
from imagekit.publish.keeping import told_of
from imagekit.receipt import DESTROYED, FAILED, PENDING, PUBLISHED, Ledger, Receipt, now, receipt_id
from imagekit.recipe import PublishEbs
from imagekit.sparse import BlockMap, map_blocks


def publish(order: Order) -> list[Receipt]:
    """Publish in each region, and return the receipts in the order of the regions.

    One region's failure does not undo another's success: what is done is told, and the first error is raised.
    """
    settings = cast("PublishEbs", order.settings)
    account = Account(order.terms.environment, order.terms.account)
    regions = list(dict.fromkeys(settings.regions or _default(account)))
    blocks = _blocks_of(order)
    account.credentials()
    publication = _Publication(order, settings, account, blocks, Patience())
    plans = [publication.checked(region) for region in regions]
    first, rest = plans[0], plans[1:]
    if settings.copy_snapshot or not rest:
        results = [publication.run(first)]
        copied = partial(publication.run, source=results[0]) if settings.copy_snapshot else publication.run
        if isinstance(results[0], Receipt):
            results += _at_once(copied, rest, order)
    else:
        results = _at_once(publication.run, plans, order)
    return settled(results, order.terms)


@dataclass(frozen=True)
class _Plan:
    """What is known of a region before anything is made there."""

    region: str
    kernel: str
    kernel_name: str
    types: list[str]
    only: frozenset[int] | None


class _Publication:
    """One image on its way to several regions."""

    def __init__(
        self, order: Order, settings: PublishEbs, account: Account, blocks: BlockMap, patience: Patience
    ) -> None:
        self._order = order
        self._settings = settings
        self._account = account
        self._blocks = blocks
        self._patience = patience
        self._ledger = Ledger(order.terms.state)
        self._partitioned = order.sidecar.layout.get("disk") != "plain"
        self._root = settings.root_device or ("/dev/sda" if self._partitioned else "/dev/sda1")
        self._architecture = _architecture(order)

    def checked(self, region: str) -> _Plan:
        """Ask everything that may refuse; KernelError (exit 3) where no PV guest can run."""
        settings, ec2 = self._settings, self._account.client("ec2", region)
        image.check_name(self._name)
        types = pv.instance_types(ec2, region, self._architecture, "ebs")
        kernel, called = settings.kernel or "", ""
        if not kernel:
            kernel, called = pv.kernel(
                ec2, region, self._architecture, partitioned=self._partitioned, warn=self._warn
            )
        return _Plan(region, kernel, called or kernel, types, self._differing(region))

    def run(self, plan: _Plan, source: "Receipt | ImagekitError | None" = None) -> "Receipt | ImagekitError":
        """Publish in one region; return the error when that fails, after what was made is undone.

        `source` is the publication whose snapshot AWS is to copy.
        """
        key = snapshot.snapshot_key(
            self._order.sidecar.digest,
            plan.region,
            self._settings.encrypted,
            self._settings.kms_key,
            self._settings.parent,
        )
        fresh = Receipt(
            id=receipt_id("ebs", key, self._name, *(["rehearsed"] if self._order.terms.rehearsed else [])),
            target="ebs",
            image=self._order.sidecar.image,
            digest=self._order.sidecar.digest,
            region=plan.region,
            rehearsed=self._order.terms.rehearsed,
            begun=now(),
        )
        with self._ledger.entry(fresh) as receipt:
            try:
                self._make(plan, key, receipt, source if isinstance(source, Receipt) else None)
            except InterruptedByUser as error:
                if receipt.left:
                    self._tell(plan.region, f"kept, to go on with: {told_of(receipt.left)}")
                return error
            except ImagekitError as error:
                return self._failed(plan, receipt, error)
            except Exception as error:  # noqa: BLE001 -- whatever it is, what was made must not be left
                brief = f"publishing ended by {type(error).__name__}"
                return self._failed(plan, receipt, PublishError(brief, details=str(error)))
        return receipt

    def _make(self, plan: _Plan, key: str, receipt: Receipt, source: Receipt | None) -> None:
        if receipt.state != PUBLISHED:
            receipt.state, receipt.why = PENDING, ""
        receipt.details |= {"kernel": plan.kernel, "instance_types": list(plan.types), "key": key}
        receipt.proof = self._order.proof or receipt.proof
        self._ledger.write(receipt)
        ec2 = self._account.client("ec2", plan.region)
        wanted = self._image(plan, key)
        _, found = image.choose(ec2, wanted)
        if found is None:
            receipt.state = PENDING  # published once, perhaps, and gone since
            made = self._snapshot(plan, key, receipt, source)
            self._go_on()
            source_device = image.from_snapshot(self._root, made, self._settings.volume_type)
            found = image.register(ec2, wanted, source_device)
        else:
            self._tell(plan.region, f"{found.id} is there already ({found.name})")
        receipt.resource("image", found.id, ours=found.fresh or self._is_ours(receipt, found.id))
        receipt.result, receipt.details["name"] = found.id, found.name
        self._ledger.write(receipt)
        wait = self._wait
        image.await_available(ec2, found.id, self._patience, wait)
        root = _snapshot_of(ec2, found.id)
        image.share(ec2, found.id, root, self._settings.share_with, public=self._settings.public)
        if self._settings.deprecate_at:
            image.deprecate(ec2, found.id, self._settings.deprecate_at)
        receipt.details["snapshot"] = root
        receipt.state, receipt.ended = PUBLISHED, now()
        self._ledger.write(receipt)
        self._tell(plan.region, f"{found.id} runs on {_some(plan.types)}")

    def _snapshot(self, plan: _Plan, key: str, receipt: Receipt, source: Receipt | None) -> str:
        """Return a completed snapshot of the image."""
        wanted = snapshot.Wanted(
            key=key,
            region=plan.region,
            blocks=self._blocks,
            description=self._described,
            tags=self._tags,
            encrypted=self._settings.encrypted,
            kms_key=self._settings.kms_key,
            parent=self._settings.parent,
            only=plan.only,
            uploader=self._settings.uploader,
            workers=self._settings.workers,
        )
        ec2 = self._account.client("ec2", plan.region)
        if source is not None and not snapshot.find(ec2, key):
            begun = self._copied(plan, key, source)
        else:
            gone = {one.id for one in receipt.resources if one.gone}

            def made(new: snapshot.Begun) -> None:
                receipt.resource("snapshot", new.id)
                self._ledger.write(receipt)

            begun = snapshot.begin(self._account, wanted, gone, made, self._patience, self._wait)
        ours = begun.fresh or self._is_ours(receipt, begun.id)
        receipt.resource("snapshot", begun.id, ours=ours)
        self._ledger.write(receipt)
        if begun.state == "completed":
            self._tell(plan.region, f"{begun.id} holds these bytes already")
        elif source is None:
            self._fill(plan, wanted, begun)
        snapshot.await_completed(ec2, begun.id, self._patience, self._wait)
        return begun.id

    def _fill(self, plan: _Plan, wanted: snapshot.Wanted, begun: snapshot.Begun) -> None:
        journal = Journal(self._ledger.folder / f".{wanted.key}", begun.id)
        already = journal.read()
        self._tell(
            plan.region,
            f"{begun.id}: sending blocks" + (f", {len(already)} are there already" if already else ""),
        )
        descriptor = os.open(self._order.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with journal.writing() as enter:

                def done(index: int) -> None:
                    enter(index)
                    self._go_on()

                sent = snapshot.fill(self._account, wanted, begun, descriptor, already, done)
            self._go_on()
            snapshot.complete(self._account, wanted, begun.id, sent)
        except PublishError:
            ec2 = self._account.client("ec2", plan.region)
            if not snapshot.was_completed(ec2, begun.id, self._wait):
                raise
            self._tell(plan.region, f"{begun.id}: another publisher was faster")
            return
        finally:
            os.close(descriptor)
        journal.forget()
        self._tell(plan.region, f"{begun.id}: {sent.sent} of {sent.count} blocks sent")

    def _copied(self, plan: _Plan, key: str, source: Receipt) -> snapshot.Begun:
        """Have AWS copy the first region's snapshot."""
        asked: dict[str, object] = {
            "SourceRegion": source.region,
            "SourceSnapshotId": str(source.details["snapshot"]),
            "Description": self._described,
            "TagSpecifications": [
                {"ResourceType": "snapshot", "Tags": tag_list({**self._tags, snapshot.KEY: key})}
            ],
        }
        if self._settings.encrypted or self._settings.kms_key:
            asked["Encrypted"] = True
        if self._settings.kms_key:
            raise PublishError(
                "a KMS key belongs to one region, and copies need one each", hint="copy_snapshot = false"
            )
        with told(f"copying the snapshot from {source.region} to {plan.region}"):
            made = self._account.client("ec2", plan.region).copy_snapshot(**asked)["SnapshotId"]
        self._tell(plan.region, f"{made}: copied by AWS from {source.region}")
        return snapshot.Begun(made, encrypted=False, state="pending", fresh=True)

    def _failed(self, plan: _Plan, receipt: Receipt, error: ImagekitError) -> ImagekitError:
        """Undo what this publication made, and say so; what was published before is not touched."""
        if receipt.state == PUBLISHED:
            self._tell(plan.region, f"{receipt.result} is published, and stays")
            return error
        receipt.state, receipt.why, receipt.ended = FAILED, error.brief, now()
        self._ledger.write(receipt)
        left, words = receipt.left, ""
        if left and self._order.terms.keep:
            words = f"kept, as asked: {told_of(left)}"
        elif left:
            try:
                words = f"removed again: {told_of(undo(self._account, receipt, self._ledger))}"
                receipt.state, receipt.result = DESTROYED, ""
                self._ledger.write(receipt)
            except ImagekitError as second:
                words = f"left in the account: {told_of(receipt.left)} ({second.brief})"
        if words:
            self._tell(plan.region, words)
        details = "\n".join(part for part in (error.details, words) if part)
        told_error = (
            type(error)(f"{plan.region}: {error.brief}", details=details, hint=error.hint)
            if (type(error) in {PublishError, VerificationError})
            else error
        )
        told_error.__cause__ = error
        return told_error

    def _image(self, plan: _Plan, key: str) -> image.Wanted:
        parts = (self._architecture, self._settings.kernel or "", self._root, self._settings.volume_type)
        return image.Wanted(
            key=image.image_key(key, *parts),
            name=self._name,
            clash=self._settings.on_name_clash,
            description=self._described,
            architecture=self._architecture,
            kernel=plan.kernel,
            tags=self._tags,
        )

    def _differing(self, region: str) -> frozenset[int] | None:
        parent = self._settings.parent
        if parent is None:
            return None
        ec2 = self._account.client("ec2", region)
        with told(f"looking at the parent {parent}"):
            said = ec2.describe_snapshots(SnapshotIds=[parent])["Snapshots"][0]
        gib = max(1, -(-self._blocks.length // (1 << 30)))
        if said["VolumeSize"] > gib:
            raise PublishError(f"{parent} has {said['VolumeSize']} GiB, and the image {gib}")
        held = read_back(self._account.client("ebs", region), parent)
        only = differing(self._blocks, held, encrypted=bool(said.get("Encrypted")), gib=gib)
        self._tell(region, f"{len(only)} blocks differ from {parent}")
        return only

    def _is_ours(self, receipt: Receipt, name: str) -> bool:
        return any(one.id == name and one.ours for one in receipt.resources)

    @property
    def _name(self) -> str:
        return self._settings.name or image.default_name(self._order.sidecar.image, self._order.sidecar.digest)

    @property
    def _described(self) -> str:
        return self._settings.description or f"{self._order.sidecar.image}, made by imagekit"

    @property
    def _tags(self) -> Mapping[str, str]:
        own = {"imagekit:digest": self._order.sidecar.digest, "imagekit:image": self._order.sidecar.image}
        return {"Name": self._order.sidecar.image, **self._settings.tags, **own}

    def _tell(self, region: str, text: str) -> None:
        self._order.terms.note(f"{region}: {text}")

    def _warn(self, text: str) -> None:
        self._order.terms.note(f"warning: {text}")

    def _wait(self, seconds: float) -> bool:
        return not self._order.terms.stop.wait(seconds)

    def _go_on(self) -> None:
        if self._order.terms.stop.is_set():
            raise InterruptedByUser("interrupted")


def _at_once(
    run: Callable[[_Plan], "Receipt | ImagekitError"], plans: list[_Plan], order: Order
) -> "list[Receipt | ImagekitError]":
    """Run them on threads; when the user ends it, they end as soon as each can."""
    with ThreadPoolExecutor(max(1, len(plans))) as pool:
        futures = [pool.submit(run, plan) for plan in plans]
        try:
            return [future.result() for future in futures]
        except BaseException:
            order.terms.stop.set()
            raise


def _default(account: Account) -> list[str]:
    if not account.default_region:
        raise UsageError("no region is named", hint="--region eu-west-1, or AWS_DEFAULT_REGION")
    return [account.default_region]


def _architecture(order: Order) -> str:
    if order.sidecar.target != "ebs" or order.sidecar.boot.get("way") != Way.PV_GRUB.value:
        raise UsageError(f"{order.path} is no image for EBS", hint="imagekit build --target ebs")
    return order.sidecar.architecture


def _blocks_of(order: Order) -> BlockMap:
    """Return the blocks of the file as it is now; VerificationError when its sidecar says otherwise."""
    found = map_blocks(order.path)
    if found.digest != order.sidecar.digest:
        raise VerificationError(
            f"{order.path} is not what its sidecar says",
            details=f"its digest is {found.digest}\nin the sidecar: {order.sidecar.digest}",
            hint="build it again",
        )
    return found


def _snapshot_of(ec2: object, name: str) -> str:
    """Return the snapshot of an image's root device."""
    with told(f"looking at {name}"):
        said = ec2.describe_images(ImageIds=[name])["Images"][0]  # type: ignore[attr-defined]
    for mapping in said["BlockDeviceMappings"]:
        if mapping["DeviceName"] == said["RootDeviceName"]:
            return str(mapping["Ebs"]["SnapshotId"])
    raise PublishError(f"{name} has no root device")


def _some(types: list[str]) -> str:
    return ", ".join(types[:6]) + (f" and {len(types) - 6} more types" if len(types) > 6 else "")  # noqa: PLR2004
