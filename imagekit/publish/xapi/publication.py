"""An image for XenServer's kin into a pool: its disk as a VDI and, where that is wanted, its VM.

What makes two publications one is the pool, the SR, the image and the VM's settings. VDIs and VMs carry that in
`other_config`, so a repeat finds them, whoever made them; a VDI that was not finished is begun again.
"""

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from imagekit.errors import ImagekitError, InterruptedByUser, PublishError, UsageError, VerificationError
from imagekit.formats import vhd
from imagekit.formats.xapi import DIGEST, Appliance, Fields, Kind, Value, vdi_fields
from imagekit.kernel import Way
from imagekit.publish import Order
from imagekit.publish.keeping import told_of
from imagekit.publish.xapi import dom0, machine, storage
from imagekit.publish.xapi.address import address_of
from imagekit.publish.xapi.credentials import credentials
from imagekit.publish.xapi.importing import Sender, Upload
from imagekit.publish.xapi.session import RefusedError, Session
from imagekit.publish.xapi.trust import Trust
from imagekit.publish.xapi.undo import KNOWN, TARGET, undo
from imagekit.receipt import DESTROYED, FAILED, PENDING, PUBLISHED, Ledger, Receipt, now, receipt_id
from imagekit.recipe import PublishXcp
from imagekit.sparse import BlockMap, digest_file, map_blocks
from imagekit.targets.xcp import appliance, machine_options
from imagekit.unwrap import unwrapped

_PIECE = 2 << 20
_HOLE = bytes(_PIECE)


def publish(order: Order) -> list[Receipt]:
    """Bring the artifact of the target xcp to its pool."""
    settings = cast("PublishXcp", order.settings)
    if order.terms.rehearsed:
        raise UsageError("a pool is not rehearsed", hint="--rehearse is for AWS")
    if settings.host is None:
        raise UsageError("no host is named", hint="--host pool.example, the pool's master or any of its hosts")
    with ExitStack() as stack:
        goods = stack.enter_context(_goods(order))
        session = stack.enter_context(logged_in(order, settings, settings.host))
        return [_Publication(order, settings, goods, session).run()]


@contextmanager
def logged_in(order: Order, settings: PublishXcp, host: str) -> Iterator[Session]:
    """Lend a session with the master of a host's pool."""
    terms = order.terms
    given = credentials(settings.user, settings.credentials, terms.environment, host, terms.ask)
    trust = Trust(settings.fingerprints, settings.ca, terms.state / KNOWN, terms.ask)
    session = Session(address_of(host), trust, given)
    try:
        yield session
    finally:
        session.close()


@dataclass(frozen=True)
class _Goods:
    """The disk, raw; its blocks; and the VHD that the artifact is, if it is one."""

    disk: Path
    blocks: BlockMap
    packed: Path | None


@contextmanager
def _goods(order: Order) -> Iterator[_Goods]:
    """Lend the artifact's disk, checked; VerificationError when it is not what the sidecar says."""
    path, sidecar = order.path, order.sidecar
    changed = VerificationError(f"{path} is not what its sidecar describes", hint="build it again")
    if sidecar.file is not None and digest_file(path) != sidecar.file.digest:
        raise changed
    with unwrapped(path, None) as disk:
        blocks = map_blocks(disk)
        if blocks.digest != sidecar.digest:
            raise changed
        is_vhd = sidecar.file is not None and sidecar.file.form == "vhd"
        yield _Goods(disk, blocks, path if is_vhd else None)


class _Publication:
    """One artifact on its way into one pool."""

    def __init__(self, order: Order, settings: PublishXcp, goods: _Goods, session: Session) -> None:
        self._order = order
        self._settings = settings
        self._goods = goods
        self._session = session
        self._ledger = Ledger(order.terms.state)
        self._starts = settings.start or settings.replace
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
        fresh = self._receipt(str(next(iter(pool.values()))["uuid"]), place.uuid)
        with self._ledger.entry(fresh) as receipt, self._undoing(receipt):
            self._enter(receipt, there, place)
            named = replace(wanted, other_config={DIGEST: receipt.digest, storage.PUBLICATION: receipt.id})
            if self._options is None:
                receipt.result = self._disk(receipt, place, named)[1]
            else:
                receipt.result = self._machine(receipt, place, named, networks)
            receipt.state, receipt.ended = PUBLISHED, now()
            self._ledger.write(receipt)
        return receipt

    def _receipt(self, pool: str, sr: str) -> Receipt:
        sidecar = self._order.sidecar
        settings = json.dumps(self._options, sort_keys=True) if self._options is not None else ""
        return Receipt(
            id=receipt_id(TARGET, pool, sr, sidecar.digest, settings),
            target=TARGET,
            image=sidecar.image,
            digest=sidecar.digest,
            region=str(self._settings.host),
            begun=now(),
        )

    def _enter(self, receipt: Receipt, there: machine.Product, place: storage.Storage) -> None:
        if receipt.state != PUBLISHED:
            receipt.state, receipt.why = PENDING, ""
        receipt.proof = self._order.proof or receipt.proof
        receipt.details |= {"product": there.words, "sr": place.uuid, "sr_name": place.name}
        receipt.details |= {"fingerprints": list(self._settings.fingerprints), "user": self._settings.user or ""}
        receipt.details["ca"] = str(self._settings.ca or "")
        self._ledger.write(receipt)

    def _appliance(self) -> Appliance:
        """Return the VM that is wanted; one that boots by a kernel in dom0 says where that will be."""
        options = self._options or _machine_options(self._order)
        if not self._direct:
            return appliance(options, self._kind)
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

    def _kernel(self, receipt: Receipt, target: str) -> None:
        """Bring the kernel to dom0."""
        kernel = self._order.path.with_name(self._order.path.name + ".xen")
        if not kernel.is_file() or digest_file(kernel) != self._order.sidecar.companions.get(".xen"):
            raise VerificationError(f"{kernel} is not what the sidecar describes", hint="build it again")
        receipt.details["ssh"] = self._ssh
        receipt.resource("kernel", target)
        self._ledger.write(receipt)
        dom0.place(self._ssh, self._order.terms.environment, kernel, target, self._go_on)
        self._tell(f"{target} is in dom0")

    def _disk(self, receipt: Receipt, place: storage.Storage, named: Appliance) -> tuple[str, str]:
        """Return the reference and UUID of the VDI, found whole or made; what broke off before goes."""
        fields = vdi_fields(named, place.ref, vhd.disk_size(self._goods.blocks.length))
        fields["other_config"] = {**named.other_config, storage.BEGUN: now()}
        for ref, record in storage.labelled(self._session, "VDI", str(fields["name_label"]), receipt.id):
            uuid = str(record["uuid"])
            if storage.COMPLETE in record["other_config"] and record["SR"] == place.ref:
                self._tell(f"the disk is there already: {uuid}")
                self._know(receipt, "vdi", uuid)
                return ref, uuid
            self._tell(f"{uuid} was not finished: it goes, and is made again")
            self._remove(receipt, ref, uuid)
        receipt.state = PENDING
        storage.check_room(place, vhd.disk_size(self._goods.blocks.length), len(self._goods.blocks.blocks) << 19)
        if not place.vhd:
            self._tell(f"the SR {place.name} keeps no VHDs: the disk is sent raw")
            return self._sent(receipt, place, fields, "raw")
        try:
            return self._sent(receipt, place, fields, "vhd")
        except RefusedError as error:
            if error.code != "VDI_IO_ERROR" or not place.thick:
                raise
            self._tell(f"the SR {place.name} refused a VHD: the disk is sent raw")
            return self._sent(receipt, place, fields, "raw")

    def _sent(self, receipt: Receipt, place: storage.Storage, fields: Fields, form: str) -> tuple[str, str]:
        """Make a VDI and fill it; when that fails it is destroyed again."""
        ref, uuid = storage.create(self._session, fields)
        receipt.resource("vdi", uuid)
        self._ledger.write(receipt)
        upload = self._upload(form)
        try:
            self._sender(receipt).send(ref, upload)
            self._session.call("VDI.add_to_other_config", ref, storage.COMPLETE, now())
        except RefusedError:
            self._remove(receipt, ref, uuid)
            raise
        self._tell(f"{upload.length / (1 << 20):.1f} MiB sent as {form} into {place.name}: {uuid}")
        return ref, uuid

    def _sender(self, receipt: Receipt) -> Sender:
        def begun(task: str) -> None:
            receipt.resource("task", task)
            self._ledger.write(receipt)

        def ended(task: str) -> None:
            receipt.resource("task", task).gone = True
            self._ledger.write(receipt)

        return Sender(self._session, self._tell, self._go_on, begun, ended)

    def _upload(self, form: str) -> Upload:
        goods = self._goods
        if form == "raw":
            length = vhd.disk_size(goods.blocks.length)  # old hosts read to a boundary of 2 MiB
            return Upload("raw", length, lambda: _read(goods.disk, length))
        if goods.packed is not None:
            packed = goods.packed
            length = packed.stat().st_size
            return Upload("vhd", length, lambda: _read(packed, length))
        made = vhd.layout(goods.blocks, 0)

        def pieces() -> Iterator[bytes]:
            with goods.disk.open("rb") as file:
                yield from made.pieces(lambda offset, length: os.pread(file.fileno(), length, offset))

        return Upload("vhd", made.length, pieces)

    def _machine(self, receipt: Receipt, place: storage.Storage, named: Appliance, networks: list[str]) -> str:
        """Return the UUID of the VM, found or made; started and put in its place where that is wanted."""
        found = storage.labelled(self._session, "VM", named.name, receipt.id)
        if found:
            ref, record = found[0]
            uuid, state = str(record["uuid"]), str(record["power_state"])
            self._tell(f"the VM is there already, {state.lower()}: {uuid}")
            self._know(receipt, "vm", uuid)
        else:
            vdi, _ = self._disk(receipt, place, named)
            if named.kernel:
                self._kernel(receipt, named.kernel)
            ref, uuid = machine.make(self._session, named, networks, vdi)
            receipt.resource("vm", uuid)
            self._ledger.write(receipt)
            state = "Halted"
            self._tell(f"VM {named.name}: {uuid}")
        if self._starts and state != "Running":
            machine.start(self._session, ref, self._settings.watch, self._wait)
            self._tell(f"it runs, for {self._settings.watch} s now")
        if self._settings.replace:
            self._retire(named.name, ref)
        return uuid

    def _retire(self, name: str, but: str) -> None:
        """Take away the VMs of this name that imagekit made before, and their disks."""
        for record in machine.earlier(self._session, name, but):
            vdis = machine.disks(self._session, record)
            machine.destroy(self._session, str(record["uuid"]))
            for vdi in vdis:
                storage.destroy(self._session, vdi, self._wait)
            self._tell(f"VM {record['uuid']}, an earlier {name}, is gone, and its disk")
            self._forget(str(record["other_config"][storage.PUBLICATION]))

    def _forget(self, publication: str) -> None:
        """Note in the receipt of what was replaced, if it is here, that all of it is gone."""
        known = self._ledger.find(publication)
        if known is not None:
            for one in known.resources:
                one.gone = True
            known.state, known.ended = DESTROYED, now()
            self._ledger.write(known)

    def _know(self, receipt: Receipt, kind: str, uuid: str) -> None:
        """Enter what was found: it is ours to take back when the ledger says so."""
        ours = any((one.kind, one.id) == (kind, uuid) and one.ours for one in receipt.resources)
        receipt.resource(kind, uuid, ours=ours)
        self._ledger.write(receipt)

    def _remove(self, receipt: Receipt, ref: str, uuid: str) -> None:
        storage.destroy(self._session, ref, self._wait)
        for one in receipt.resources:
            if (one.kind, one.id) == ("vdi", uuid):
                one.gone = True
        self._ledger.write(receipt)

    @contextmanager
    def _undoing(self, receipt: Receipt) -> Iterator[None]:
        """Undo what was made when something fails; a signal keeps it, to go on with."""
        try:
            yield
        except InterruptedByUser:
            if receipt.left:
                self._tell(f"kept, to go on with: {told_of(receipt.left)}")
            raise
        except Exception as error:
            if receipt.state == PUBLISHED:
                self._tell(f"{receipt.result} is published, and stays")
            else:
                self._failed(receipt, error)
            raise

    def _failed(self, receipt: Receipt, error: Exception) -> None:
        receipt.state, receipt.ended = FAILED, now()
        receipt.why = error.brief if isinstance(error, ImagekitError) else type(error).__name__
        self._ledger.write(receipt)
        left = receipt.left
        if left and self._order.terms.keep:
            self._tell(f"kept, as asked: {told_of(left)}")
        elif left:
            try:
                removed = undo(self._session, receipt, self._ledger, self._order.terms.environment)
                self._tell(f"removed again: {told_of(removed)}")
                receipt.state, receipt.result = DESTROYED, ""
                self._ledger.write(receipt)
            except PublishError as second:
                self._tell(f"left in the pool: {told_of(receipt.left)} ({second.brief})")

    def _tell(self, text: str) -> None:
        self._order.terms.note(f"{self._settings.host}: {text}")

    def _go_on(self) -> None:
        if self._order.terms.stop.is_set():
            raise InterruptedByUser("interrupted")

    def _wait(self, seconds: float) -> bool:
        if self._order.terms.stop.wait(seconds):
            raise InterruptedByUser("interrupted")
        return True


def _machine_options(order: Order) -> dict[str, Value]:
    """Return what the recipe says of the VM; of an artifact alone, what its sidecar does."""
    boot, sidecar = order.sidecar.boot, order.sidecar
    if order.image is not None:
        return cast("dict[str, Value]", machine_options(order.image, sidecar.image))
    bare = {"name": sidecar.image, "memory": boot["memory"], "vcpus": boot["vcpus"], "description": ""}
    return cast("dict[str, Value]", {**bare, "platform": {}, "tags": [], "interfaces": []})


def _read(path: Path, length: int) -> Iterator[bytes]:
    """Yield so many bytes of a file, zeros past its end."""
    with path.open("rb", buffering=0) as file:
        for at in range(0, length, _PIECE):
            size = min(_PIECE, length - at)
            yield os.pread(file.fileno(), size, at).ljust(size, b"\0")
