# ruff: noqa: ANN401 -- boto3 has no types
"""An AMI bundle to S3, and registered from there: parts first, the manifest last, then RegisterImage.

EC2 reads the parts by the grant `aws-exec-read`, so a bucket that forbids access lists is refused before anything
is sent. Objects are compared by the SHA-1 that they carry: a repeat sends nothing, a killed run goes on.
"""

import hashlib
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, cast

from imagekit.errors import ImagekitError, InterruptedByUser, PublishError, UsageError, VerificationError
from imagekit.formats.ami.manifest import SUFFIX, Manifest, from_xml
from imagekit.publish import Order, Terms
from imagekit.publish.aws import image, instances, pv
from imagekit.publish.aws.account import Account, code_of, told
from imagekit.publish.aws.guest import Guest
from imagekit.publish.aws.snapshot import Patience
from imagekit.publish.aws.undo import undo
from imagekit.publish.course import Course
from imagekit.publish.entry import Entry
from imagekit.publish.keeping import told_of
from imagekit.receipt import DESTROYED, FAILED, PENDING, PUBLISHED, Ledger, Receipt, now, receipt_id
from imagekit.recipe import PublishAmi

_GRANT = "aws-exec-read"
_SUM = "imagekit-sha1"
_MISSING = {"404", "NoSuchKey", "NotFound"}
_NO_CONTROLS = {"OwnershipControlsNotFoundError", "NoSuchOwnershipControls"}
_END_OF_LIFE = "S3-backed AMIs are at their end of life: they run on C1, C3, D2, I2, M1, M2, M3, R3 and X1 only"


@dataclass(frozen=True)
class _Object:
    """A file of the bundle and where it goes."""

    path: Path
    key: str
    sha1: str


def publish(order: Order) -> list[Receipt]:
    """Publish the artifact of the target ami."""
    return publish_manifest(order.path, cast("PublishAmi", order.settings), order.terms, order.proof)


def publish_manifest(path: Path, settings: PublishAmi, terms: Terms, proof: str = "") -> list[Receipt]:
    """Upload the bundle of a manifest, whoever made it, and register it in its bucket's region."""
    manifest, objects, digest = _checked(path, settings.prefix)
    if settings.bucket is None:
        raise UsageError("no bucket is named", hint="--bucket NAME, an S3 bucket in the region to publish to")
    account = Account(terms.environment, terms.account)
    account.credentials()
    region = _region_of(account, settings.bucket, terms)
    ec2, s3 = account.client("ec2", region), account.client("s3", region)
    _check_grants(s3, settings.bucket)
    name = settings.name or image.default_name(manifest.name, digest)
    image.check_name(name)
    guest = Guest(hvm=False, architecture=manifest.machine.architecture, root="instance-store")
    kernel, types = _started_by(ec2, region, guest, settings, manifest.machine.kernel, terms)
    location = f"{settings.bucket}/{objects[-1].key}"
    key = image.image_key(digest, region, location, kernel)
    wanted = image.Wanted(
        key=key,
        name=name,
        clash=settings.on_name_clash,
        description=settings.description or f"{manifest.name}, made by imagekit",
        boot=guest.registration(kernel),
        tags={"Name": manifest.name, **settings.tags, "imagekit:digest": digest, "imagekit:image": manifest.name},
    )
    fresh = Receipt(
        id=receipt_id("ami", key, name, *(["rehearsed"] if terms.rehearsed else [])),
        target="ami",
        image=manifest.name,
        digest=digest,
        region=region,
        rehearsed=terms.rehearsed,
        begun=now(),
    )
    ledger, course = Ledger(terms.state), Course.to(region, terms)
    with ledger.entry(fresh) as receipt, _undoing(account, Entry(receipt, ledger), course, keep=terms.keep):
        entry = Entry(receipt, ledger)
        receipt.state, receipt.why = (receipt.state if receipt.state == PUBLISHED else PENDING), ""
        receipt.proof = proof or receipt.proof
        receipt.details |= {"kernel": kernel, "instance_types": list(types), "key": key, "location": location}
        receipt.details["instance_families"] = instances.families(types)
        entry.save()
        if image.choose(ec2, wanted)[1] is None:
            receipt.state = PENDING  # published once, perhaps, and gone since
            _upload(s3, settings, objects, entry, course)
        _register(ec2, wanted, location, settings, entry, course)
        course.tell(f"{receipt.result} runs on {instances.families(types)}")
    return [receipt]


def _started_by(
    ec2: Any, region: str, guest: Guest, settings: PublishAmi, named: str | None, terms: Terms
) -> tuple[str, list[str]]:
    """Return the AKI that starts it, the bundle's own if that names one, and the instance types that run it."""

    def warn(text: str) -> None:
        terms.note(f"warning: {text}")

    types = instances.runnable(ec2, region, guest, warn)
    instances.check_named(ec2, region, guest, settings.instance_types, types, warn)
    warn(_END_OF_LIFE)
    kernel = settings.kernel or named or ""
    if not kernel:
        kernel, _ = pv.kernel(ec2, region, guest.architecture, partitioned=False, warn=warn)
    return kernel, types


def _register(
    ec2: Any,
    wanted: image.Wanted,
    location: str,
    settings: PublishAmi,
    entry: Entry,
    course: Course,
) -> None:
    """Register the bundle that lies there, or find its image, and give it to others."""
    receipt = entry.receipt
    found = image.register(ec2, wanted, {"ImageLocation": location})
    if not found.fresh:
        course.tell(f"{found.id} is there already ({found.name})")
    receipt.resource("image", found.id, ours=found.fresh or entry.has("image", found.id))
    receipt.result, receipt.details["name"] = found.id, found.name
    entry.save()
    image.await_available(ec2, found.id, Patience(), course.wait)
    image.checked(ec2, found.id, wanted.boot)
    image.share(ec2, found.id, None, settings.share_with, public=settings.public)
    if settings.deprecate_at:
        image.deprecate(ec2, found.id, settings.deprecate_at)
    receipt.state, receipt.ended = PUBLISHED, now()
    entry.save()


def _checked(path: Path, prefix: str | None) -> tuple[Manifest, list[_Object], str]:
    """Read the manifest and every part; VerificationError for one that is missing or damaged."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read", details=error.strerror or "") from error
    manifest = from_xml(data).manifest
    digest = hashlib.sha256(data).hexdigest()
    if prefix is None:  # a place of its own: EC2 reads a registered bundle at each launch
        prefix = f"{manifest.name}-{digest[:12]}/"
    objects = []
    for part in manifest.parts:
        beside = path.with_name(part.name)
        try:
            with beside.open("rb") as file:
                found = hashlib.file_digest(file, "sha1").hexdigest()
        except OSError as error:
            raise VerificationError(f"{beside} cannot be read", details=error.strerror or "") from error
        if found != part.digest:
            raise VerificationError(
                f"{beside} is damaged", details=f"SHA1 is {found}, and the manifest says {part.digest}"
            )
        objects.append(_Object(beside, prefix + part.name, part.digest))
    own = hashlib.sha1(data, usedforsecurity=False).hexdigest()
    objects.append(_Object(path, f"{prefix}{path.name.removesuffix(SUFFIX)}{SUFFIX}", own))
    return manifest, objects, digest


def _make_bucket(account: Account, bucket: str) -> str:
    """Make a rehearsed account's bucket, and return its region; a real one is the user's own."""
    region = account.default_region or "us-east-1"
    s3 = account.client("s3", region)
    where = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    with told(f"making the bucket {bucket}"):
        s3.create_bucket(Bucket=bucket, ObjectOwnership="BucketOwnerPreferred", **where)
    return region


def _region_of(account: Account, bucket: str, terms: Terms) -> str:
    """Return a bucket's region: an image is registered where its bundle lies."""
    s3 = account.client("s3", account.default_region or "us-east-1")
    try:
        with told(f"looking for the bucket {bucket}"):
            said = s3.head_bucket(Bucket=bucket)
    except PublishError as error:
        missing = code_of(error) in {*_MISSING, "NoSuchBucket"}
        if missing and terms.rehearsed:
            return _make_bucket(account, bucket)
        if missing:
            raise PublishError(
                f"there is no bucket {bucket}", hint=f"aws s3 mb s3://{bucket} --region eu-west-1 makes one"
            ) from error
        raise
    headers = said["ResponseMetadata"]["HTTPHeaders"]
    return str(said.get("BucketRegion") or headers.get("x-amz-bucket-region") or "us-east-1")


def _check_grants(s3: Any, bucket: str) -> None:
    """Raise PublishError for a bucket whose objects cannot be granted to EC2."""
    try:
        with told(f"asking for the ownership controls of {bucket}"):
            rules = s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"]["Rules"]
    except PublishError as error:
        if code_of(error) in _NO_CONTROLS:
            return  # an old bucket: access lists are on
        raise
    if any(rule["ObjectOwnership"] == "BucketOwnerEnforced" for rule in rules):
        raise PublishError(
            f"the bucket {bucket} forbids access lists, by which EC2 is let to the bundle ({_GRANT})",
            hint=f"aws s3api put-bucket-ownership-controls --bucket {bucket} "
            "--ownership-controls 'Rules=[{ObjectOwnership=BucketOwnerPreferred}]'",
        )


def _upload(s3: Any, settings: PublishAmi, objects: list[_Object], entry: Entry, course: Course) -> None:
    """Put the parts, several at a time, and then the manifest."""
    bucket, lock = str(settings.bucket), Lock()
    *parts, manifest = objects

    def put(one: _Object) -> bool:
        course.go_on()
        if _is_there(s3, bucket, one):
            return False
        with lock:  # before it is made: a kill leaves no object that nobody knows
            entry.receipt.resource("object", f"{bucket}/{one.key}")
            entry.save()
        data = one.path.read_bytes()
        if hashlib.sha1(data, usedforsecurity=False).hexdigest() != one.sha1:
            raise PublishError(f"{one.path} changed while it was uploaded", hint="publish it again")
        with told(f"putting {one.key} into {bucket}"):
            s3.put_object(
                Bucket=bucket,
                Key=one.key,
                Body=data,
                ACL=_GRANT,
                ChecksumSHA256=b64encode(hashlib.sha256(data).digest()).decode(),
                Metadata={_SUM: one.sha1},
            )
        return True

    with ThreadPoolExecutor(min(settings.workers, len(parts))) as pool:
        try:
            sent = sum(pool.map(put, parts))
        except BaseException:
            course.stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    put(manifest)
    course.tell(f"{sent} of {len(parts)} parts sent to {bucket}")


def _is_there(s3: Any, bucket: str, one: _Object) -> bool:
    try:
        with told(f"looking for {one.key} in {bucket}"):
            said = s3.head_object(Bucket=bucket, Key=one.key)
    except PublishError as error:
        if code_of(error) in _MISSING:
            return False
        raise
    same = said.get("Metadata", {}).get(_SUM) == one.sha1
    if not same or said["ContentLength"] != one.path.stat().st_size:
        raise PublishError(
            f"{bucket}/{one.key} is there, and is not of this bundle",
            hint="an image that is registered with it would be lost: --prefix names another place",
        )
    return True


@contextmanager
def _undoing(account: Account, entry: Entry, course: Course, *, keep: bool) -> Iterator[None]:
    """Undo what was made when something fails; a signal keeps it, to go on with."""
    receipt = entry.receipt
    try:
        yield
    except InterruptedByUser:
        if receipt.left:
            course.tell(f"kept, to go on with: {told_of(receipt.left)}")
        raise
    except Exception as error:
        if receipt.state == PUBLISHED:
            course.tell(f"{receipt.result} is published, and stays")
            raise
        brief = error.brief if isinstance(error, ImagekitError) else type(error).__name__
        receipt.state, receipt.why, receipt.ended = FAILED, brief, now()
        entry.save()
        left = receipt.left
        if left and keep:
            course.tell(f"kept, as asked: {told_of(left)}")
        elif left:
            try:
                course.tell(f"removed again: {told_of(undo(account, receipt, entry.ledger))}")
                receipt.state, receipt.result = DESTROYED, ""
                entry.save()
            except ImagekitError as second:
                course.tell(f"left in the account: {told_of(receipt.left)} ({second.brief})")
        raise
