"""An image for XenServer's kin into a pool: its disk as a VDI and, where that is wanted, its VM.

What makes two publications one is the pool, the SR, the image and the VM's settings. VDIs and VMs carry that in
`other_config`, so a repeat finds them, whoever made them; a VDI that was not finished is begun again.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, cast
from uuid import uuid4

from imagekit.errors import ImagekitError, InterruptedByUser, PublishError, UsageError, VerificationError
from imagekit.formats.xapi import DIGEST, Appliance, Kind, Value
from imagekit.kernel import Way
from imagekit.publish import Order
from imagekit.publish.course import Course
from imagekit.publish.entry import Entry
from imagekit.publish.xapi import dom0, handler, machine, storage
from imagekit.publish.xapi.address import address_of
from imagekit.publish.xapi.credentials import credentials
from imagekit.publish.xapi.disk import Bringer, label_of
from imagekit.publish.xapi.ending import Ending
from imagekit.publish.xapi.exporting import Reader
from imagekit.publish.xapi.goods import Goods, goods
from imagekit.publish.xapi.importing import Sender
from imagekit.publish.xapi.session import ANSWER, Session
from imagekit.publish.xapi.trust import Trust
from imagekit.publish.xapi.undo import KNOWN, TARGET, undo
from imagekit.receipt import DESTROYED, PENDING, PUBLISHED, Ledger, Receipt, now, receipt_id
from imagekit.recipe import PublishXcp
from imagekit.sparse import digest_file
from imagekit.targets.xcp import appliance


def publish(order: Order) -> list[Receipt]:
    """Bring the artifact of the target xcp to its pool."""
    settings = cast("PublishXcp", order.settings)
    if order.terms.rehearsed:
        raise UsageError("a pool is not rehearsed", hint="--rehearse is for AWS")
    if settings.host is None:
        raise UsageError("no host is named", hint="--host pool.example, the pool's master or any of its hosts")
    with ExitStack() as stack:
        brought = stack.enter_context(goods(order))
        session = stack.enter_context(logged_in(order, settings, settings.host))
        return [_Publication(order, settings, brought, session).run()]


@contextmanager
def logged_in(order: Order, settings: PublishXcp, host: str) -> Iterator[Session]:
    """Lend a session with the master of a host's pool."""
    terms = order.terms
    trust = Trust(settings.fingerprints, settings.ca, terms.state / KNOWN, terms.ask)
    trust.connection(address_of(host), ANSWER)  # asks who that is, before a password is typed
    given = credentials(settings.user, settings.credentials, terms.environment, host, terms.ask)
    session = Session(address_of(host), trust, given)
    try:
        yield session
    finally:
        session.close()


class _Publication:
    """One artifact on its way into one pool."""

    def __init__(self, order: Order, settings: PublishXcp, brought: Goods, session: Session) -> None:
        self._order = order
        self._settings = settings
        self._goods = brought
        self._session = session
        self._ledger = Ledger(order.terms.state)
        self._course = Course.to(settings.host or "", order.terms)
        self._starts = settings.start or settings.replace
        self._run = uuid4().hex
        self._kind = cast("Kind", order.sidecar.boot["guest"])
        self._options = _machine_options(order) if settings.vm or self._starts else None

    def run(self) -> Receipt:
        """Refuse what cannot be, find or make the VDI and the VM, and undo what was made when one fails."""
        there = machine.product(self._session)
        if self._options is not None:
            machine.check_kind(there, self._kind)
        place = storage.storage(self._session, self._settings.sr)
        wanted = self._appliance()
        networks = machine.networks(self._session, wanted.interfaces)
        pool = self._session.call("pool.get_all_records")
        fresh = self._receipt(str(next(iter(pool.values()))["uuid"]), place.uuid, wanted)
        with self._ledger.entry(fresh) as receipt:
            entry = Entry(receipt, self._ledger)
            marks = {DIGEST: receipt.digest, storage.PUBLICATION: receipt.id, storage.RUN: self._run}
            named = replace(wanted, other_config=marks)
            ending = self._ending(entry, named)
            with ending.undoing():
                self._enter(entry, there, place)
                disk = self._bringer(entry, place)
                if self._options is None:
                    receipt.result = disk.bring(named)[1]
                else:
                    receipt.result, machine_ref = self._machine(entry, disk, named, networks)
                ending.end_tasks()
                receipt.state, receipt.ended = PUBLISHED, now()
                entry.save()
                if self._settings.replace:
                    self._retire(named.name, machine_ref)
        return receipt

    def _receipt(self, pool: str, sr: str, wanted: Appliance) -> Receipt:
        sidecar = self._order.sidecar
        settings = ""
        if self._options is not None:
            boot = [wanted.kind, wanted.bootloader, wanted.kernel, wanted.cmdline]
            settings = json.dumps([self._options, boot], sort_keys=True)
        return Receipt(
            id=receipt_id(TARGET, pool, sr, sidecar.digest, settings),
            target=TARGET,
            image=sidecar.image,
            digest=sidecar.digest,
            region=str(self._settings.host),
            begun=now(),
        )

    def _enter(self, entry: Entry, there: machine.Product, place: storage.Storage) -> None:
        receipt = entry.receipt
        if receipt.state != PUBLISHED:
            receipt.state, receipt.why = PENDING, ""
        receipt.proof = self._order.proof or receipt.proof
        receipt.details |= {"product": there.words, "sr": place.uuid, "sr_name": place.name}
        receipt.details |= {"fingerprints": list(self._settings.fingerprints), "user": self._settings.user or ""}
        receipt.details["ca"] = str(self._settings.ca or "")
        receipt.details["credentials"] = str(self._settings.credentials or "")
        receipt.region = str(self._settings.host)
        entry.save()

    def _appliance(self) -> Appliance:
        """Return the VM that is wanted; one that boots by a kernel in dom0 says where that will be."""
        options = self._options or _machine_options(self._order)
        if not self._direct:
            return appliance(options, self._kind)
        hosts = len(self._session.call("host.get_all"))
        if hosts > 1:
            raise UsageError(
                "a kernel file lies in one host's dom0, and another may start the VM",
                details=f"the pool has {hosts} hosts",
                hint='xcp.loader = "pygrub" takes the kernel from the disk',
            )
        boot = self._order.sidecar.boot
        folder = dom0.find(self._ssh, self._order.terms.environment, self._settings.guest_folder)
        kernel = dom0.path_of(folder, self._order.sidecar.image, self._order.sidecar.digest)
        return appliance(options, self._kind, kernel, cast("str", boot["cmdline"]))

    @property
    def _direct(self) -> bool:
        """Whether the VM boots by a kernel in dom0."""
        direct = {Way.PV_DIRECT.value, Way.PVH.value}
        return self._options is not None and self._order.sidecar.boot["way"] in direct

    @property
    def _ssh(self) -> str:
        return self._settings.ssh or f"root@{self._session.address.host}"

    def _kernel(self, entry: Entry, target: str) -> None:
        """Bring the kernel to dom0."""
        kernel = self._order.path.with_name(self._order.path.name + ".xen")
        if not kernel.is_file() or digest_file(kernel) != self._order.sidecar.companions.get(".xen"):
            raise VerificationError(f"{kernel} is not what the sidecar describes", hint="build it again")
        entry.receipt.details["ssh"] = self._ssh
        entry.made("kernel", target)
        dom0.place(self._ssh, self._order.terms.environment, kernel, target, self._course.go_on)
        self._course.tell(f"{target} is in dom0")

    def _ending(self, entry: Entry, named: Appliance) -> Ending:
        terms = self._order.terms
        labels = {"VDI": label_of(named), "VM": named.name}
        environment, keep = terms.environment, terms.keep
        return Ending(self._session, entry, self._run, self._task, labels, environment, keep, self._course.tell)

    @property
    def _task(self) -> str:
        return f"imagekit {self._run}"

    def _bringer(self, entry: Entry, place: storage.Storage) -> Bringer:
        session, silence = self._session, float(self._settings.patience)

        def begun(task: str) -> None:
            entry.made("task", task)

        def ended(task: str) -> None:
            entry.gone("task", task)

        tasks = handler.Tasks(session, self._task, begun, ended)
        sender = Sender(session, tasks, silence, self._course.tell, self._course.go_on)
        reader = Reader(session, tasks, silence, self._course.go_on) if self._settings.check else None
        return Bringer(
            session,
            entry,
            self._goods,
            place,
            sender,
            reader,
            self._course.tell,
            self._course.wait,
            alone=self._options is not None,
        )

    def _machine(self, entry: Entry, disk: Bringer, named: Appliance, networks: list[str]) -> tuple[str, str]:
        """Return the UUID and the reference of the VM, found or made, and started where that is wanted."""
        ref, uuid, state = self._found(entry, named) or self._made(entry, disk, named, networks)
        if self._starts and state != "Running":
            machine.start(self._session, ref, self._settings.watch, self._course.wait)
            self._course.tell(f"it runs, for {self._settings.watch} s now")
        return uuid, ref

    def _found(self, entry: Entry, named: Appliance) -> tuple[str, str, str] | None:
        """Return the reference, UUID and state of the VM that is there; one that was not finished goes."""
        found = dict(storage.labelled(self._session, "VM", named.name, entry.receipt.id))
        for _, disk in storage.labelled(self._session, "VDI", label_of(named), entry.receipt.id):
            holders = storage.users(self._session, disk)  # one of them may have another name by now
            mark = storage.PUBLICATION
            found |= {ref: one for ref, one in holders if one["other_config"].get(mark) == entry.receipt.id}
        for ref in found:
            record = storage.settled(self._session, "VM", ref, self._course.wait, self._course.tell)
            if record is None:
                continue
            uuid, state = str(record["uuid"]), str(record["power_state"])
            if storage.is_whole(record):
                self._course.tell(f"the VM is there already, {state.lower()}: {uuid}")
                entry.found("vm", uuid)
                return ref, uuid, state
            self._course.tell(f"VM {uuid} was not finished: it goes, and is made again")
            machine.destroy(self._session, uuid)
        return None

    def _made(self, entry: Entry, disk: Bringer, named: Appliance, networks: list[str]) -> tuple[str, str, str]:
        """Make the VM, unless the run that made the disk does."""
        vdi, vdi_uuid = disk.bring(named)
        if named.kernel:
            self._kernel(entry, named.kernel)
        if not entry.has("vdi", vdi_uuid):
            self._course.wait(storage.GRACE)
            found = self._found(entry, named)
            if found is not None:
                return found
        marked = replace(named, other_config={**named.other_config, storage.BEGUN: now()})
        ref, uuid = machine.make(self._session, marked, networks, vdi)
        entry.made("vm", uuid)
        self._course.tell(f"VM {named.name}: {uuid}")
        return ref, uuid, "Halted"

    def _retire(self, name: str, but: str) -> None:
        """Take away the VMs of this name that imagekit made before; what cannot go is told, and stays."""
        try:
            earlier = machine.earlier(self._session, name, but)
        except PublishError as error:
            self._course.tell(f"warning: earlier VMs of the name {name} could not be looked for: {error}")
            return
        for record in earlier:
            words = f"VM {record['uuid']}, an earlier {name},"
            try:
                self._take_away(record)
                self._course.tell(f"{words} is gone, and its disk")
            except InterruptedByUser:
                raise
            except ImagekitError as error:
                self._course.tell(f"warning: {words} could not be taken away: {error}")

    def _take_away(self, record: Mapping[str, Any]) -> None:
        """Destroy an earlier VM and what its publication brought with it; no disk that somebody else added."""
        vdis = machine.own_disks(self._session, record)
        machine.destroy(self._session, str(record["uuid"]))
        for vdi in vdis:
            storage.destroy(self._session, vdi, self._course.wait)
        known = self._ledger.find(str(record["other_config"][storage.PUBLICATION]))
        if known is not None:
            with self._ledger.entry(known) as old:
                undo(self._session, old, self._ledger, self._order.terms.environment)
                old.state, old.ended = DESTROYED, now()
                self._ledger.write(old)


def _machine_options(order: Order) -> dict[str, Value]:
    """Return what the recipe said of the VM."""
    return cast("dict[str, Value]", order.sidecar.boot["machine"])
