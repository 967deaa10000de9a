"""What ova.xml says of machines and disks, each field checked for its type."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from imagekit.errors import VerificationError
from imagekit.formats.xapi import NULL, Value

_LARGEST = 64 << 40  # bytes of a disk
_MOST_DISKS = 1024


@dataclass(frozen=True, slots=True)
class Version:
    """Who exported it: brand and version of the product, xapi's own, and the form of the export."""

    brand: str
    product: str
    xapi: tuple[int, int]
    export: int


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk: the reference that its chunks go by, name, UUID and bytes."""

    reference: str
    name: str
    uuid: str
    size: int


@dataclass(frozen=True, slots=True)
class Machine:
    """A virtual machine: `memory` in bytes; `kind` is empty in exports of before 2018; `disks` by reference.

    `networks` are the names of its interfaces' networks, in the devices' order as exported.
    """

    name: str
    description: str
    uuid: str
    kind: str
    memory: int
    vcpus: int
    bootloader: str
    kernel: str
    cmdline: str
    disks: tuple[str, ...]
    networks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """What an XVA says it holds; snapshots of machines are left out."""

    version: Version
    machines: tuple[Machine, ...]
    disks: tuple[Disk, ...]


def facts_of(header: Value) -> Facts:
    """Return what the header tells; VerificationError for what no export has."""
    struct = _struct(header, "ova.xml")
    objects = [_Object.of(one) for one in _array(struct, "objects")]
    known = {one.reference: one for one in objects}
    if len(known) != len(objects):
        raise VerificationError("ova.xml has two objects of one reference")
    disks = tuple(_disks(objects, known))
    if len(disks) > _MOST_DISKS:
        raise VerificationError(f"ova.xml has {len(disks)} disks: more than any machine's")
    held = {disk.reference for disk in disks}
    machines = (one for one in objects if one.kind == "VM" and one.fields.get("is_a_snapshot") is not True)
    return Facts(
        _version(_struct(_get(struct, "version", "ova.xml"), "version")),
        tuple(_machine(one, objects, known, held) for one in machines),
        disks,
    )


@dataclass(frozen=True, slots=True)
class _Object:
    kind: str
    reference: str
    fields: Mapping[str, Value]

    @classmethod
    def of(cls, value: Value) -> "_Object":
        struct = _struct(value, "an object")
        fields = _struct(_get(struct, "snapshot", "an object"), "an object's fields")
        return cls(_text(struct, "class"), _text(struct, "id"), fields)


def _disks(objects: Iterable[_Object], known: Mapping[str, _Object]) -> Iterable[Disk]:
    """Yield the disks whose data are in the stream: attached as disks, not on an SR of CDs; suspended memory."""
    attached = {
        _text(one.fields, "VDI") for one in objects if one.kind == "VBD" and _text(one.fields, "type") != "CD"
    }
    for one in known.values():
        if one.kind != "VDI":
            continue
        storage = known.get(_text(one.fields, "SR", NULL))
        on_cd = storage is not None and _text(storage.fields, "content_type", "") == "iso"
        if (one.reference in attached and not on_cd) or _text(one.fields, "type", "user") == "suspend":
            yield _disk(one)


def _disk(vdi: _Object) -> Disk:
    size = _integer(vdi.fields, "virtual_size")
    if not 0 <= size <= _LARGEST:
        raise VerificationError(f"ova.xml has a disk of {size} bytes")
    return Disk(vdi.reference, _text(vdi.fields, "name_label", ""), _text(vdi.fields, "uuid", ""), size)


def _machine(vm: _Object, objects: Iterable[_Object], known: Mapping[str, _Object], held: set[str]) -> Machine:
    own = [one for one in objects if one.kind in {"VBD", "VIF"} and _text(one.fields, "VM") == vm.reference]
    disks = (_text(one.fields, "VDI") for one in own if one.kind == "VBD")
    networks = (known.get(_text(one.fields, "network")) for one in own if one.kind == "VIF")
    fields = vm.fields
    return Machine(
        name=_text(fields, "name_label"),
        description=_text(fields, "name_description", ""),
        uuid=_text(fields, "uuid", ""),
        kind=_text(fields, "domain_type", ""),
        memory=_integer(fields, "memory_static_max"),
        vcpus=_integer(fields, "VCPUs_max"),
        bootloader=_text(fields, "PV_bootloader", ""),
        kernel=_text(fields, "PV_kernel", ""),
        cmdline=_text(fields, "PV_args", ""),
        disks=tuple(disk for disk in disks if disk in held),
        networks=tuple(_text(one.fields, "name_label", "") for one in networks if one is not None),
    )


def _version(struct: Mapping[str, Value]) -> Version:
    return Version(
        _text(struct, "product_brand", ""),
        _text(struct, "product_version", ""),
        (_integer(struct, "xapi_major"), _integer(struct, "xapi_minor")),
        _integer(struct, "export_vsn", 0),
    )


def _get(struct: Mapping[str, Value], name: str, where: str) -> Value:
    if name not in struct:
        raise VerificationError(f"{where} has no {name}")
    return struct[name]


def _struct(value: Value, what: str) -> Mapping[str, Value]:
    if not isinstance(value, Mapping):
        raise VerificationError(f"{what} is no struct")
    return value


def _array(struct: Mapping[str, Value], name: str) -> Iterable[Value]:
    value = _get(struct, name, "ova.xml")
    if not isinstance(value, list):
        raise VerificationError(f"ova.xml's {name} are no array")
    return value


def _text(struct: Mapping[str, Value], name: str, default: str | None = None) -> str:
    value = struct.get(name, default)
    if not isinstance(value, str):
        raise VerificationError(f"ova.xml has no text where {name} belongs")
    return value


def _integer(struct: Mapping[str, Value], name: str, default: int | None = None) -> int:
    text = _text(struct, name, None if default is None else str(default)).strip()
    if not text.lstrip("-").isascii() or not text.removeprefix("-").isdigit() or len(text) > len(str(1 << 64)):
        raise VerificationError(f"ova.xml has the number {text[:40]!r} for {name}")
    return int(text)
