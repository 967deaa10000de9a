"""Taking back what was brought into pools: VMs first, then their disks."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

from imagekit.errors import PublishError
from imagekit.publish import Ask
from imagekit.publish.course import wait
from imagekit.publish.keeping import Orphan, is_before, take_back
from imagekit.publish.xapi import dom0, handler, machine, storage
from imagekit.publish.xapi.address import address_of
from imagekit.publish.xapi.credentials import credentials
from imagekit.publish.xapi.session import Session
from imagekit.publish.xapi.trust import Trust
from imagekit.receipt import PUBLISHED, Ledger, Receipt, Resource

TARGET = "xcp"
KNOWN = "xapi-hosts.json"
"""The file of hosts' fingerprints, in the state folder."""


class Keeper:
    """Takes back in the pools of the receipts."""

    def __init__(self, environment: Mapping[str, str], ask: Ask) -> None:
        self._environment = environment
        self._ask = ask
        self._receipts: dict[str, list[Receipt]] = {}

    def undo(self, receipt: Receipt, ledger: Ledger) -> list[Resource]:
        """Destroy the VM and the VDI."""
        if not receipt.left:
            return []
        with self._session(receipt, ledger) as session:
            return undo(session, receipt, ledger, self._environment)

    def places(self, named: Sequence[str], ledger: Ledger) -> list[str]:
        """Return the hosts of the receipts, of those that are named."""
        known = dict.fromkeys(receipt.region for receipt in ledger if receipt.target == TARGET)
        return [host for host in known if not named or host in named]

    def orphans(self, places: Sequence[str], age: timedelta, ledger: Ledger) -> list[Orphan]:
        """Return what unfinished publications have left: by receipts, and by the marks on VMs and VDIs there."""
        before = datetime.now(UTC) - age
        found = []
        for place in places:
            here = [one for one in ledger if one.target == TARGET and one.region == place]
            self._receipts[place] = here
            found += [
                Orphan(one.kind, one.id, place, receipt.begun, f"its publication is {receipt.state}")
                for receipt in here
                if receipt.state != PUBLISHED and is_before(receipt.begun, before)
                for one in receipt.left
            ]
            known = {one.id for one in found}
            with self._session(here[-1], ledger) as session:
                found += [one for one in _unfinished(session, place, before) if one.id not in known]
        self._ledger = ledger
        return found

    def remove(self, orphan: Orphan) -> None:
        """Remove one of them."""
        here = self._receipts[orphan.region]
        of_it = next((one for one in here if any(held.id == orphan.id for held in one.resources)), here[-1])
        if orphan.kind == "kernel":
            dom0.remove(str(of_it.details["ssh"]), self._environment, orphan.id)
            return
        with self._session(of_it, self._ledger) as session:
            remove(session, orphan.kind, orphan.id)

    @contextmanager
    def _session(self, receipt: Receipt, ledger: Ledger) -> Iterator[Session]:
        details = receipt.details
        user, authority = cast("str", details.get("user", "")), cast("str", details.get("ca", ""))
        file = cast("str", details.get("credentials", ""))
        known = cast("list[str]", details.get("fingerprints", []))
        named = Path(file) if file else None
        given = credentials(user or None, named, self._environment, receipt.region, self._ask)
        trust = Trust(known, Path(authority) if authority else None, ledger.folder.parent / KNOWN, self._ask)
        session = Session(address_of(receipt.region), trust, given)
        try:
            yield session
        finally:
            session.close()


def _unfinished(session: Session, place: str, before: datetime) -> Iterator[Orphan]:
    for kind in ("VM", "VDI"):
        for record in session.call(f"{kind}.get_all_records").values():
            held = record["other_config"]
            used = kind == "VDI" and record["VBDs"]
            if storage.PUBLICATION not in held or storage.COMPLETE in held or used or not storage.is_own(record):
                continue
            begun = held.get(storage.BEGUN, "")
            if is_before(begun, before):
                yield Orphan(kind.lower(), str(record["uuid"]), place, begun, "it was begun and never finished")


def undo(session: Session, receipt: Receipt, ledger: Ledger, environment: Mapping[str, str]) -> list[Resource]:
    """Remove what a publication made, the newest first, and return it; what cannot go does not keep the rest."""

    def removed(one: Resource) -> None:
        if one.kind == "kernel":
            dom0.remove(str(receipt.details["ssh"]), environment, one.id)
        else:
            remove(session, one.kind, one.id)

    return take_back(receipt.left, receipt, ledger, removed)


def remove(session: Session, kind: str, uuid: str) -> None:
    """Destroy a VM or a VDI by its UUID; what is gone already counts as removed."""
    if kind == "vm":
        machine.destroy(session, uuid)
    elif kind == "vdi":
        ref = storage.by_uuid(session, "VDI", uuid)
        if ref is not None:
            storage.destroy(session, ref, wait)
    elif kind == "task":
        handler.end(session, uuid)
    else:
        raise PublishError(f"a pool has no {kind}")
