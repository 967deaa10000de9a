"""The VM of a disk: which kinds a host still has, how one is made, started, watched and put in another's place."""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from imagekit.errors import KernelError, PublishError, UsageError
from imagekit.formats.xapi import Appliance, Fields, Interface, Value, vbd_fields, vif_fields, vm_fields
from imagekit.publish.xapi import console
from imagekit.publish.xapi.session import RefusedError, Session
from imagekit.publish.xapi.storage import PUBLICATION, by_uuid, finish, is_own, record_of, users

# What hosts before 7 (2016) do not know of a VIF; they fill it in.
_NEWER_VIF = ("locking_mode", "ipv4_allowed", "ipv6_allowed", "currently_attached")
_NEWER_VBD = ("currently_attached",)
_PAUSE = 0.25


@dataclass(frozen=True, slots=True)
class Product:
    """What a pool's master runs; `hvm`: whether the processor of any of the pool's hosts has virtualisation."""

    brand: str
    version: str
    xapi: tuple[int, ...]
    hvm: bool

    @property
    def words(self) -> str:
        """Its name and version."""
        return f"{self.brand} {self.version}".strip()

    @property
    def paravirtual(self) -> bool:
        """Whether it still starts PV guests: XCP-ng 8.3 and XenServer 8 do not."""
        numbers = _numbers(self.version)
        return numbers < ((8, 3) if "xcp-ng" in self.brand.lower() else (8, 2, 50))


def product(session: Session) -> Product:
    """Ask the master what it is."""
    master = session.call("pool.get_master", session.call("pool.get_all")[0])
    said = session.call("host.get_software_version", master)
    version = str(said.get("product_version", ""))
    hosts: Mapping[str, Any] = session.call("host.get_all_records")
    # As xapi looks for it: ocaml/xapi/xapi_vm_helpers.ml, assert_host_supports_hvm.
    hvm = any("hvm" in one for host in hosts.values() for one in host["capabilities"])
    brand, build = str(said.get("product_brand", "")), _numbers(str(said.get("xapi_build", "")))
    return Product(brand, version, build, hvm)


def check_kind(there: Product, kind: str) -> None:
    """KernelError (exit 3) when the host no longer starts such guests, or not yet."""
    if kind == "pv" and not there.paravirtual:
        raise KernelError(
            f"{there.words} starts no PV guests: they were removed from it",
            hint="build it with --boot pvh, of a kernel with a PVH entry (Solo5 and Linux have one), or with "
            "--boot hvm, of one that GRUB loads (Multiboot, or a Linux bzImage); "
            "or publish the disk alone, without --vm",
        )
    if kind == "pvh" and there.paravirtual:
        raise KernelError(
            f"{there.words} has no PVH guests of your own kernel",
            hint="they came with XCP-ng 8.3; here boot PV kernels and, built with --boot hvm, those that GRUB "
            "loads: Multiboot, as Solo5's are, and Linux bzImages",
        )
    if kind != "pv" and not there.hvm:
        raise KernelError(
            f"no host of the pool has a processor with virtualisation, which {kind.upper()} guests need",
            hint="it may be off in the firmware's setup",
        )


def networks(session: Session, interfaces: tuple[Interface, ...]) -> list[str]:
    """Return the reference of each interface's network; UsageError for a name or bridge that is none's."""
    if not interfaces:
        return []
    records: Mapping[str, Any] = session.call("network.get_all_records")
    return [_network(records, one) for one in interfaces]


def make(session: Session, appliance: Appliance, places: list[str], vdi: str) -> tuple[str, str]:
    """Make the VM with this disk on these networks, and return its reference and UUID."""
    known = _some_vm(session)
    fields = {name: value for name, value in vm_fields(appliance).items() if name in known}
    ref = str(session.call("VM.create", fields))
    try:
        session.call("VBD.create", _without(vbd_fields(ref, vdi), _NEWER_VBD))
        for number, (network, interface) in enumerate(zip(places, appliance.interfaces, strict=True)):
            session.call("VIF.create", _without(vif_fields(ref, network, number, interface), _NEWER_VIF))
        uuid = str(session.call("VM.get_uuid", ref))
        finish(session, "VM", ref, uuid)
    except PublishError:
        _drop(session, ref)
        raise
    else:
        return ref, uuid


def start(session: Session, ref: str, watch: float, wait: Callable[[float], bool]) -> None:
    """Start a VM and see for `watch` seconds that it lives; PublishError, with its console's last lines, if not.

    It is paused until its console is found: what it says before it is listened to is never told.
    """
    _unless_done(session, "VM.start", ref, True, False)  # noqa: FBT003 -- paused, and not by force
    place = console.location(session, ref)
    _unless_done(session, "VM.unpause", ref)
    with console.Console(session, place) as listener:
        _watch(session, ref, watch, wait, listener)


def _unless_done(session: Session, method: str, ref: str, *more: Value) -> None:
    """Change a VM's power state, unless another run of this publication was faster."""
    try:
        session.call(method, ref, *more)
    except RefusedError as error:
        if error.code != "VM_BAD_POWER_STATE":
            raise


def _watch(
    session: Session, ref: str, watch: float, wait: Callable[[float], bool], listener: console.Console
) -> None:
    until = time.monotonic() + watch
    while True:
        state = str(session.call("VM.get_power_state", ref))
        if state != "Running":
            said = listener.told()
            raise PublishError(
                f"the VM was started, and is {state.lower()} again",
                details=f"its console said:\n{said}" if said else "of its console nothing was heard",
                hint="`imagekit prove` shows all that it says; on the host: xl dmesg, and /var/log/xen/console",
            )
        if time.monotonic() > until:
            return
        wait(_PAUSE)


def stop(session: Session, ref: str) -> None:
    """Halt a VM at once, if it runs."""
    try:
        session.call("VM.hard_shutdown", ref)
    except RefusedError as error:
        if error.code not in {"VM_BAD_POWER_STATE", "HANDLE_INVALID"}:
            raise


def destroy(session: Session, uuid: str) -> None:
    """Halt and destroy a VM; its disks stay."""
    ref = by_uuid(session, "VM", uuid)
    if ref is not None:
        stop(session, ref)
        _drop(session, ref)


def earlier(session: Session, name: str, but: str) -> list[Mapping[str, Any]]:
    """Return the records of the VMs of this name that imagekit made, but the one of this reference."""
    found: list[Mapping[str, Any]] = []
    for ref in map(str, session.call("VM.get_by_name_label", name)):
        record = record_of(session, "VM", ref) if ref != but else None
        if record and PUBLICATION in record["other_config"] and is_own(record):
            found.append({**record, "ref": ref})
    return found


def own_disks(session: Session, record: Mapping[str, Any]) -> list[str]:
    """Return the references of the disks that a VM's publication brought with it, and no other VM has."""
    found = []
    for vbd in record["VBDs"]:
        seen = record_of(session, "VBD", str(vbd))
        disk = record_of(session, "VDI", str(seen["VDI"])) if seen and not seen["empty"] else None
        if seen is None or disk is None or not is_own(disk):
            continue
        same = disk["other_config"].get(PUBLICATION) == record["other_config"][PUBLICATION]
        if same and len(users(session, disk)) == 1:
            found.append(str(seen["VDI"]))
    return found


def _drop(session: Session, ref: str) -> None:
    try:
        session.call("VM.destroy", ref)
    except RefusedError as error:
        if error.code != "HANDLE_INVALID":
            raise


def _network(records: Mapping[str, Any], interface: Interface) -> str:
    wanted, key = (interface.network, "name_label") if interface.network else (interface.bridge, "bridge")
    found = [ref for ref, record in records.items() if record[key] == wanted]
    if len(found) != 1:
        there = ", ".join(sorted(f"{record['name_label']} ({record['bridge']})" for record in records.values()))
        many = f"{len(found)} networks have" if found else "no network has"
        raise UsageError(f"{many} the {key.removesuffix('_label')} {wanted!r}", hint=f"there are: {there}")
    return found[0]


def _some_vm(session: Session) -> Mapping[str, Any]:
    """Return the record of any VM, dom0's say, which tells what fields a VM has there."""
    for ref in session.call("VM.get_all"):
        record = record_of(session, "VM", str(ref))
        if record is not None:  # it has not gone meanwhile
            return record
    raise PublishError("the pool has no VM, not even dom0's")


def _without(fields: Fields, names: tuple[str, ...]) -> Fields:
    return {name: value for name, value in fields.items() if name not in names}


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:4])
