"""PUT /import: an XVA. The objects of ova.xml are made, then the disks' chunks are read, in xapi's own order.

After ocaml/xapi/import.ml and stream_vdi.ml: ova.xml first, records complete by the datamodel, references that lead
somewhere; chunks of a disk rise by name, the first is there, each is followed by its checksum.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from xml.parsers.expat import ExpatError
from xmlrpc.client import ResponseError, loads

from tests.fakes.xapi import devices, machines, storage, tar, tasks
from tests.fakes.xapi.body import Body, ShortError
from tests.fakes.xapi.failure import Failure
from tests.fakes.xapi.handlers import Put, authorised, redirect, unanswered
from tests.fakes.xapi.http import GoneError
from tests.fakes.xapi.imports import attached
from tests.fakes.xapi.kinds import NULL, Record, kind

_VERSION = ("hostname", "date", "product_version", "product_brand", "build_number", "xapi_major", "xapi_minor")
_ORDER = ("host", "SR", "VDI", "VM_guest_metrics", "VM_metrics", "VM", "network", "VBD", "VIF")
_DRAIN = 1 << 20
# How xapi names a failure that it has no code for.
_GENERIC = "IMPORT_ERROR_GENERIC"


def upload(put: Put) -> None:
    """Import a VM."""
    if not authorised(put, "VM.import"):
        return
    try:
        sr = _sr(put)
    except Failure:
        unanswered(put)
        return
    if redirect(put, sr):
        return
    if put.state.db.get("SR", sr, "content_type") == "iso":
        _refuse(put, 400, Failure("SR_OPERATION_NOT_SUPPORTED", sr))
    elif "transfer-encoding" in put.exchange.headers:
        _refuse(put, 403, Failure("IMPORT_ERROR_CANNOT_HANDLE_CHUNKED"))
    else:
        put.exchange.head(200, task_id=put.task, content_type="application/octet-stream")
        _take(put, sr)


def _refuse(put: Put, status: int, failure: Failure) -> None:
    tasks.fail(put.state, put.task, failure)
    put.exchange.head(status)


def _sr(put: Put) -> str:
    query, db = put.exchange.query, put.state.db
    if "sr_id" in query:
        return query["sr_id"]
    if "sr_uuid" in query:
        return db.by_uuid("SR", query["sr_uuid"])
    default: str = db.get("pool", put.state.pool, "default_SR")
    if not db.has("SR", default):
        raise Failure("DEFAULT_SR_NOT_FOUND", default)
    return default


def _take(put: Put, sr: str) -> None:
    """Read the body, end the task; what was made goes away again on a failure."""
    body = Body(put.exchange, put.fault)
    made = Import(put, sr, body)
    try:
        vms = _named(made)
        if put.fault.kind in {"late", "code"}:
            made.undo()
            raise put.fault.failure
    except Failure as failure:
        tasks.fail(put.state, put.task, failure)
        with suppress(OSError, GoneError):
            put.exchange.head(500, content_type="text/html")
        return
    with suppress(ShortError):
        body.skip(min(body.left, _DRAIN))
    if put.fault.kind != "pending":
        tasks.complete(put.state, put.task, tasks.text(kind("VM ref set"), vms))


def _named(made: "Import") -> list[str]:
    """Import, and give failures the names that xapi gives them."""
    try:
        return made.run()
    except (ShortError, GoneError):
        made.undo()
        raise Failure("IMPORT_ERROR_PREMATURE_EOF") from None
    except (tar.TarError, ValueError, UnicodeError) as error:
        made.undo()
        raise Failure(_GENERIC, f"INTERNAL_ERROR: [ {error} ]") from None
    except Failure:
        made.undo()
        raise


@dataclass
class Import:
    """One import on its way: references in the export, and what they are here."""

    put: Put
    sr: str
    body: Body
    table: dict[str, str] = field(default_factory=dict)
    objects: dict[str, Record] = field(default_factory=dict)
    vms: list[str] = field(default_factory=list)
    cleanup: list[Callable[[], object]] = field(default_factory=list)
    first: int = -1

    def run(self) -> list[str]:
        """Return the VMs that were made."""
        source, text = _opened(self.body)
        header = _value(text)
        self._compatible(header)
        self._objects(header)
        with self.put.state.db.lock:
            for table in _ORDER:
                for ident, row in [(key, one) for key, one in self.objects.items() if one["class"] == table]:
                    self._make(table, ident, row["snapshot"])
        inline = int(header["version"].get("export_vsn", 0)) > 0
        for ident in sorted(self._disks()):
            self._disk(source, ident, inline=inline)
        return self.vms

    def undo(self) -> None:
        """Take away what was made."""
        with self.put.state.db.lock:
            for one in reversed(self.cleanup):
                with suppress(Failure):
                    one()
        self.cleanup.clear()

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

    def _field(self, what: object, value: object, name: str) -> object:
        try:
            return self.put.state.model.wire.read(what, value)  # type: ignore[arg-type]
        except Failure as failure:
            raise ValueError(f"{name}: {failure.params[0]}") from None

    def _lookup(self, ident: str) -> str:
        if ident not in self.table:
            raise Failure("IMPORT_ERROR_FAILED_TO_FIND_OBJECT", ident)
        return self.table[ident]

    def _find(self, ident: str) -> Record:
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
            case "VDI" if self._find(row["SR"])["content_type"] != "iso":
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
        destroy = {
            "VDI": storage.destroy,
            "VM": machines.destroy,
            "VBD": devices.destroy_vbd,
            "VIF": devices.destroy_vif,
            "network": devices.destroy_network,
        }[table]
        self.cleanup.append(lambda: destroy(self.put.ask, ref))

    def _disks(self) -> Iterator[str]:
        """Yield the VDIs whose chunks are to come."""
        for one in self.objects.values():
            row = one["snapshot"]
            if one["class"] == "VBD" and row["type"] != "CD":
                disk = self._find(row["VDI"])
                if self._find(disk["SR"])["content_type"] != "iso" and row["VDI"] in self.table:
                    yield row["VDI"]

    def _disk(self, source: tar.Source, ident: str, *, inline: bool) -> None:
        """Read a disk's chunks until its size is reached."""
        state, vdi = self.put.state, self.table[ident]
        size, at, last = self._find(ident)["virtual_size"], 0, "-1"
        with attached(state, vdi, self.body), _opened_disk(state.disks.path(vdi)) as disk:
            while at < size:
                chunk = tar.following(source)
                suffix = self._suffix(chunk.name, ident, last)
                self.first = chunk.size if self.first < 0 else self.first
                at += self.first * (int(suffix) - int(last) - 1)
                data = source.read(chunk.size)
                if at + len(data) > state.db.get("VDI", vdi, "virtual_size"):
                    raise Failure("VDI_IO_ERROR", "Device I/O error")
                if data.strip(b"\0"):
                    os.pwrite(disk, data, at)
                source.read(chunk.padding)
                if inline:
                    self._check(source, chunk, data)
                at += chunk.size
                last = suffix
        storage.measure(state, self.sr)

    @staticmethod
    def _suffix(name: str, ident: str, last: str) -> str:
        if not name.startswith(ident):
            raise ValueError(f"Expected VDI chunk prefixed {ident}; got {name}")
        suffix = name[len(ident) + 1 :]
        if suffix <= last or not suffix.isdigit():
            raise ValueError(f"Expected VDI chunk suffix to have increased; last = {last}; this = {suffix}")
        return suffix

    def _check(self, source: tar.Source, chunk: tar.Member, data: bytes) -> None:
        """Read the checksum that follows a chunk."""
        check = tar.following(source)
        stem, _, extension = check.name.rpartition(".")
        old = self.put.state.settings.product.release == "creedence"
        if stem != chunk.name or extension not in ({"checksum"} if old else {"checksum", "xxhash"}):
            raise ValueError(f"Found unsupported checksum file: {check.name}")
        given = source.read(check.size).decode("latin-1")
        source.read(check.padding)
        ours = _xxhash(data) if extension == "xxhash" else hashlib.sha1(data, usedforsecurity=False).hexdigest()
        if given != ours and self.put.exchange.query.get("force") != "true":
            raise ValueError(f"Block {chunk.name} checksum failed: original = {given}; recomputed = {ours}")


def _opened(body: Body) -> tuple[tar.Source, bytes]:
    """Return the stream behind ova.xml, unpacked, and its text."""
    first = body.read(tar.BLOCK)
    source: tar.Source = body
    try:
        member = tar.member(first)
    except tar.TarError:
        source = tar.Unpacked(body, first, zstd=first.startswith(tar.ZSTD))
        member = tar.following(source)
    if member.name != "ova.xml":
        raise Failure("IMPORT_ERROR_UNEXPECTED_FILE", "ova.xml", member.name)
    text = source.read(member.size)
    source.read(member.padding)
    return source, text


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


@contextmanager
def _opened_disk(path: os.PathLike[str]) -> Iterator[int]:
    disk = os.open(path, os.O_RDWR)
    try:
        yield disk
    finally:
        os.close(disk)


def _xxhash(data: bytes) -> str:
    from xxhash import xxh64_hexdigest  # noqa: PLC0415 -- for those who use it

    return str(xxh64_hexdigest(data)).upper()
