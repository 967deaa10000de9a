"""Storage repositories and the virtual disk images (VDI) in them."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from imagekit.errors import PublishError, UsageError
from imagekit.formats.xapi import NULL, Fields
from imagekit.publish.xapi.session import RefusedError, Session

PUBLICATION = "imagekit:publication"
"""The key of other_config that says by which publication a VDI or a VM was made."""

COMPLETE = "imagekit:complete"
"""The key that a VDI gets when all of its bytes are there, and a VM when it has its devices: its own UUID."""

RUN = "imagekit:run"
"""The key that says by which run of that publication: nobody takes away what another is about to finish."""

BEGUN = "imagekit:begun"
"""The key that says when."""

_LVM = ("lvm", "lvmoiscsi", "lvmohba", "lvmofcoe")
_MIB = 1 << 20
_IN_USE, _GONE = "VDI_IN_USE", {"HANDLE_INVALID", "UUID_INVALID"}
_PAUSE = 0.25
GRACE = 2.0
"""Seconds after which what is unfinished, and not worked on, counts as left behind."""

_PATIENCE = 60.0  # seconds that a VDI stays in use after an upload broke


@dataclass(frozen=True, slots=True)
class Storage:
    """An SR. `vhd`: it keeps VHDs, so an import may be one; `free` is in bytes."""

    ref: str
    uuid: str
    name: str
    type: str
    vhd: bool
    free: int

    @property
    def thick(self) -> bool:
        """Whether a VDI takes all of its room at once."""
        return self.type in _LVM


def storage(session: Session, named: str | None) -> Storage:
    """Return the SR of a name or UUID, else the pool's default; UsageError for none, and for several."""
    if named is None:
        return _default(session)
    found = [str(ref) for ref in session.call("SR.get_by_name_label", named)]
    if not found:
        try:
            found = [str(session.call("SR.get_by_uuid", named))]
        except RefusedError as error:
            if error.code not in _GONE:
                raise
    if len(found) != 1:
        many = f"{len(found)} SRs are" if found else "no SR is"
        raise UsageError(f"{many} named {named!r}", hint=f"--sr takes a UUID, too; there are: {_all(session)}")
    return _told(session, found[0])


def check_room(there: Storage, size: int, data: int) -> None:
    """PublishError when an SR has no room for a disk of `size` bytes, `data` of them not empty."""
    needed = size if there.thick else data
    if needed > there.free:
        raise PublishError(
            f"the SR {there.name} has no room for the disk",
            details=f"{needed // _MIB} MiB are needed, {there.free // _MIB} MiB are free",
            hint="--sr names another one",
        )


def create(session: Session, fields: Fields) -> tuple[str, str]:
    """Make a VDI, and return its reference and its UUID."""
    ref = str(session.call("VDI.create", fields))
    return ref, str(session.call("VDI.get_uuid", ref))


def labelled(session: Session, kind: str, label: str, publication: str) -> list[tuple[str, Mapping[str, Any]]]:
    """Return (reference, record) of the VDIs or VMs of this label that a publication has made.

    Snapshots, templates and clones have the marks of what they were made of, and are not ours.
    """
    found = []
    for ref in session.call(f"{kind}.get_by_name_label", label):
        record = record_of(session, kind, str(ref))
        if record and record["other_config"].get(PUBLICATION) == publication and is_own(record):
            found.append((str(ref), record))
    return found


def is_own(record: Mapping[str, Any]) -> bool:
    """Tell whether the marks on a VDI or a VM are its own."""
    copied = record.get("is_a_snapshot") or record.get("is_a_template")
    return not copied and record["other_config"].get(COMPLETE, record["uuid"]) == record["uuid"]


def is_whole(record: Mapping[str, Any]) -> bool:
    """Tell whether a VDI has all of its bytes, or a VM its devices."""
    return bool(record["other_config"].get(COMPLETE) == record["uuid"])


def finish(session: Session, kind: str, ref: str, uuid: str) -> None:
    """Mark a VDI or a VM as whole."""
    try:
        session.call(f"{kind}.add_to_other_config", ref, COMPLETE, uuid)
    except RefusedError as error:
        if error.code != "MAP_DUPLICATE_KEY":  # said twice, where the first answer was lost
            raise


def settled(
    session: Session, kind: str, ref: str, wait: Callable[[float], bool], tell: Callable[[str], None]
) -> Mapping[str, Any] | None:
    """Return the record of a VDI or VM that another run may be making, when it is whole or nobody works on it.

    None when it went away. A VDI is worked on while dom0 has it attached, as it does for an import.
    """
    quiet, told = time.monotonic(), False
    while True:
        record = record_of(session, kind, ref)
        if record is None or is_whole(record) or time.monotonic() - quiet > GRACE:
            return record
        if kind == "VDI" and _attached(session, record):
            quiet = time.monotonic()
            if not told:
                told = True
                tell(f"another run fills {record['uuid']}: waiting for it")
        wait(_PAUSE)


def users(session: Session, record: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return (reference, record) of the VMs that have a VDI as their disk; dom0, which fills it, is none."""
    found = []
    for vbd in record["VBDs"]:
        seen = record_of(session, "VBD", str(vbd))
        machine = record_of(session, "VM", str(seen["VM"])) if seen else None
        if seen and machine and not machine["is_control_domain"]:
            found.append((str(seen["VM"]), machine))
    return found


def _attached(session: Session, record: Mapping[str, Any]) -> bool:
    for vbd in record["VBDs"]:
        seen = record_of(session, "VBD", str(vbd))
        if seen and seen["currently_attached"]:
            return True
    return False


def record_of(session: Session, kind: str, ref: str) -> Mapping[str, Any] | None:
    """Return a record, None when the object is gone."""
    try:
        record: Mapping[str, Any] = session.call(f"{kind}.get_record", ref)
    except RefusedError as error:
        if error.code in _GONE:
            return None
        raise
    return record


def by_uuid(session: Session, kind: str, uuid: str) -> str | None:
    """Return the reference of a UUID, None when the object is gone."""
    try:
        return str(session.call(f"{kind}.get_by_uuid", uuid))
    except RefusedError as error:
        if error.code in _GONE:
            return None
        raise


def destroy(session: Session, ref: str, wait: Callable[[float], bool], patience: float = _PATIENCE) -> None:
    """Destroy a VDI, again while an upload that broke still holds it (xen-api #4339)."""
    until = time.monotonic() + patience
    while True:
        try:
            session.call("VDI.destroy", ref)
        except RefusedError as error:
            if error.code in _GONE:
                return
            if error.code != _IN_USE or time.monotonic() > until or not wait(0.5):
                raise
        else:
            return


def _default(session: Session) -> Storage:
    pool = session.call("pool.get_all")[0]
    ref = str(session.call("pool.get_default_SR", pool))
    if ref != NULL and record_of(session, "SR", ref):
        return _told(session, ref)
    raise UsageError("the pool has no default SR", hint=f"--sr names one of: {_all(session)}")


def _told(session: Session, ref: str) -> Storage:
    record = session.call("SR.get_record", ref)
    name, kind = str(record["name_label"]), str(record["type"])
    if record["content_type"] == "iso" or kind == "iso":
        raise UsageError(f"the SR {name} holds CDs", hint=f"--sr names one of: {_all(session)}")
    pbds = [session.call("PBD.get_currently_attached", pbd) for pbd in record["PBDs"]]
    if not any(pbds):
        raise PublishError(f"the SR {name} is not attached to any host", hint="xe pbd-plug, or --sr")
    vhd = kind not in _LVM or record["sm_config"].get("use_vhd") == "true"
    free = int(record["physical_size"]) - int(record["physical_utilisation"])
    return Storage(ref, str(record["uuid"]), name, kind, vhd, free)


def _all(session: Session) -> str:
    records = session.call("SR.get_all_records").values()
    kept = [one for one in records if one["content_type"] != "iso" and one["type"] not in {"iso", "udev"}]
    return ", ".join(f"{one['name_label']} ({one['uuid']})" for one in kept) or "none"
