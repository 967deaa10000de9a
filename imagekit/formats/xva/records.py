"""ova.xml: the records of a virtual machine, its disk, and what they refer to, as xapi exports them.

xapi reads a record field by field; one that is absent has its default only if the datamodel gives it one, and
hosts of other versions know other fields. So all fields are written, as an export has them; a host skips those
that it does not know.
Facts: xen-api, ocaml/xapi/importexport.ml (`header`), export.ml (what an export leaves out), import.ml (what is
looked up how), ocaml/idl/ocaml_backend/gen_api.ml (reading of records).
"""

from uuid import UUID, uuid5

from imagekit.formats import xapi
from imagekit.formats.xapi import NEVER, NULL, Appliance, Fields, Interface, Value
from imagekit.formats.xva import xmlrpc

VERSION = 2
"""export_vsn: checksums stand beside the chunks, and none at the end."""

_NAMESPACE = UUID("b7f6b7de-5a9c-5d3c-8c62-0a51d3f5f3c1")
_OPERATIONS: Fields = {"allowed_operations": [], "current_operations": {}}


def ova_xml(appliance: Appliance, digest: str, size: int) -> tuple[bytes, str]:
    """Return ova.xml, and the disk's reference in it, for a disk of `size` bytes whose image has this digest."""
    records = _Records(digest, appliance.name)
    disk = records.add_machine(appliance, size)
    header: Fields = {"version": _version(), "objects": records.objects}
    return xmlrpc.dump(header).encode(), disk


def _version() -> Fields:
    """Return who wrote it. A host refuses what an xapi newer than its own wrote: so it is the oldest."""
    return {
        "hostname": "localhost",
        "date": "2000-01-01",
        "product_version": "",
        "product_brand": "imagekit",
        "build_number": "",
        "xapi_major": 1,
        "xapi_minor": 0,
        "export_vsn": VERSION,
    }


class _Records:
    """The objects of an export: each has its class, a reference by number, and its fields."""

    def __init__(self, digest: str, name: str) -> None:
        self.objects: list[Value] = []
        self._seed = f"{digest} {name}"
        self._given = 0

    def add_machine(self, appliance: Appliance, size: int) -> str:
        """Add a machine and all that belongs to it; return its disk's reference."""
        machine, storage, vdi, vbd = (self._reference() for _ in range(4))
        networks: dict[tuple[str, str], list[str]] = {}
        vifs = [self._reference() for _ in appliance.interfaces]
        for vif, one in zip(vifs, appliance.interfaces, strict=True):
            networks.setdefault((one.network, one.bridge), []).append(vif)
        references = {names: self._reference() for names in networks}
        self._add("VM", machine, {**_machine(appliance), "VBDs": [vbd], "VIFs": list(vifs)})
        for number, (vif, one) in enumerate(zip(vifs, appliance.interfaces, strict=True)):
            self._add("VIF", vif, _interface(machine, references[one.network, one.bridge], number, one))
        for (name, bridge), users in networks.items():
            self._add("network", references[name, bridge], _network(name or bridge, bridge, users))
        self._add("VBD", vbd, _attachment(machine, vdi))
        self._add("VDI", vdi, {**_disk(appliance, storage, size), "VBDs": [vbd]})
        self._add("SR", storage, {**_storage(), "VDIs": [vdi]})
        return vdi

    def _reference(self) -> str:
        self._given += 1
        return f"Ref:{self._given - 1}"

    def _add(self, kind: str, reference: str, fields: Fields) -> None:
        uuid = str(uuid5(_NAMESPACE, f"{self._seed} {kind} {reference}"))
        self.objects.append({"class": kind, "id": reference, "snapshot": {"uuid": uuid, **_OPERATIONS, **fields}})


def _machine(appliance: Appliance) -> Fields:
    return {
        **xapi.vm_fields(appliance),
        "is_default_template": False,
        "resident_on": NULL,
        "scheduled_to_be_resident_on": NULL,
        "memory_overhead": 0,
        "consoles": [],
        "VUSBs": [],
        "crash_dumps": [],
        "VTPMs": [],
        "VGPUs": [],
        "attached_PCIs": [],
        "domid": -1,
        "domarch": "",
        "is_control_domain": False,
        "metrics": NULL,
        "guest_metrics": NULL,
        **_no_snapshot(),
        "transportable_snapshot_id": "",
        "snapshot_info": {},
        "snapshot_metadata": "",
        "parent": NULL,
        "children": [],
        "blobs": {},
        "bios_strings": {},
        "requires_reboot": False,
        "pending_guidances": [],
        "pending_guidances_recommended": [],
        "pending_guidances_full": [],
    }


def _disk(appliance: Appliance, storage: str, size: int) -> Fields:
    return {
        **xapi.vdi_fields(appliance, storage, size),
        "crash_dumps": [],
        "physical_utilisation": 0,
        "storage_lock": False,
        "location": "",
        "managed": True,
        "missing": False,
        "parent": NULL,
        **_no_snapshot(),
        "allow_caching": False,
        "on_boot": "persist",
        "metadata_of_pool": NULL,
        "metadata_latest": False,
        "is_tools_iso": False,
        "cbt_enabled": False,
    }


def _attachment(machine: str, disk: str) -> Fields:
    return {**xapi.vbd_fields(machine, disk), "storage_lock": False, **_plugged()}


def _interface(machine: str, network: str, number: int, interface: Interface) -> Fields:
    return {
        **xapi.vif_fields(machine, network, number, interface),
        **_plugged(),
        "MAC_autogenerated": not interface.mac,
        "ipv4_configuration_mode": "None",
        "ipv4_addresses": [],
        "ipv4_gateway": "",
        "ipv6_configuration_mode": "None",
        "ipv6_addresses": [],
        "ipv6_gateway": "",
    }


def _network(name: str, bridge: str, interfaces: list[str]) -> Fields:
    """Return a network, which the host looks up by its name, then by its bridge, and else makes."""
    return {
        "name_label": name,
        "name_description": "",
        "VIFs": list(interfaces),
        "PIFs": [],
        "MTU": 1500,
        "other_config": {},
        "bridge": bridge,
        "managed": True,
        "blobs": {},
        "tags": [],
        "default_locking_mode": "unlocked",
        "assigned_ips": {},
        "purpose": [],
    }


def _storage() -> Fields:
    """Return the SR of an export; of it the host asks only whether it holds CDs."""
    return {
        "name_label": "imagekit",
        "name_description": "",
        "PBDs": [],
        "virtual_allocation": 0,
        "physical_utilisation": 0,
        "physical_size": 0,
        "type": "file",
        "content_type": "user",
        "shared": False,
        "other_config": {},
        "tags": [],
        "sm_config": {},
        "blobs": {},
        "local_cache_enabled": False,
        "introduced_by": NULL,
        "clustered": False,
        "is_tools_sr": False,
    }


def _plugged() -> Fields:
    """Return what a device of a halted machine has."""
    return {
        "status_code": 0,
        "status_detail": "",
        "runtime_properties": {},
        "qos_supported_algorithms": [],
        "metrics": NULL,
    }


def _no_snapshot() -> Fields:
    return {"is_a_snapshot": False, "snapshot_of": NULL, "snapshots": [], "snapshot_time": NEVER}
