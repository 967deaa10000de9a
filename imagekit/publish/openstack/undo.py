"""Taking back what publications to OpenStack made: by receipt, and by the marks that images carry."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from imagekit.errors import PublishError
from imagekit.publish import Ask
from imagekit.publish.course import wait
from imagekit.publish.keeping import Orphan, is_before, take_back
from imagekit.publish.openstack import glance, importing, server, shelf
from imagekit.publish.openstack.cloud import Cloud, Wait, cloud, persistent, told
from imagekit.receipt import PUBLISHED, Ledger, Receipt, Resource

TARGETS = ("openstack", "rackspace")


class Keeper:
    """Takes back. A Keeper of `imagekit.publish.keeping`."""

    def __init__(self, environment: Mapping[str, str], ask: Ask) -> None:
        self._environment = environment  # which the SDK reads for itself
        self._ask = ask
        self._receipts: dict[str, list[Receipt]] = {}

    def undo(self, receipt: Receipt, ledger: Ledger) -> list[Resource]:
        """Remove what a publication made."""
        if not receipt.left:
            return []
        with _cloud_of(receipt) as there:
            return undo(there, receipt, ledger, wait)

    def places(self, named: Sequence[str], ledger: Ledger) -> list[str]:
        """Return the clouds of receipts, of those that are named: CLOUD/REGION, or either of them."""
        known = dict.fromkeys(one.region for one in ledger if one.target in TARGETS)
        return [one for one in known if not named or {one, *one.split("/", 1)} & set(named)]

    def orphans(self, places: Sequence[str], age: timedelta, ledger: Ledger) -> list[Orphan]:
        """Return what unfinished publications have left."""
        before = datetime.now(UTC) - age
        found: list[Orphan] = []
        for place in places:
            here = [one for one in ledger if one.target in TARGETS and one.region == place]
            self._receipts[place] = here
            found += [
                Orphan(one.kind, one.id, place, receipt.begun, f"its publication is {receipt.state}")
                for receipt in here
                if receipt.state != PUBLISHED and is_before(receipt.begun, before)
                for one in receipt.left
            ]
            known = {one.id for one in found}
            with _cloud_of(here[-1]) as there:
                found += [one for one in _unfinished(there, before) if one.id not in known]
        return found

    def remove(self, orphan: Orphan) -> None:
        """Remove one of them."""
        with _cloud_of(self._receipts[orphan.region][-1]) as there:
            remove(there, orphan.kind, orphan.id, wait)


def undo(there: Cloud, receipt: Receipt, ledger: Ledger, wait: Wait) -> list[Resource]:
    """Remove what a publication made, the newest first, and return it; what cannot go does not keep the rest."""
    last = sorted(receipt.left, key=lambda one: (one.kind == "container", one.kind == "task"))
    return take_back(last, receipt, ledger, lambda one: remove(there, one.kind, one.id, wait))


def remove(there: Cloud, kind: str, name: str, wait: Wait) -> None:
    """Remove one thing; what is gone already counts as removed."""
    if kind == "image":
        glance.remove(there, name, wait)
    elif kind == "server":
        server.remove(there, name, wait)
    elif kind == "task":
        importing.remove(there, name, wait)
    elif kind in {"object", "container"}:
        shelf.remove(there, kind, name, wait)
    else:
        raise PublishError(f"OpenStack has no {kind}")


def _unfinished(there: Cloud, before: datetime) -> Iterator[Orphan]:
    """Yield the project's images that were begun, by whomever, and never finished."""

    def listed() -> list[Any]:
        with told("the list of images"):
            return list(there.image.images(owner=there.project))

    for image in persistent(listed, wait):
        marked = glance.PUBLICATION in (image.properties or {})
        if marked and not glance.is_whole(image) and is_before(str(image.created_at), before):
            why = f"it was begun and never finished: {image.status}"
            yield Orphan("image", str(image.id), there.place, str(image.created_at), why)


@contextmanager
def _cloud_of(receipt: Receipt) -> Iterator[Cloud]:
    named = cast("str", receipt.details.get("os_cloud", ""))
    region = cast("str", receipt.details.get("region", ""))
    with cloud(named or None, region or None) as there:
        yield there
