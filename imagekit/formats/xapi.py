"""A virtual machine as XAPI knows it, said once: the values of its fields, for an upload and for an XVA alike.

Fields, their types and defaults are those of xapi's datamodel (github.com/xapi-project/xen-api, ocaml/idl); how a
VM boots by them is in ocaml/xapi/helpers.ml, `boot_method_of_vm`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, TypeAlias, get_args

from imagekit.errors import RecipeError
from imagekit.formats import checks
from imagekit.recipe import devices

Value: TypeAlias = "str | bool | int | float | datetime | Sequence[Value] | Mapping[str, Value]"
"""A field's value. In XML-RPC xapi's integers are strings: `on_wire`."""

Fields: TypeAlias = dict[str, Value]

Kind = Literal["pv", "pvh", "hvm"]

NULL = "OpaqueRef:NULL"
"""The reference to nothing."""

NEVER = datetime(1970, 1, 1, tzinfo=UTC)
"""xapi's time of what has not happened."""

DIGEST = "imagekit:digest"
"""The key of `other_config` that holds the image's digest."""

# Mirage's PVH kernels need pages that cannot be executed, and PAE (xen-api #4952). An HVM guest is no Windows: its
# hypervisor's interface is Xen's, not Viridian's. The device model is left to the host: VM.start fills in its own.
_PLATFORMS: Mapping[Kind, Mapping[str, str]] = {
    "pv": {"pae": "true"},
    "pvh": {"nx": "true", "pae": "true"},
    "hvm": {"acpi": "1", "apic": "true", "nx": "true", "pae": "true", "viridian": "false"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """A network interface on the network of this name (its name_label), or of this bridge, `xenbr0` say.

    An empty `mac` is made up by the host. RecipeError if one of them cannot be meant.
    """

    network: str = ""
    bridge: str = ""
    mac: str = ""
    mtu: int = 1500

    def __post_init__(self) -> None:
        checks.line("network's name", self.network)
        checks.match("bridge", self.bridge or None, devices.BRIDGE, devices.BRIDGE_WORDS)
        checks.match("MAC address", self.mac or None, devices.MAC, devices.MAC_WORDS)
        if not (self.network or self.bridge):
            raise RecipeError("a network interface has no network", hint="name the network, or its bridge")
        if not 68 <= self.mtu <= 65535:  # noqa: PLR2004 -- RFC 791's least, and what the field of a packet holds
            raise RecipeError(f"an MTU of {self.mtu} is none", hint="68 to 65535 bytes; 1500 is usual")


@dataclass(frozen=True, slots=True, kw_only=True)
class Appliance:
    """A virtual machine with one disk. `memory` is in bytes.

    `pv` and `pvh` boot by a `bootloader` of the host, which takes the kernel off the disk; with an empty one, by
    `kernel` and `ramdisk`, paths in dom0. `hvm` boots by its BIOS. `cmdline` goes to the kernel. `platform` adds
    to the flags that the kind of guest needs. RecipeError names the field that cannot be meant.
    """

    name: str
    memory: int
    description: str = ""
    kind: Kind = "pv"
    vcpus: int = 1
    bootloader: str = "pygrub"
    kernel: str = ""
    ramdisk: str = ""
    cmdline: str = ""
    interfaces: tuple[Interface, ...] = ()
    platform: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    other_config: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        checks.one_of("kind of guest", self.kind, get_args(Kind))
        _check_texts(self)
        if not self.name.strip():
            raise RecipeError("the virtual machine has no name")
        if self.memory <= 0 or self.vcpus <= 0:
            raise RecipeError("a virtual machine has some memory and a vCPU at least")
        checks.distinct("tag", self.tags)
        if self.kind != "hvm" and bool(self.bootloader) == bool(self.kernel):
            raise RecipeError(
                "a virtual machine boots by a boot loader, or by a kernel in dom0",
                details=f"bootloader {self.bootloader!r}, kernel {self.kernel!r}",
                hint="leave one of them empty",
            )


def vm_fields(appliance: Appliance) -> Fields:
    """Return all that VM.create takes; xapi sets the rest."""
    hvm = appliance.kind == "hvm"
    return {
        **_texts(appliance),
        **_memory(appliance.memory),
        **_boot(appliance),
        **_policies(),
        "VCPUs_params": {},
        "VCPUs_max": appliance.vcpus,
        "VCPUs_at_startup": appliance.vcpus,
        # What a host without domain_type (before 2018) tells HVM from PV by.
        "HVM_boot_policy": "BIOS order" if hvm else "",
        "HVM_boot_params": {"order": "c", "firmware": "bios"} if hvm else {},
        "HVM_shadow_multiplier": 1.0,
        "domain_type": appliance.kind,
        "platform": {**_PLATFORMS[appliance.kind], **appliance.platform},
        "PCI_bus": "",
        "NVRAM": {},
        "hardware_platform_version": 0,
        "has_vendor_device": False,
    }


def vdi_fields(appliance: Appliance, sr: str, size: int) -> Fields:
    """Return all that VDI.create takes, for a disk of `size` bytes in the SR of this reference."""
    return {
        "name_label": f"{appliance.name} disk",
        "name_description": "",
        "SR": sr,
        "virtual_size": size,
        "type": "user",
        "sharable": False,
        "read_only": False,
        "other_config": _digest_of(appliance),
        "xenstore_data": {},
        "sm_config": {},
        "tags": list(appliance.tags),
    }


def vbd_fields(vm: str, vdi: str) -> Fields:
    """Return all that VBD.create takes: the disk that these two references boot by."""
    return {
        "VM": vm,
        "VDI": vdi,
        "device": "",
        "userdevice": "0",
        "bootable": True,
        "mode": "RW",
        "type": "Disk",
        "unpluggable": False,
        "empty": False,
        "currently_attached": False,
        "other_config": {"owner": "true"},  # `xe vm-uninstall` destroys the disk, too
        "qos_algorithm_type": "",
        "qos_algorithm_params": {},
    }


def vif_fields(vm: str, network: str, number: int, interface: Interface) -> Fields:
    """Return all that VIF.create takes, for the interface of this number, counted from 0."""
    return {
        "device": str(number),
        "network": network,
        "VM": vm,
        "MAC": interface.mac,
        "MTU": interface.mtu,
        "other_config": {},
        "currently_attached": False,
        "qos_algorithm_type": "",
        "qos_algorithm_params": {},
        "locking_mode": "network_default",
        "ipv4_allowed": [],
        "ipv6_allowed": [],
    }


def on_wire(value: Value) -> Value:
    """Return a value as XML-RPC has it: xapi writes integers as strings, and so reads them."""
    if isinstance(value, bool | float | datetime | str):
        return value
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Mapping):
        return {key: on_wire(one) for key, one in value.items()}
    return [on_wire(one) for one in value]


def _texts(appliance: Appliance) -> Fields:
    return {
        "name_label": appliance.name,
        "name_description": appliance.description,
        "user_version": 1,
        "is_a_template": False,
        "tags": list(appliance.tags),
        "other_config": dict(appliance.other_config),
        "xenstore_data": {},
        "blocked_operations": {},
        "recommendations": "",
        "reference_label": "",
    }


def _memory(size: int) -> Fields:
    """Return the limits of a guest without a balloon: all are one."""
    limits = ("static_min", "dynamic_min", "dynamic_max", "static_max", "target")
    return {f"memory_{limit}": size for limit in limits}


def _boot(appliance: Appliance) -> Fields:
    paravirtual = appliance.kind != "hvm"
    return {
        "PV_bootloader": appliance.bootloader if paravirtual else "",
        "PV_kernel": appliance.kernel if paravirtual else "",
        "PV_ramdisk": appliance.ramdisk if paravirtual else "",
        "PV_args": appliance.cmdline if paravirtual else "",
        "PV_bootloader_args": "",
        "PV_legacy_args": "",
    }


def _policies() -> Fields:
    """Return what happens when: a unikernel that ends has done its work; one that crashed would crash again."""
    return {
        "power_state": "Halted",
        "actions_after_softreboot": "soft_reboot",
        "actions_after_shutdown": "destroy",
        "actions_after_reboot": "restart",
        "actions_after_crash": "destroy",
        "suspend_VDI": NULL,
        "suspend_SR": NULL,
        "affinity": NULL,
        "appliance": NULL,
        "protection_policy": NULL,
        "is_snapshot_from_vmpp": False,
        "snapshot_schedule": NULL,
        "is_vmss_snapshot": False,
        "last_boot_CPU_flags": {},
        "last_booted_record": "",
        "ha_always_run": False,
        "ha_restart_priority": "",
        "start_delay": 0,
        "shutdown_delay": 0,
        "order": 0,
        "version": 0,
        "generation_id": "",
    }


def _digest_of(appliance: Appliance) -> Fields:
    return {key: value for key, value in appliance.other_config.items() if key == DIGEST}


def _check_texts(appliance: Appliance) -> None:
    """RecipeError for what XML cannot hold, or xapi would not keep as it is."""
    for what in ("name", "bootloader", "kernel", "ramdisk", "cmdline"):
        checks.line(f"virtual machine's {what}", getattr(appliance, what))
    for part in appliance.description.split("\n"):
        checks.line("virtual machine's description", part)
    for tag in appliance.tags:
        checks.line("tag", tag)
    for pairs in (appliance.platform, appliance.other_config):
        for key, value in pairs.items():
            checks.line("key", key)
            checks.line(f"value of {key}", value)
