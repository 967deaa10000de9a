"""One artifact on its way to one region of a cloud: what Glance's two ways to an image share.

What makes two publications one is the cloud's identity service, project, region, the artifact's file and its name.
Images carry that as a property, so a repeat finds them, whoever made them.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, ClassVar, cast
from uuid import uuid4

from imagekit.errors import UsageError, VerificationError
from imagekit.publish import Order
from imagekit.publish.course import Course, attempted, settled
from imagekit.publish.entry import Entry
from imagekit.publish.openstack import hypervisor
from imagekit.publish.openstack.cloud import Cloud, cloud
from imagekit.publish.openstack.glance import COMPLETE, PUBLICATION, RUN, Images, is_whole
from imagekit.publish.openstack.server import Servers
from imagekit.publish.openstack.shelf import Shelf
from imagekit.publish.openstack.undo import undo
from imagekit.publish.undoing import Undoing
from imagekit.receipt import PENDING, PUBLISHED, Ledger, Receipt, Resource, now, receipt_id
from imagekit.recipe import PublishOpenstack, PublishRackspace
from imagekit.sparse import digest_file, map_blocks

_DIGEST = "imagekit_digest"
_MIB, _GIB = 1 << 20, 1 << 30
_SETTLE = 120  # seconds in which another machine's upload may end
_PAUSE = 2.0
_MOMENT, _LONG = 4.0, 20.0  # seconds for a mark that is on its way; for who waits for us to give up


def publish_by(kind: "type[Publication]", order: Order) -> list[Receipt]:
    """Bring an artifact to each region; everything that may refuse is asked in all of them first."""
    settings = cast("PublishOpenstack | PublishRackspace", order.settings)
    if order.terms.rehearsed:
        raise UsageError("OpenStack is not rehearsed", hint="--rehearse is for AWS")
    _check_file(order)
    with ExitStack() as stack:
        regions = dict.fromkeys(settings.regions or (None,))  # None: the cloud's own
        clouds = [stack.enter_context(cloud(settings.os_cloud, region)) for region in regions]
        publications = [kind(order, settings, one) for one in clouds]
        for one in publications:
            one.check()
        return settled([attempted(one.run) for one in publications], order.terms)


def _check_file(order: Order) -> None:
    """VerificationError for a file that is not what its sidecar describes."""
    file, sidecar = order.sidecar.file, order.sidecar
    same = digest_file(order.path) == file.digest if file else map_blocks(order.path).digest == sidecar.digest
    if not same:
        raise VerificationError(f"{order.path} is not what its sidecar describes", hint="build it again")


class Publication(ABC):
    """One artifact on its way."""

    target: ClassVar[str]

    def __init__(self, order: Order, settings: PublishOpenstack | PublishRackspace, there: Cloud) -> None:
        self._order = order
        self._settings = settings
        self._cloud = there
        self._course = Course.to(there.place, order.terms)
        self._ledger = Ledger(order.terms.state)
        self._run = uuid4().hex
        self._name = settings.name or order.sidecar.image

    def check(self) -> None:
        """Refuse what cannot be, before anything is sent anywhere."""
        if self._settings.hypervisor == "auto":
            hypervisor.check(self._cloud, self._course.tell)
        if self._settings.start:
            self._servers(Entry(self._receipt(), self._ledger)).check()

    def run(self) -> Receipt:
        """Find or make the image and, where that is wanted, a server; undo what was made when one fails."""
        with self._ledger.entry(self._receipt()) as receipt:
            entry = Entry(receipt, self._ledger)
            with self._undoing(entry).on_failure():
                self._enter(entry)
                receipt.result = self._found(entry) or self._settled(entry, self._made(entry))
                self._course.go_on()
                self._tidy(entry)
                if self._settings.start:
                    self._servers(entry).boot(self._name, receipt.result)
                receipt.state, receipt.ended = PUBLISHED, now()
                entry.save()
        return receipt

    @abstractmethod
    def _made(self, entry: Entry) -> str:
        """Make the image, and return its id; it has this publication's marks, and is seen to be whole."""

    @abstractmethod
    def _has_all(self, image: Any) -> bool:  # noqa: ANN401 -- the SDK's
        """Tell whether an active image that no run has seen to its end is whole."""

    def _tidy(self, entry: Entry) -> None:
        """Take away what only the way to the image needed."""
        self._shelf(entry).remove()

    def _found(self, entry: Entry) -> str | None:
        """Return the image that is there; what this ledger's earlier runs have begun goes."""
        waited = 0.0
        while True:
            under_way = []
            for image in self._images(entry).marked():
                if is_whole(image) or (image.status == "active" and self._has_all(image)):
                    self._course.tell(f"the image is there already: {image.id}")
                    entry.found("image", str(image.id))
                    self._images(entry).mark(str(image.id), {COMPLETE: str(image.id)})
                    return str(image.id)
                if entry.has("image", str(image.id)):
                    self._course.tell(f"image {image.id} was not finished: it goes, and is made again")
                    self._images(entry).remove(str(image.id))
                    entry.gone("image", str(image.id))
                elif image.status in {"saving", "importing", "uploading"}:
                    under_way.append(str(image.id))
            if not under_way or waited >= _SETTLE:
                return None
            if not waited:
                self._course.tell(f"another run makes this image: {under_way[0]}")
            self._course.wait(_PAUSE)
            waited += _PAUSE

    def _settled(self, entry: Entry, image: str) -> str:
        """Mark our image as whole, and return it; or another run's that is, and remove ours."""
        images = self._images(entry)
        other = self._faster(images, image)
        if other is None:
            images.mark(image, {COMPLETE: image})
            return image
        self._course.tell(f"another run has made this image, too: {image} goes")
        images.remove(image)
        entry.gone("image", image)
        entry.found("image", other)
        return other

    def _faster(self, images: Images, image: str) -> str | None:
        """Return another run's image that is whole.

        Glance has no lock. An image with all its data may be marked in this very moment: that is waited for,
        and not for long by the first of those that wait for each other.
        """
        waited = 0.0
        while True:
            others = [one for one in images.marked() if one.id != image and one.status == "active"]
            whole = [str(one.id) for one in others if is_whole(one)]
            first = all(image < str(one.id) for one in others)
            if whole or not others or waited >= (_MOMENT if first else _LONG):
                return min(whole, default=None)
            self._course.wait(_PAUSE)
            waited += _PAUSE

    def _receipt(self) -> Receipt:
        sidecar, file = self._order.sidecar, self._order.sidecar.file
        there = self._cloud
        wanted = json.dumps(self._identity(), sort_keys=True)
        digest = file.digest if file else sidecar.digest
        return Receipt(
            id=receipt_id(self.target, there.auth_url, there.project, there.region, digest, wanted),
            target=self.target,
            image=sidecar.image,
            digest=sidecar.digest,
            region=there.place,
            begun=now(),
        )

    def _identity(self) -> Mapping[str, object]:
        """Return what, beside the bytes, makes it another image."""
        return {"name": self._name, "properties": self._settings.properties}

    def _enter(self, entry: Entry) -> None:
        receipt = entry.receipt
        if receipt.state != PUBLISHED:
            receipt.state, receipt.why = PENDING, ""
        receipt.proof = self._order.proof or receipt.proof
        receipt.region = self._cloud.place
        receipt.details["os_cloud"] = self._settings.os_cloud or ""
        receipt.details["region"] = "" if self._cloud.region == "-" else self._cloud.region
        entry.save()

    def _marks(self, entry: Entry) -> dict[str, str]:
        digest = self._order.sidecar.digest
        return {PUBLICATION: entry.receipt.id, RUN: self._run, _DIGEST: digest}

    @property
    def _needs(self) -> dict[str, int]:
        """What a flavor must have: GiB of disk, MiB of memory."""
        memory = cast("int", self._order.sidecar.boot["memory"])
        return {"min_disk": -(-self._order.sidecar.length // _GIB), "min_ram": memory // _MIB}

    def _images(self, entry: Entry) -> Images:
        return Images(self._cloud, entry.receipt.id, float(self._settings.patience), self._course)

    def _shelf(self, entry: Entry) -> Shelf:
        settings = self._settings
        return Shelf(
            self._cloud,
            settings.container,
            settings.segment,
            settings.workers,
            float(settings.patience),
            entry,
            self._course,
        )

    def _servers(self, entry: Entry) -> Servers:
        return Servers(self._cloud, self._settings, entry, self._course)

    def _undoing(self, entry: Entry) -> Undoing:
        def enter_unknown() -> None:
            for image in self._images(entry).marked():
                if (image.properties or {}).get(RUN) == self._run:
                    entry.made("image", str(image.id))
            if self._settings.start:
                for server in self._servers(entry).marked():
                    entry.made("server", str(server.id))

        def taken_back() -> list[Resource]:
            return undo(self._cloud, entry.receipt, self._ledger, self._course.wait)

        keep, place = self._order.terms.keep, self._cloud.place
        return Undoing(entry, place, keep, self._course.tell, enter_unknown, taken_back)

    def _object_name(self, entry: Entry) -> str:
        """Return the object's name: the same for every run of this publication."""
        return f"{entry.receipt.id}/{self._order.path.name}"
