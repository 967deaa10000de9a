"""What a rehearsed account holds: regions, with images and snapshots in each, and who may use them."""

import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import RLock
from typing import Protocol

from imagekit.rehearsal.ebs import Call, EbsService, Settings
from imagekit.rehearsal.faults import Script
from imagekit.rehearsal.query import Asked, NotDoneError
from imagekit.rehearsal.settings import PARAVIRTUAL_REGIONS, AccountSettings
from imagekit.rehearsal.snapshots import Snapshot

_IMAGE_ID = re.compile(r"a[mkr]i-([0-9a-f]{8}|[0-9a-f]{17})")
_SNAPSHOT_ID = re.compile(r"snap-([0-9a-f]{8}|[0-9a-f]{17})")


@dataclass(frozen=True)
class Mapping:
    """A line of an image's block device mapping."""

    device: str
    snapshot: str = ""
    size: int = 0
    kind: str = "standard"
    delete: bool = True
    encrypted: bool = False
    virtual: str = ""


@dataclass
class Image:
    """An image of the account's, or a kernel of Amazon's."""

    name: str
    architecture: str
    virtualization: str = "paravirtual"
    description: str = ""
    kind: str = "machine"
    kernel: str = ""
    ramdisk: str = ""
    root: str = ""
    location: str = ""
    bundled: bool = False
    mappings: tuple[Mapping, ...] = ()
    source: tuple[str, str] = ("", "")
    asked: dict[str, str] = field(default_factory=dict)
    id: str = field(default_factory=lambda: f"ami-0{secrets.token_hex(8)}")
    owner: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    shared: set[str] = field(default_factory=set)  # accounts that may launch it, and "all"
    deprecation: str = ""
    created: str = field(default_factory=lambda: stamp(datetime.now(UTC)))
    born: float = field(default_factory=time.monotonic)
    wait: float = 0.0
    fails: bool = False

    @property
    def state(self) -> str:
        """Return pending, available or failed, as of now."""
        if time.monotonic() < self.born + self.wait:
            return "pending"
        return "failed" if self.fails else "available"

    @property
    def deprecated(self) -> bool:
        """Whether the time of its deprecation is over."""
        return bool(self.deprecation) and self.deprecation <= stamp(datetime.now(UTC))


@dataclass(frozen=True)
class Stored:
    """What EC2 sees of an object in S3."""

    region: str
    readable: bool
    data: bytes


class Store(Protocol):
    """S3, as EC2 reads bundles in it."""

    def read(self, bucket: str, key: str) -> Stored | None:
        """Return an object, None when there is none."""


class Region:
    """Images, kernels and snapshots of one region."""

    def __init__(self, name: str, ebs: EbsService, kernels: dict[str, Image]) -> None:
        self.name = name
        self.ebs = ebs
        self.kernels = kernels
        self.images: dict[str, Image] = {}
        self.gone: set[str] = set()
        self.tokens: dict[str, Image] = {}

    @property
    def paravirtual(self) -> bool:
        """Whether there is an instance type that runs PV guests."""
        return self.name in PARAVIRTUAL_REGIONS

    def visible(self, settle: float) -> list[Image]:
        """Return the images that the service already knows of, Amazon's kernels too."""
        now = time.monotonic()
        own = [one for one in list(self.images.values()) if now >= one.born + settle]
        return [*own, *self.kernels.values()]

    def own_image(self, name: str, settle: float) -> Image:
        """Return an image of the account's; NotDoneError says why there is none."""
        check_image_id(name)
        if name in self.gone:
            raise NotDoneError("InvalidAMIID.Unavailable", f"The image ID '{name}' is no longer available")
        known = next((one for one in self.visible(settle) if one.id == name), None)
        if known is None:
            raise NotDoneError("InvalidAMIID.NotFound", f"The image id '[{name}]' does not exist")
        if name in self.kernels:
            raise NotDoneError("AuthFailure", f"Not authorized for image:{name}", 403)
        return known

    def snapshot(self, name: str) -> Snapshot:
        """Return a snapshot; NotDoneError says why there is none."""
        if not _SNAPSHOT_ID.fullmatch(name):
            message = f'Value ({name}) for parameter snapshotId is invalid. Expected: "snap-..."'
            raise NotDoneError("InvalidParameterValue", message)
        known = self.ebs.account.snapshots.get(name)
        if known is None or time.monotonic() < known.born + self.ebs.settings.settle:
            raise NotDoneError("InvalidSnapshot.NotFound", f"The snapshot '{name}' does not exist.")
        return known

    def users(self, snapshot: str) -> list[Image]:
        """Return the images that use a snapshot."""
        images = list(self.images.values())
        return [one for one in images if any(part.snapshot == snapshot for part in one.mappings)]

    def key(self, asked: Asked, source: str = "") -> str:
        """Return the key that a copy is encrypted with: the one asked for, the source's by rule, or none."""
        if "KmsKeyId" in asked and not asked.flag("Encrypted"):
            raise NotDoneError("InvalidParameterDependency", "KmsKeyId wants Encrypted.")
        needed = asked.flag("Encrypted") or self.ebs.encrypts or bool(source)
        if not needed:
            return ""
        prefix = f"arn:aws:kms:{self.name}:{self.ebs.settings.owner}:key/"
        named = asked.text("KmsKeyId")
        return (named if named.startswith("arn:") else prefix + named) if named else self.ebs.default_key


class Cloud:
    """The account: its regions, and S3 beside them."""

    def __init__(
        self,
        folder: Path,
        settings: AccountSettings,
        store: Store,
        kernels: Callable[[str], dict[str, Image]],
        script: Script,
        note: Callable[[str, Call], object],
    ) -> None:
        self.settings = settings
        self.store = store
        self.lock = RLock()
        self.regions: dict[str, Region] = {}
        for name in settings.regions:
            place = folder / name
            place.mkdir()
            ebs = EbsService(place, _ebs_settings(settings, name), script, _noting(note, name))
            self.regions[name] = Region(name, ebs, kernels(name))

    def drop(self, region: Region, snapshot: Snapshot) -> None:
        """Take a snapshot away; its blocks stay for as long as another stands on them."""
        with region.ebs.account.lock:
            region.ebs.account.snapshots.pop(snapshot.name, None)
        everywhere = [one for place in self.regions.values() for one in list(place.ebs.account.snapshots.values())]
        if not any(_stands_on(one, snapshot) for one in everywhere):
            snapshot.path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Ask:
    """One call to EC2, on its way."""

    cloud: Cloud
    region: Region
    asked: Asked
    fault: str = ""

    def image(self, name: str) -> Image:
        """Return an image of the account's in the call's region."""
        return self.region.own_image(name, self.cloud.settings.image_settle)


def check_image_id(name: str) -> None:
    """Refuse what is no id of an image."""
    if not _IMAGE_ID.fullmatch(name):
        raise NotDoneError("InvalidAMIID.Malformed", f'Invalid id: "{name}" (expecting "ami-...")')


def stamp(moment: datetime) -> str:
    """Return a time as EC2 writes it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _stands_on(one: Snapshot, other: Snapshot) -> bool:
    above = one.parent
    while above is not None and above is not other:
        above = above.parent
    return above is other


def _noting(note: Callable[[str, Call], object], region: str) -> Callable[[Call], object]:
    return lambda call: note(region, call)


def _ebs_settings(account: AccountSettings, region: str) -> Settings:
    return Settings(
        keys=account.keys,
        region=region,
        owner=account.owner,
        default_encryption=region in account.encrypted,
        denied=account.denied,
        settle=account.settle,
        seal=account.seal,
        minute=account.minute,
        pending=account.pending,
        put_rate=account.put_rate,
        write_rate=account.write_rate,
        read_rate=account.read_rate,
        list_rate=account.list_rate,
    )
