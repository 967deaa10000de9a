"""VMs start, and stop: by a call, by themselves, or by dying."""

import time

from tests.fakes.xapi import consoles, devices
from tests.fakes.xapi.failure import Failure
from tests.fakes.xapi.handlers import plugs
from tests.fakes.xapi.kinds import NULL, Record
from tests.fakes.xapi.machines import expect
from tests.fakes.xapi.state import Ask, now

_BOOTLOADERS = ("pygrub", "eliloader")
_DOMAIN = 1


def start(ask: Ask, vm: str, start_paused: bool, _force: bool) -> None:
    """VM.start."""
    db = ask.db
    row = db.record("VM", vm)
    if row["is_a_template"]:
        raise Failure("VM_IS_TEMPLATE", vm, "start")
    expect(ask, vm, "Halted")
    attached: list[str] = []
    try:
        for one in row["VBDs"]:
            devices.attach(ask, one)
            attached.append(one)
        _placed(ask, vm, row)
        _valid(row)
        _boot(ask, vm, row)
    except Failure:
        for one in attached:
            db.set("VBD", one, currently_attached=False, device="")
        raise
    _run(ask, vm, row, "Paused" if start_paused else "Running")


def _placed(ask: Ask, vm: str, row: Record) -> None:
    """Find a host, with HVM and memory enough."""
    settings, db = ask.state.settings, ask.db
    if _kind(row) in {"hvm", "pvh"} and not settings.hvm:
        raise Failure("VM_HVM_REQUIRED", vm)
    running = [db.record("VM", one) for one in db.all("VM") if one != ask.state.dom0]
    taken = sum(one["memory_dynamic_max"] for one in running if one["power_state"] == "Running")
    if row["memory_dynamic_min"] > settings.memory - taken:
        free = str(settings.memory - taken)
        raise Failure("HOST_NOT_ENOUGH_FREE_MEMORY", str(row["memory_dynamic_min"]), free)


def _valid(row: Record) -> None:
    """Refuse parameters that VM.create took without a look."""
    count, most = row["VCPUs_at_startup"], row["VCPUs_max"]
    if most < 1:
        raise Failure("INVALID_VALUE", "VCPUs_max", str(most))
    if count < 1:
        raise Failure("INVALID_VALUE", "VCPUs-at-startup", str(count))
    if count > most:
        raise Failure("VALUE_NOT_SUPPORTED", "VCPUs-at-startup", str(count), "value greater than VCPUs-max")
    limits = [row[f"memory_{name}"] for name in ("static_min", "dynamic_min", "dynamic_max", "static_max")]
    if limits != sorted(limits) or not limits[-1]:
        raise Failure("MEMORY_CONSTRAINT_VIOLATION")


def _kind(row: Record) -> str:
    """Return how a VM's domain is built: old hosts go by HVM_boot_policy alone."""
    kind: str = row.get("domain_type", "unspecified")
    return kind if kind != "unspecified" else ("hvm" if row["HVM_boot_policy"] else "pv")


def _boot(ask: Ask, vm: str, row: Record) -> None:
    """Build the domain."""
    kind = _kind(row)
    if kind == "pv" and not ask.state.settings.product.paravirtual:
        raise Failure("INTERNAL_ERROR", "xenopsd internal error: Guest type PV unavailable")
    if kind == "hvm":
        _device_model(ask, vm, row)
        return
    if not row["PV_bootloader"]:
        for name in ("PV_kernel", "PV_ramdisk"):
            _in_dom0(ask, name, row[name], needed=name == "PV_kernel")
        return
    if row["PV_bootloader"] not in _BOOTLOADERS:
        # The datamodel has UNKNOWN_BOOTLOADER; what comes is xenopsd's own error.
        seen = f"VM = {row['uuid']}; domid = 1; Bootloader.Unknown_bootloader {row['PV_bootloader']}"
        raise Failure("INTERNAL_ERROR", f"xenopsd internal error: {seen}")
    _bootloader(ask, vm, row)


def _device_model(ask: Ask, vm: str, row: Record) -> None:
    """Begin an HVM guest: the firmware that is named, the boot order as QEMU reads it; a disk is not looked at."""
    params = row["HVM_boot_params"]
    if "domain_type" in row:  # releases before know no firmware, and one device model
        if (firmware := params.get("firmware", "bios")) not in {"bios", "uefi"}:
            raise Failure("INVALID_VALUE", "HVM-boot-params['firmware']", firmware)
        model = {"device-model": "qemu-upstream-compat" if firmware == "bios" else "qemu-upstream-uefi"}
        ask.db.set("VM", vm, platform=model | row["platform"])
    order = params.get("order", "cd")
    if not order or set(order) - set("acdn"):
        raise Failure("INTERNAL_ERROR", f"xenopsd internal error: Invalid boot device for '{order}'")


def _in_dom0(ask: Ask, name: str, path: str, *, needed: bool) -> None:
    """Refuse a kernel that dom0's guest folder does not have."""
    settings = ask.state.settings
    if not path and not needed:
        return
    if path not in settings.guest_files:
        raise Failure("INVALID_VALUE", name, path, "File does not exist")
    folder = settings.product.guest_folder
    if not path.startswith(folder):
        reason = f"Is not in any of the allowed kernel directories: [{folder}]"
        raise Failure("INVALID_VALUE", name, path, reason)


def _bootloader(ask: Ask, vm: str, row: Record) -> None:
    """Let the bootloader look at the bootable disk."""
    rows = [ask.db.record("VBD", one) for one in row["VBDs"]]
    bootable = [one["VDI"] for one in rows if one["bootable"] and one["VDI"] != NULL]
    if not bootable:
        raise Failure("INTERNAL_ERROR", "xenopsd internal error: there is no bootable device")
    if not ask.state.disks.used(bootable[0]):
        raise Failure("BOOTLOADER_FAILED", vm, "Unable to find partition containing kernel")
    look = ask.state.settings.bootloader
    wrong = (
        look(ask.state.disks.path(bootable[0]), row["PV_bootloader"], row["PV_bootloader_args"]) if look else ""
    )
    if wrong:
        raise Failure("BOOTLOADER_FAILED", vm, wrong)


def _run(ask: Ask, vm: str, row: Record, power: str) -> None:
    db = ask.db
    for one in row["VIFs"]:
        db.set("VIF", one, currently_attached=True)
    db.set(
        "VM_metrics",
        row["metrics"],
        start_time=now(),
        memory_actual=row["memory_dynamic_max"],
        VCPUs_number=row["VCPUs_at_startup"],
    )
    host = _home(ask, row)
    consoles.add(ask.state, vm, host)
    domain = max((db.get("VM", one, "domid") for one in db.all("VM")), default=0) + _DOMAIN
    db.set("VM", vm, power_state=power, resident_on=ask.state.hosts[host], domid=domain)
    if power == "Running":
        _begin(ask, vm, domain)


def _home(ask: Ask, row: Record) -> int:
    """Return the host, by number, that a VM starts on: the first that has the SRs of its disks."""
    disks = [ask.db.get("VBD", one, "VDI") for one in row["VBDs"]]
    places = [plugs(ask.state, ask.db.get("VDI", one, "SR")) for one in disks if one != NULL]
    return next((one for one in range(len(ask.state.hosts)) if all(one in seen for seen in places)), 0)


def _begin(ask: Ask, vm: str, domain: int) -> None:
    """Let a domain run: from now on its guest speaks, and may die."""
    ask.state.began[vm] = time.monotonic()
    if ask.state.settings.dies_after is not None:
        ask.state.later(ask.state.settings.dies_after, lambda: _die(ask, vm, domain))


def unpause(ask: Ask, vm: str) -> None:
    """VM.unpause."""
    expect(ask, vm, "Paused")
    ask.db.set("VM", vm, power_state="Running")
    _begin(ask, vm, ask.db.get("VM", vm, "domid"))


def _die(ask: Ask, vm: str, domain: int) -> None:
    if ask.db.has("VM", vm) and ask.db.get("VM", vm, "domid") == domain:
        halt(ask, vm)


def halt(ask: Ask, vm: str) -> None:
    """Take a domain away."""
    db = ask.db
    for one in db.get("VM", vm, "VBDs"):
        db.set("VBD", one, currently_attached=False, device="")
    for one in db.get("VM", vm, "VIFs"):
        db.set("VIF", one, currently_attached=False)
    for one in db.get("VM", vm, "consoles"):
        db.drop("console", one)
    db.set("VM", vm, power_state="Halted", resident_on=NULL, domid=-1)


def _stop(*states: str) -> object:
    def stop(ask: Ask, vm: str) -> None:
        expect(ask, vm, *states)
        halt(ask, vm)

    return stop


def _again(*states: str) -> object:
    def again(ask: Ask, vm: str) -> None:
        expect(ask, vm, *states)
        halt(ask, vm)
        start(ask, vm, start_paused=False, _force=False)

    return again


SERVED = {
    "VM.start": start,
    "VM.unpause": unpause,
    "VM.clean_shutdown": _stop("Running"),
    "VM.hard_shutdown": _stop("Paused", "Suspended", "Running"),
    "VM.shutdown": _stop("Paused", "Suspended", "Running"),
    "VM.clean_reboot": _again("Running"),
    "VM.hard_reboot": _again("Paused", "Running"),
}
