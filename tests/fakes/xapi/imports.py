"""PUT /import_raw_vdi and GET /export_raw_vdi: 200 comes first, and only the task tells how it went."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial

from tests.fakes.xapi import storage, tasks, vhd
from tests.fakes.xapi.body import Body, ShortError
from tests.fakes.xapi.failure import Failure
from tests.fakes.xapi.faults import Fault
from tests.fakes.xapi.handlers import Put, authorised, redirect, unanswered
from tests.fakes.xapi.http import GoneError
from tests.fakes.xapi.kinds import NULL, kind
from tests.fakes.xapi.state import State

_BLOCK = 2 << 20
_PATIENCE = 5.0
_IO_ERROR = Failure("VDI_IO_ERROR", "Device I/O errors")


def upload(put: Put) -> None:
    """Import raw data or a VHD into a VDI."""
    if not authorised(put, "VDI.import"):
        return
    query, state = put.exchange.query, put.state
    try:
        vdi = _vdi(state, query["vdi"]) if "vdi" in query else ""
    except Failure:
        unanswered(put)  # the task is not told: it stays pending
        return
    sr = state.db.get("VDI", vdi, "SR") if vdi else _sr(state, query)
    if not sr:
        tasks.fail(state, put.task, Failure("VDI_MISSING"))
        put.exchange.head(400)
        return
    if redirect(put, sr):
        return
    refused = _refused(put, vdi)
    if refused:
        status, why = refused
        tasks.fail(state, put.task, Failure("INTERNAL_ERROR", why))
        put.exchange.head(status)
        return
    _take(put, vdi or _made(put, sr))


def _refused(put: Put, vdi: str) -> tuple[int, str] | None:
    """Return the status and the task's error of what is not taken at all."""
    query, exchange = put.exchange.query, put.exchange
    name = query.get("format", "raw").lower()
    if name not in {"raw", "vhd"}:
        return 404, f"Unknown format {name}"
    if name != "raw" and "chunked" in query:
        return 404, "Cannot handle chunked VHD"
    if "transfer-encoding" in exchange.headers:
        return 404, f"Cannot handle encoding: {exchange.headers['transfer-encoding']}"
    if not vdi and name == "vhd":
        return 400, "Importing a VHD directly into an SR not yet supported"
    if not vdi and exchange.length is None:
        return 400, "Not enough info supplied to import"
    return None


def _take(put: Put, vdi: str) -> None:
    """Say 200, read the body, end the task."""
    state, fault = put.state, put.fault
    put.exchange.head(200, task_id=put.task, content_type="application/octet-stream")
    body = Body(put.exchange, fault)
    try:
        if fault.kind == "code":
            raise fault.failure
        with attached(state, vdi, body):
            _store(put, body, vdi)
        if fault.kind == "late":
            raise fault.failure
    except Failure as failure:
        if body.cut:
            # Nobody has noticed yet.
            state.later(state.settings.release_after, partial(tasks.fail, state, put.task, failure))
            raise GoneError from None
        tasks.fail(state, put.task, failure)
        with suppress(OSError):  # what an HTTP client sees after the 200 that it already has
            put.exchange.head(400)
            put.exchange.head(500, content_type="text/html")
        return
    if fault.kind != "pending":
        tasks.complete(state, put.task, tasks.text(kind("VDI ref"), vdi))


def _store(put: Put, body: Body, vdi: str) -> None:
    """Write the body to the VDI's disk, as far as the SR has room."""
    state = put.state
    size, sr = state.db.get("VDI", vdi, "virtual_size"), state.db.get("VDI", vdi, "SR")
    room = storage.left(state, sr) + state.disks.used(vdi)
    disk = os.open(state.disks.path(vdi), os.O_RDWR)
    try:
        _receive(put, body, disk, size, vdi)
        _lie(put.fault, disk, size)
        if state.disks.used(vdi) > room and not storage.settings_of(state, sr).thick:
            os.ftruncate(disk, 0)
            os.ftruncate(disk, size)
            raise _IO_ERROR
    except (vhd.VhdError, ShortError):
        raise _IO_ERROR from None
    finally:
        os.close(disk)
        storage.measure(state, sr)
    if body.left > 0:
        state.complaints.append(f"import_raw_vdi: {body.left} bytes more than were read")


def _receive(put: Put, body: Body, disk: int, size: int, vdi: str) -> None:
    state = put.state
    fresh = not state.disks.used(vdi)
    if put.exchange.query.get("format", "raw").lower() == "raw":
        _raw(body, disk, size, fresh=fresh, blocks=state.settings.product.reads_blocks)
    elif storage.writes_zeros(state, vdi):
        raise vhd.VhdError("unimplemented: prezeroed")
    else:
        vhd.receive(body, disk, size, state.complaints.append, fresh=fresh)


def _raw(body: Body, disk: int, size: int, *, fresh: bool, blocks: bool) -> None:
    """Copy exactly Content-Length bytes; an old host reads to the end of its 2 MiB block."""
    length = size if body.length is None else body.length
    if not length:
        raise vhd.VhdError("Non-zero size required")
    if blocks:
        length = -(-length // _BLOCK) * _BLOCK
    buffer = bytearray(_BLOCK)
    zeros = bytes(_BLOCK)
    at = 0
    while at < length:
        view = memoryview(buffer)[: min(_BLOCK, length - at)]
        body.into(view)
        if at + len(view) > size:
            raise vhd.VhdError("write past the end of the device")
        # A bytearray is compared by memcmp, a memoryview byte by byte.
        if not fresh or len(view) < _BLOCK or buffer != zeros:
            os.pwrite(disk, view, at)
        at += len(view)


def _lie(fault: Fault, disk: int, size: int) -> None:
    """Lose what was written."""
    if fault.kind == "lie":
        os.ftruncate(disk, fault.bytes)
        os.ftruncate(disk, size)


@contextmanager
def attached(state: State, vdi: str, body: Body) -> Iterator[None]:
    """Keep a VDI plugged into dom0; when the client went away, a while longer than it thinks."""
    until = time.monotonic() + _PATIENCE
    while not (vbd := _plugged(state, vdi)):
        if time.monotonic() > until:
            raise Failure("VDI_IN_USE", vdi)
        time.sleep(0.02)
    try:
        yield
    except GoneError:
        raise _IO_ERROR from None
    finally:
        if body.cut:
            state.later(state.settings.release_after, lambda: _unplug(state, vbd))
        else:
            _unplug(state, vbd)


def _plugged(state: State, vdi: str) -> str:
    """Return the VBD; nothing as long as another has the VDI."""
    with state.db.lock:
        state.settle()
        others = state.db.get("VDI", vdi, "VBDs")
        if any(state.db.get("VBD", one, "currently_attached") for one in others):
            return ""
        return state.db.add(
            "VBD", VM=state.dom0, VDI=vdi, userdevice="autodetect", mode="RW", type="Disk", currently_attached=True
        )


def _unplug(state: State, vbd: str) -> None:
    if state.db.has("VBD", vbd):
        state.db.drop("VBD", vbd)


def _vdi(state: State, name: str) -> str:
    """Return a VDI by reference or UUID."""
    return name if state.db.has("VDI", name) else state.db.by_uuid("VDI", name)


def _sr(state: State, query: dict[str, str]) -> str:
    if "sr_uuid" in query:
        return state.db.by_uuid("SR", query["sr_uuid"])
    named = query.get("sr_id", NULL)
    return named if state.db.has("SR", named) else ""


def _made(put: Put, sr: str) -> str:
    """Make the VDI of an import that names an SR."""
    given = {
        "name_label": "Imported VDI",
        "SR": sr,
        "virtual_size": put.exchange.length or 0,
        "type": "user",
        "other_config": {},
    }
    with put.state.db.lock:
        return storage.create(put.ask, given)


def download(put: Put) -> None:
    """Export a VDI, raw or as VHD."""
    if not authorised(put, "VDI.export_raw"):
        return
    state, query = put.state, put.exchange.query
    try:
        vdi = _vdi(state, query.get("vdi", ""))
    except Failure:
        unanswered(put)
        return
    if redirect(put, state.db.get("VDI", vdi, "SR")):
        return
    name = query.get("format", "raw").lower()
    if name not in {"raw", "vhd"}:
        tasks.fail(state, put.task, Failure("INTERNAL_ERROR", f"Unknown format {name}"))
        put.exchange.head(404)
        return
    put.exchange.head(200, task_id=put.task, content_type="application/octet-stream")
    if put.fault.kind == "code":
        tasks.fail(state, put.task, put.fault.failure)
        return
    with open(state.disks.path(vdi), "rb") as disk:
        size = state.db.get("VDI", vdi, "virtual_size")
        pieces = vhd.export(disk.fileno(), size) if name == "vhd" else iter(lambda: disk.read(_BLOCK), b"")
        for piece in pieces:
            put.exchange.socket.sendall(piece)
    tasks.complete(state, put.task)
