"""PUT /import: an XVA. The objects of ova.xml are made, then the disks' chunks are read.

After ocaml/xapi/import.ml and stream_vdi.ml: ova.xml first, packed or not; chunks of a disk rise by name, the
first and the last are there, each is followed by its checksum.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.fakes.xapi import storage, tar, tasks
from tests.fakes.xapi.body import Body, ShortError
from tests.fakes.xapi.failure import Failure
from tests.fakes.xapi.handlers import Put, authorised, redirect, unanswered
from tests.fakes.xapi.http import GoneError
from tests.fakes.xapi.imports import attached
from tests.fakes.xapi.kinds import kind
from tests.fakes.xapi.ova import Objects

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
    objects = Objects(put, sr)
    try:
        _named(objects, body)
        if put.fault.kind in {"late", "code"}:
            raise put.fault.failure
    except Failure as failure:
        objects.undo()
        tasks.fail(put.state, put.task, failure)
        with suppress(OSError, GoneError):
            put.exchange.head(500, content_type="text/html")
        return
    with suppress(ShortError):
        body.skip(min(body.left, _DRAIN))
    if put.fault.kind != "pending":
        tasks.complete(put.state, put.task, tasks.text(kind("VM ref set"), objects.vms))


def _named(objects: Objects, body: Body) -> None:
    """Import, and give failures the names that xapi gives them."""
    try:
        source, text = _opened(body, zstd=not _old(objects.put))
        objects.make(text)
        chunks = Chunks(objects, source, body)
        for ident in sorted(set(objects.disks())):
            chunks.receive(ident)
    except (ShortError, GoneError):
        raise Failure("IMPORT_ERROR_PREMATURE_EOF") from None
    except (tar.TarError, ValueError, UnicodeError) as error:
        raise Failure(_GENERIC, f"INTERNAL_ERROR: [ {error} ]") from None


class Chunks:
    """Disks in pieces: files named by the disk's reference and a number, each with a checksum behind it."""

    def __init__(self, objects: Objects, source: tar.Source, body: Body) -> None:
        self._objects, self._source, self._body = objects, source, body
        self._state = objects.put.state
        self._first = -1

    def receive(self, ident: str) -> None:
        """Read a disk's chunks until its size is reached; numbers left out stand for zeros."""
        state, vdi = self._state, self._objects.table[ident]
        size, at, last = self._objects.find(ident)["virtual_size"], 0, "-1"
        with attached(state, vdi, self._body), _opened_disk(state.disks.path(vdi)) as disk:
            while at < size:
                chunk = tar.following(self._source)
                suffix = _suffix(chunk.name, ident, last)
                self._first = chunk.size if self._first < 0 else self._first
                at += self._first * (int(suffix) - int(last) - 1)
                self._write(disk, chunk, at, state.db.get("VDI", vdi, "virtual_size"))
                at += chunk.size
                last = suffix
        storage.measure(state, self._objects.sr)

    def _write(self, disk: int, chunk: tar.Member, at: int, size: int) -> None:
        data = self._source.read(chunk.size)
        if at + len(data) > size:
            raise Failure("VDI_IO_ERROR", "Device I/O error")
        if data.strip(b"\0"):
            os.pwrite(disk, data, at)
        self._source.read(chunk.padding)
        if self._objects.inline:
            self._check(chunk, data)

    def _check(self, chunk: tar.Member, data: bytes) -> None:
        """Read the checksum that follows a chunk."""
        check = tar.following(self._source)
        stem, _, extension = check.name.rpartition(".")
        if stem != chunk.name or extension not in (
            {"checksum"} if _old(self._objects.put) else {"checksum", "xxhash"}
        ):
            raise ValueError(f"Found unsupported checksum file: {check.name}")
        given = self._source.read(check.size).decode("latin-1")
        self._source.read(check.padding)
        ours = _xxhash(data) if extension == "xxhash" else hashlib.sha1(data, usedforsecurity=False).hexdigest()
        if given != ours and self._objects.put.exchange.query.get("force") != "true":
            raise ValueError(f"Block {chunk.name} checksum failed: original = {given}; recomputed = {ours}")


def _old(put: Put) -> bool:
    """Tell whether a host knows gzip and SHA-1 alone."""
    return put.state.settings.product.release == "creedence"


def _suffix(name: str, ident: str, last: str) -> str:
    """Return a chunk's number, as it is written."""
    if not name.startswith(ident):
        raise ValueError(f"Expected VDI chunk prefixed {ident}; got {name}")
    suffix = name[len(ident) + 1 :]
    if suffix <= last or not suffix.isdigit():
        raise ValueError(f"Expected VDI chunk suffix to have increased; last = {last}; this = {suffix}")
    return suffix


def _opened(body: Body, *, zstd: bool) -> tuple[tar.Source, bytes]:
    """Return the stream behind ova.xml, unpacked, and its text."""
    first = body.read(tar.BLOCK)
    source: tar.Source = body
    try:
        member = tar.member(first)
    except tar.TarError:
        source = tar.Unpacked(body, first, zstd=zstd and first.startswith(tar.ZSTD))
        member = tar.following(source)
    if member.name != "ova.xml":
        raise Failure("IMPORT_ERROR_UNEXPECTED_FILE", "ova.xml", member.name)
    text = source.read(member.size)
    source.read(member.padding)
    return source, text


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
