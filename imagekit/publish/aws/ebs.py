"""An EBS volume image to an AMI, in each region: snapshot, registration, receipt.

Everything that can refuse is asked before anything is made. A repeated run finds the image and the snapshot by
their tags; one that was killed goes on with the pending snapshot. What fails is undone.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import cast

from imagekit.errors import ImagekitError, InterruptedByUser, PublishError, UsageError, VerificationError
from imagekit.kernel import Way
from imagekit.publish import Order
from imagekit.publish.aws import image, instances, pv, snapshot
from imagekit.publish.aws.account import Account
from imagekit.publish.aws.guest import ROOTS_OF_HVM, Guest
from imagekit.publish.aws.snapshot import Patience
from imagekit.publish.aws.undo import undo
from imagekit.publish.aws.volume import Volume
from imagekit.publish.course import Course, settled
from imagekit.publish.entry import Entry
from imagekit.publish.keeping import told_of
from imagekit.receipt import DESTROYED, FAILED, PENDING, PUBLISHED, Ledger, Receipt, now, receipt_id
from imagekit.recipe import PublishEbs
from imagekit.sparse import BlockMap, map_blocks

_WAYS = {Way.PV_GRUB.value: False, Way.HVM.value: True}


def publish(order: Order) -> list[Receipt]:
    """Publish in each region, and return the receipts in the order of the regions.

    One region's failure does not undo another's success: what is done is told, and the first error is raised.
    """
    settings = cast("PublishEbs", order.settings)
    account = Account(order.terms.environment, order.terms.account)
    regions = list(dict.fromkeys(settings.regions or _default(account)))
    guest = _guest_of(order, settings)
    blocks = _blocks_of(order)
    account.credentials()
    publication = _Publication(order, settings, account, guest, blocks)
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
    """What is known of a region before anything is made there. `kernel` is the AKI of a PV image."""

    course: Course
    kernel: str
    types: list[str]
    only: frozenset[int] | None

    @property
    def region(self) -> str:
        """Where."""
        return self.course.place


class _Publication:
    """One image on its way to several regions."""

    def __init__(
        self, order: Order, settings: PublishEbs, account: Account, guest: Guest, blocks: BlockMap
    ) -> None:
        self._order = order
        self._settings = settings
        self._account = account
        self._guest = guest
        self._patience = Patience()
        self._ledger = Ledger(order.terms.state)
        self._root = settings.root_device or guest.root_device
        described, tags = self._described, self._tags
        self._volume = Volume(account, settings, order.path, blocks, described, tags, self._patience)

    def checked(self, region: str) -> _Plan:
        """Ask everything that may refuse; KernelError (exit 3) where nothing runs such a guest."""
        settings, ec2 = self._settings, self._account.client("ec2", region)
        image.check_name(self._name)
        types = instances.runnable(ec2, region, self._guest, self._warn)
        instances.check_named(ec2, region, self._guest, settings.instance_types, types, self._warn)
        kernel = settings.kernel or ""
        if not kernel and not self._guest.hvm:
            partitioned = self._guest.partitioned
            kernel, _ = pv.kernel(ec2, region, self._guest.architecture, partitioned=partitioned, warn=self._warn)
        course = Course.to(region, self._order.terms)
        return _Plan(course, kernel, types, self._volume.differing(course))

    def run(self, plan: _Plan, source: "Receipt | ImagekitError | None" = None) -> "Receipt | ImagekitError":
        """Publish in one region; return the error when that fails, after what was made is undone.

        `source` is the publication whose snapshot AWS is to copy.
        """
        settings, sidecar = self._settings, self._order.sidecar
        key = snapshot.snapshot_key(
            sidecar.digest, plan.region, settings.encrypted, settings.kms_key, settings.parent
        )
        rehearsed = self._order.terms.rehearsed
        fresh = Receipt(
            id=receipt_id("ebs", key, self._name, *(["rehearsed"] if rehearsed else [])),
            target="ebs",
            image=sidecar.image,
            digest=sidecar.digest,
            region=plan.region,
            rehearsed=rehearsed,
            begun=now(),
        )
        with self._ledger.entry(fresh) as receipt:
            entry = Entry(receipt, self._ledger)
            try:
                self._make(plan, key, entry, source if isinstance(source, Receipt) else None)
            except InterruptedByUser as error:
                if receipt.left:
                    plan.course.tell(f"kept, to go on with: {told_of(receipt.left)}")
                return error
            except ImagekitError as error:
                return self._failed(plan, receipt, error)
            except Exception as error:  # noqa: BLE001 -- whatever it is, what was made must not be left
                brief = f"publishing ended by {type(error).__name__}"
                return self._failed(plan, receipt, PublishError(brief, details=str(error)))
        return receipt

    def _make(self, plan: _Plan, key: str, entry: Entry, source: Receipt | None) -> None:
        receipt, course = entry.receipt, plan.course
        if receipt.state != PUBLISHED:
            receipt.state, receipt.why = PENDING, ""
        boot = self._guest.registration(plan.kernel)
        receipt.details |= _started_by(boot) | {"instance_types": list(plan.types), "key": key}
        receipt.details["instance_families"] = instances.families(plan.types)
        receipt.proof = self._order.proof or receipt.proof
        entry.save()
        ec2 = self._account.client("ec2", plan.region)
        wanted = self._image(plan, key)
        _, found = image.choose(ec2, wanted)
        if found is None:
            receipt.state = PENDING  # published once, perhaps, and gone since
            made = self._volume.completed(course, key, plan.only, entry, source)
            course.go_on()
            source_device = image.from_snapshot(self._root, made, self._settings.volume_type)
            found = image.register(ec2, wanted, source_device)
        else:
            course.tell(f"{found.id} is there already ({found.name})")
        receipt.resource("image", found.id, ours=found.fresh or entry.has("image", found.id))
        receipt.result, receipt.details["name"] = found.id, found.name
        entry.save()
        image.await_available(ec2, found.id, self._patience, course.wait)
        root = image.checked(ec2, found.id, boot)
        if root is None:
            raise PublishError(f"{found.id} has no root device on EBS")
        image.share(ec2, found.id, root, self._settings.share_with, public=self._settings.public)
        if self._settings.deprecate_at:
            image.deprecate(ec2, found.id, self._settings.deprecate_at)
        receipt.details["snapshot"] = root
        receipt.state, receipt.ended = PUBLISHED, now()
        entry.save()
        course.tell(f"{found.id} {instances.words(self._guest, plan.types)}")

    def _failed(self, plan: _Plan, receipt: Receipt, error: ImagekitError) -> ImagekitError:
        """Undo what this publication made, and say so; what was published before is not touched."""
        if receipt.state == PUBLISHED:
            plan.course.tell(f"{receipt.result} is published, and stays")
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
            plan.course.tell(words)
        details = "\n".join(part for part in (error.details, words) if part)
        told_error = (
            type(error)(f"{plan.region}: {error.brief}", details=details, hint=error.hint)
            if (type(error) in {PublishError, VerificationError})
            else error
        )
        told_error.__cause__ = error
        return told_error

    def _image(self, plan: _Plan, key: str) -> image.Wanted:
        settings, guest = self._settings, self._guest
        parts = (guest.architecture, settings.kernel or "", self._root, settings.volume_type)
        return image.Wanted(
            key=image.image_key(key, *parts, *([guest.virtualization] if guest.hvm else [])),
            name=self._name,
            clash=settings.on_name_clash,
            description=self._described,
            boot=guest.registration(plan.kernel),
            tags=self._tags,
        )

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

    def _warn(self, text: str) -> None:
        self._order.terms.note(f"warning: {text}")


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


def _guest_of(order: Order, settings: PublishEbs) -> Guest:
    """Return what the artifact is to EC2; UsageError for none of its images, and for settings that HVM has not."""
    sidecar, way = order.sidecar, str(order.sidecar.boot.get("way"))
    if sidecar.target != "ebs" or way not in _WAYS:
        raise UsageError(f"{order.path} is no image for EBS", hint="imagekit build --target ebs")
    hvm = _WAYS[way]
    if hvm and settings.kernel:
        raise UsageError(
            f"{order.path} boots by its own boot sector (HVM), and {settings.kernel} starts PV images only",
            hint="no `kernel` in [publish.ebs], or build it with --boot pv",
        )
    if hvm and settings.root_device not in {None, *ROOTS_OF_HVM}:
        raise UsageError(
            f"{order.path} boots by its own boot sector, and {settings.root_device} is no root device of HVM",
            hint=f"root_device = {' or '.join(ROOTS_OF_HVM)} in [publish.ebs]: EC2 has the others for data",
        )
    kernel = sidecar.kernel
    linux = kernel.get("container") == "bzimage" or str(kernel.get("guest_os", "")).startswith("linux")
    partitioned = (sidecar.layout or {}).get("disk") != "plain"
    return Guest(hvm=hvm, architecture=sidecar.architecture, partitioned=partitioned, linux=linux)


def _started_by(boot: Mapping[str, str]) -> dict[str, str]:
    """Return what a receipt says of how EC2 starts the image."""
    if "KernelId" in boot:
        return {"kernel": boot["KernelId"]}
    return {"virtualization": boot["VirtualizationType"], "boot_mode": boot["BootMode"]}


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
