"""VMs: made, cloned, provisioned, destroyed, and their fields that have rules. Starting them: power.py."""

import uuid

from tests.fakes.xapi import devices, storage
from tests.fakes.xapi.failure import Failure
from tests.fakes.xapi.kinds import NULL, Record, Value
from tests.fakes.xapi.state import Ask

_OURS = [
    "uuid",
    "power_state",
    "resident_on",
    "domid",
    "metrics",
    "guest_metrics",
    "allowed_operations",
    "current_operations",
    "VBDs",
    "VIFs",
    "consoles",
    "is_default_template",
    "snapshots",
    "children",
]
_LIMITS = ("static_min", "dynamic_min", "dynamic_max", "static_max")


def create(ask: Ask, given: Record) -> str:
    """VM.create: what its parameters are worth is seen when it starts."""
    db = ask.db
    other = {"mac_seed": str(uuid.uuid4())} | given["other_config"]
    if given.get("domain_type", "unspecified") == "unspecified":
        given = given | {"domain_type": "hvm" if given["HVM_boot_policy"] else "pv"}
    metrics = db.add("VM_metrics")
    fields = given | {"other_config": other, "power_state": "Halted", "domid": -1, "metrics": metrics}
    return db.add("VM", **fields)


def destroy(ask: Ask, vm: str) -> None:
    """VM.destroy: VBDs and VIFs go, VDIs stay."""
    db = ask.db
    expect(ask, vm, "Halted", "Suspended")
    if db.get("VM", vm, "other_config").get("default_template") == "true":
        raise Failure("VM_CANNOT_DELETE_DEFAULT_TEMPLATE")
    for table in ("VBD", "VIF", "console"):
        for one in db.where(table, "VM", vm):
            db.drop(table, one)
    for table, field in (("VM_metrics", "metrics"), ("VM_guest_metrics", "guest_metrics")):
        if db.has(table, one := db.get("VM", vm, field)):
            db.drop(table, one)
    db.drop("VM", vm)


def clone(ask: Ask, vm: str, name: str) -> str:
    """VM.clone: a template's clone is a template until VM.provision."""
    db = ask.db
    expect(ask, vm, "Halted")
    kept = {key: value for key, value in db.record("VM", vm).items() if key not in _OURS}
    other = {key: value for key, value in kept["other_config"].items() if key != "default_template"}
    fresh = {"name_label": name, "other_config": other | {"mac_seed": str(uuid.uuid4())}, "domid": -1}
    made = db.add("VM", **kept | fresh, metrics=db.add("VM_metrics"))
    for one in db.get("VM", vm, "VBDs"):
        row = db.record("VBD", one)
        if row["VDI"] != NULL and row["type"] == "Disk":
            row["VDI"] = storage.clone(ask, row["VDI"])
        _copied(ask, "VBD", row, made)
    for one in db.get("VM", vm, "VIFs"):
        row = db.record("VIF", one)
        devices.create_vif(ask, _given(ask, "VIF", row) | {"VM": made, "MAC": ""})
    return made


def provision(ask: Ask, vm: str) -> None:
    """VM.provision: of a clone of a template, a VM. The templates here bring no disks."""
    expect(ask, vm, "Halted")
    other = {key: value for key, value in ask.db.get("VM", vm, "other_config").items() if key != "disks"}
    ask.db.set("VM", vm, is_a_template=False, other_config=other)


def expect(ask: Ask, vm: str, *states: str) -> None:
    """Refuse what is in none of these states."""
    actual = ask.db.get("VM", vm, "power_state")
    if actual not in states:
        raise Failure("VM_BAD_POWER_STATE", vm, ", ".join(states).lower(), actual.lower())


def _copied(ask: Ask, table: str, row: Record, vm: str) -> None:
    ask.db.add(table, **_given(ask, table, row) | {"VM": vm, "currently_attached": False, "device": ""})


def _given(ask: Ask, table: str, row: Record) -> Record:
    """Return a record's fields that its constructor takes."""
    return {one.name: row[one.name] for one in ask.state.model.classes[table].constructor}


def _domain_type(ask: Ask, vm: str, value: str) -> None:
    expect(ask, vm, "Halted")
    policy = "BIOS order" if value == "hvm" else ""
    ask.db.set("VM", vm, domain_type=value, HVM_boot_policy=policy)


def _boot_policy(ask: Ask, vm: str, value: str) -> None:
    expect(ask, vm, "Halted")
    ask.db.set("VM", vm, HVM_boot_policy=value, domain_type="hvm" if value else "pv")


def _limits(ask: Ask, vm: str, **given: int) -> None:
    """Set limits of memory; they rise from static_min by dynamic_min and dynamic_max to static_max."""
    live = not {"static_min", "static_max"} & set(given)
    expect(ask, vm, *(("Halted", "Running") if live else ("Halted",)))
    whole = {name: ask.db.get("VM", vm, f"memory_{name}") for name in _LIMITS} | given
    if sorted(whole.values()) != [whole[name] for name in _LIMITS]:
        raise Failure("MEMORY_CONSTRAINT_VIOLATION_ORDER")
    ask.db.set("VM", vm, **{f"memory_{name}": value for name, value in whole.items()})


def _limit(name: str) -> object:
    def change(ask: Ask, vm: str, value: int) -> None:
        _limits(ask, vm, **{name: value})

    return change


def _all_limits(ask: Ask, vm: str, static_min: int, static_max: int, dynamic_min: int, dynamic_max: int) -> None:
    given = (static_min, dynamic_min, dynamic_max, static_max)
    _limits(ask, vm, **dict(zip(_LIMITS, given, strict=True)))


def _memory(ask: Ask, vm: str, value: int) -> None:
    _limits(ask, vm, dynamic_min=value, dynamic_max=value, static_max=value)


def _vcpus(name: str) -> object:
    def change(ask: Ask, vm: str, value: int) -> None:
        expect(ask, vm, "Halted")
        counts = {"max": ask.db.get("VM", vm, "VCPUs_max"), "at_startup": ask.db.get("VM", vm, "VCPUs_at_startup")}
        counts[name] = value
        if not 1 <= counts["at_startup"] <= counts["max"]:
            raise Failure("INVALID_VALUE", f"VCPUs_{name}", str(value))
        ask.db.set("VM", vm, **{f"VCPUs_{name}": value})

    return change


def _set(name: str) -> object:
    def change(ask: Ask, vm: str, value: Value) -> None:
        ask.db.set("VM", vm, **{name: value})

    return change


SERVED = {
    "VM.clone": clone,
    "VM.copy": lambda ask, vm, name, _sr: clone(ask, vm, name),
    "VM.provision": provision,
    "VM.set_domain_type": _domain_type,
    "VM.set_HVM_boot_policy": _boot_policy,
    "VM.set_is_a_template": _set("is_a_template"),
    "VM.set_name_label": _set("name_label"),
    "VM.set_name_description": _set("name_description"),
    "VM.set_actions_after_crash": _set("actions_after_crash"),
    "VM.set_VCPUs_max": _vcpus("max"),
    "VM.set_VCPUs_at_startup": _vcpus("at_startup"),
    "VM.set_memory": _memory,
    "VM.set_memory_limits": _all_limits,
    "VM.set_memory_static_range": lambda ask, vm, low, top: _limits(ask, vm, static_min=low, static_max=top),
    "VM.set_memory_dynamic_range": lambda ask, vm, low, top: _limits(ask, vm, dynamic_min=low, dynamic_max=top),
} | {f"VM.set_memory_{name}": _limit(name) for name in _LIMITS}
