"""ova.xml: an XVA's objects, read by the datamodel and made anew, in xapi's own order (ocaml/xapi/import.ml)."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from xml.parsers.expat import ExpatError
from xmlrpc.client import ResponseError, loads

from tests.fakes.xapi import devices, machines, storage
from tests.fakes.xapi.failure import Failure
from tests.fakes.xapi.handlers import Put
from tests.fakes.xapi.kinds import NULL, Kind, Record, Value

_VERSION = ("hostname", "date", "product_version", "product_brand", "build_number", "xapi_major", "xapi_minor")
_ORDER = ("host", "SR", "VDI", "VM_guest_metrics", "VM_metrics", "VM", "network", "VBD", "VIF")
_DESTROY: dict[str, Callable[..., object]] = {
    "VDI": storage.destroy,
    "VM": machines.destroy,
    "VBD": devices.destroy_vbd,
    "VIF": devices.destroy_vif,
    "network": devices.destroy_network,
}


@dataclass
class Objects:
    """The export's objects by their references there, and by these the references here."""

    put: Put
    sr: str
    table: dict[str, str] = field(default_factory=dict)
    objects: dict[str, Record] = field(default_factory=dict)
    vms: list[str] = field(default_factory=list)
    inline: bool = False
    _cleanup: list[Callable[[], object]] = field(default_factory=list)

    def make(self, text: bytes) -> None:
        """Read ova.xml and make what it holds."""
        header = _value(text)
        self._compatible(header)
        self._objects(header)
        self.inline = int(header["version"].get("export_vsn", 0)) > 0
        with self.put.state.db.lock:
            for table in _ORDER:
                for ident, row in [(key, one) for key, one in self.objects.items() if one["class"] == table]:
                    self._make(table, ident, row["snapshot"])

    def undo(self) -> None:
        """Take away what was made."""
        with self.put.state.db.lock:
            for one in reversed(self._cleanup):
                with suppress(Failure):
                    one()
        self._cleanup.clear()

    def _compatible(self, header: Record) -> None:
        version = header.get("version")
        if not isinstance(version, dict) or (missing := [one for one in _VERSION if one not in version]):
            raise ValueError(f"Failed to find key '{missing if isinstance(version, dict) else 'version'}'")
        ours = self.put.state.settings.product.xapi
        if (int(version["xapi_major"]), int(version["xapi_minor"])) > ours:
            raise Failure("IMPORT_INCOMPATIBLE_VERSION")

    def _objects(self, header: Record) -> None:
        for one in header["objects"]:
            if not isinstance(one, dict) or {"class", "id", "snapshot"} - set(one):
                raise ValueError("an object wants class, id and snapshot")
            known = self.put.state.model.classes.get(one["class"])
            snapshot = self._read(known.fields, one["snapshot"], one["class"]) if known else one["snapshot"]
            self.objects[one["id"]] = {"class": one["class"], "snapshot": snapshot}

    def _read(self, fields: Record, record: Record, table: str) -> Record:
        """Read a record as xapi unmarshals it: a field without default must be there."""
        read: Record = {}
        for name, one in fields.items():
            if name in record:
                read[name] = self._field(one.kind, record[name], f"{table}.{name}")
            elif one.required and not (one.kind.name == "set" and one.kind.inner.name == "ref"):
                raise ValueError(f"Field {name} not present in rpc ({table})")
            else:
                read[name] = one.default
        return read

    def _field(self, what: Kind, value: Value, name: str) -> Value:
        try:
            return self.put.state.model.wire.read(what, value)
        except Failure as failure:
            raise ValueError(f"{name}: {failure.params[0]}") from None

    def _lookup(self, ident: str) -> str:
        """Return the reference here."""
        if ident not in self.table:
            raise Failure("IMPORT_ERROR_FAILED_TO_FIND_OBJECT", ident)
        return self.table[ident]

    def find(self, ident: str) -> Record:
        """Return a record of the export."""
        if ident not in self.objects:
            raise Failure("IMPORT_ERROR_FAILED_TO_FIND_OBJECT", ident)
        record: Record = self.objects[ident]["snapshot"]
        return record

    def _make(self, table: str, ident: str, row: Record) -> None:
        ask, db = self.put.ask, self.put.state.db
        match table:
            case "host":
                known = db.where("host", "uuid", row["uuid"])
                self.table[ident] = known[0] if known else NULL
            case "SR" if row["content_type"] != "iso":
                self.table[ident] = self.sr
            case "VDI" if self.find(row["SR"])["content_type"] != "iso":
                config = row["sm_config"] | {"import_task": self.put.task}
                given = self._given("VDI", row) | {"SR": self._lookup(row["SR"]), "sm_config": config}
                self._made(ident, "VDI", storage.create(ask, given))
            case "VM":
                self._vm(ident, row)
            case "network":
                found = db.where("network", "name_label", row["name_label"]) or db.where(
                    "network", "bridge", row["bridge"]
                )
                self.table[ident] = found[0] if found else ""
                if not found:
                    self._made(ident, "network", devices.create_network(ask, self._given("network", row)))
            case "VBD":
                self._vbd(ident, row)
            case "VIF":
                address = row["MAC"] if self.put.exchange.query.get("restore") == "true" else ""
                given = self._given("VIF", row) | {
                    "VM": self._lookup(row["VM"]),
                    "network": self._lookup(row["network"]),
                    "MAC": address,
                    "currently_attached": False,
                }
                self._made(ident, "VIF", devices.create_vif(ask, given))

    def _vm(self, ident: str, row: Record) -> None:
        other = {
            key: value for key, value in row["other_config"].items() if key not in {"mac_seed", "default_template"}
        }
        given = self._given("VM", row) | {"other_config": other, "affinity": NULL, "power_state": "Halted"}
        vm = machines.create(self.put.ask, given)
        self._made(ident, "VM", vm)
        self.vms.append(vm)

    def _vbd(self, ident: str, row: Record) -> None:
        vm, held = self._lookup(row["VM"]), row["VDI"] in self.table
        if row["currently_attached"] and not held and row["type"] != "CD":
            raise Failure("IMPORT_ERROR_ATTACHED_DISKS_NOT_FOUND")
        if row["type"] == "Disk" and not held:
            return
        given = self._given("VBD", row) | {"VM": vm, "VDI": self.table.get(row["VDI"], NULL)}
        self._made(ident, "VBD", devices.create_vbd(self.put.ask, given | {"empty": not held}))

    def _given(self, table: str, row: Record) -> Record:
        return {one.name: row[one.name] for one in self.put.state.model.classes[table].constructor}

    def _made(self, ident: str, table: str, ref: str) -> None:
        self.table[ident] = ref
        destroy = _DESTROY[table]
        self._cleanup.append(lambda: destroy(self.put.ask, ref))

    def disks(self) -> Iterator[str]:
        """Yield the VDIs whose chunks are to come."""
        for one in self.objects.values():
            row = one["snapshot"]
            if one["class"] == "VBD" and row["type"] != "CD":
                disk = self.find(row["VDI"])
                if self.find(disk["SR"])["content_type"] != "iso" and row["VDI"] in self.table:
                    yield row["VDI"]


def _value(text: bytes) -> Record:
    """Read ova.xml, a value of XML-RPC with nothing around it."""
    start = text.find(b"<value>")
    whole = b"<methodResponse><params><param>" + text[start:] + b"</param></params></methodResponse>"
    try:
        (value,), _ = loads(whole)
    except (ExpatError, ResponseError, TypeError, LookupError, AttributeError) as error:
        raise ValueError(f"ova.xml: {error}") from None
    if start < 0 or not isinstance(value, dict) or not isinstance(value.get("objects"), list):
        raise ValueError("ova.xml: no version and objects")
    return value
