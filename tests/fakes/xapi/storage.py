"""SRs and VDIs."""

from tests.fakes.xapi.failure import Failure
from tests.fakes.xapi.kinds import NULL, Record
from tests.fakes.xapi.settings import Storage
from tests.fakes.xapi.state import Ask, State

MIB = 1 << 20
LARGEST = 2040 << 30
_BLOCK = 2 * MIB  # VHDs and logical volumes grow by it (logical volumes by two)


def settings_of(state: State, sr: str) -> Storage:
    """Return how an SR was set up."""
    label = state.db.get("SR", sr, "name_label")
    return next(one for one in state.settings.storage if one.name == label)


def create(ask: Ask, given: Record) -> str:
    """VDI.create."""
    if given["type"] == "cbt_metadata":
        raise Failure("VDI_INCOMPATIBLE_TYPE", "", "cbt_metadata")
    sr = given["SR"]
    size = _rounded(given["virtual_size"])
    _usable(ask.state, sr)
    _room(ask.state, sr, size)
    # The smconfig of a client stays; the rest is the storage manager's own.
    vdi = ask.db.add("VDI", **given)
    name = ask.db.get("VDI", vdi, "uuid")
    ask.db.set("VDI", vdi, virtual_size=size, location=name, managed=True)
    ask.state.disks.create(vdi, size)
    measure(ask.state, sr)
    return vdi


def destroy(ask: Ask, vdi: str) -> None:
    """VDI.destroy: with the VBDs that are not plugged in."""
    db = ask.db
    vbds = db.get("VDI", vdi, "VBDs")
    if any(db.get("VBD", one, "currently_attached") for one in vbds):
        raise Failure("VDI_IN_USE", vdi, "destroy")
    sr = db.get("VDI", vdi, "SR")
    _usable(ask.state, sr)
    ask.state.disks.destroy(vdi)
    db.drop("VDI", vdi)
    for one in vbds:
        db.drop("VBD", one)
    measure(ask.state, sr)


def resize(ask: Ask, vdi: str, size: int) -> None:
    """VDI.resize: only up."""
    if ask.db.get("VDI", vdi, "virtual_size") > size:
        raise Failure("SR_BACKEND_FAILURE_79", "", "VDI Invalid size [opterr=shrinking not allowed]", "")
    _free(ask, vdi, "resize")
    ask.state.disks.resize(vdi, _rounded(size))
    ask.db.set("VDI", vdi, virtual_size=_rounded(size))
    measure(ask.state, ask.db.get("VDI", vdi, "SR"))


def clone(ask: Ask, vdi: str) -> str:
    """Return a copy of a VDI, as VM.clone makes one."""
    row = ask.db.record("VDI", vdi)
    kept = ("name_label", "name_description", "SR", "virtual_size", "type", "other_config", "sm_config", "tags")
    fresh = ask.db.add("VDI", managed=True, **{name: row[name] for name in kept})
    ask.db.set("VDI", fresh, location=ask.db.get("VDI", fresh, "uuid"))
    ask.state.disks.clone(vdi, fresh)
    measure(ask.state, row["SR"])
    return fresh


def measure(state: State, sr: str) -> None:
    """Enter what an SR and its VDIs take."""
    db, thick = state.db, settings_of(state, sr).thick
    for vdi in db.get("SR", sr, "VDIs"):
        taken = db.get("VDI", vdi, "virtual_size") if thick else state.disks.used(vdi)
        db.set("VDI", vdi, physical_utilisation=taken)
    vdis = [db.record("VDI", one) for one in db.get("SR", sr, "VDIs")]
    db.set(
        "SR",
        sr,
        physical_utilisation=sum(one["physical_utilisation"] for one in vdis),
        virtual_allocation=sum(one["virtual_size"] for one in vdis),
    )


def left(state: State, sr: str) -> int:
    """Return how many bytes an SR has room for."""
    row = state.db.record("SR", sr)
    return int(row["physical_size"] - row["physical_utilisation"])


def writes_zeros(state: State, vdi: str) -> bool:
    """Tell whether a new VDI's room may hold old data: xapi's importer takes no VHD there."""
    row = state.db.record("VDI", vdi)
    sr = state.db.record("SR", row["SR"])
    logical = sr["type"].lower() in {"lvm", "lvmoiscsi", "lvmohba"}
    return logical and (row["sm_config"].get("type") == "raw" or sr["sm_config"].get("use_vhd") != "true")


def _usable(state: State, sr: str) -> None:
    """Refuse an SR that is not plugged in, or holds what others put there."""
    if not any(state.db.get("PBD", one, "currently_attached") for one in state.db.get("SR", sr, "PBDs")):
        raise Failure("SR_HAS_NO_PBDS", sr)
    if state.db.get("SR", sr, "content_type") == "iso":
        raise Failure("SR_OPERATION_NOT_SUPPORTED", sr)


def _rounded(size: int) -> int:
    if not 0 <= size <= LARGEST:
        limits = f"VDI size must be between 1 MB and {LARGEST // MIB} MB"
        raise Failure("SR_BACKEND_FAILURE_79", "", f"VDI Invalid size [opterr={limits}]", "")
    return max(-(-size // _BLOCK), 1) * _BLOCK


def _room(state: State, sr: str, size: int) -> None:
    measure(state, sr)
    if settings_of(state, sr).thick and size > left(state, sr):
        raise Failure("SR_BACKEND_FAILURE_44", "", "There is insufficient space", "")


def _free(ask: Ask, vdi: str, operation: str) -> None:
    if any(ask.db.get("VBD", one, "currently_attached") for one in ask.db.get("VDI", vdi, "VBDs")):
        raise Failure("VDI_IN_USE", vdi, operation)


def _set(name: str) -> object:
    def change(ask: Ask, vdi: str, value: object) -> None:
        ask.db.set("VDI", vdi, **{name: value})

    return change


def _forget(ask: Ask, vdi: str) -> None:
    ask.db.drop("VDI", vdi)


def _scan(ask: Ask, sr: str) -> None:
    if sr == NULL or not ask.db.has("SR", sr):
        raise Failure("HANDLE_INVALID", "SR", sr)
    measure(ask.state, sr)


SERVED = {
    "VDI.resize": resize,
    "VDI.forget": _forget,
    "VDI.set_name_label": _set("name_label"),
    "VDI.set_name_description": _set("name_description"),
    "VDI.set_sharable": _set("sharable"),
    "VDI.set_read_only": _set("read_only"),
    "SR.scan": _scan,
    "SR.update": _scan,
}
