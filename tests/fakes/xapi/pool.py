"""A pool of hosts with xapi, on loopback over TLS: strict, scriptable, and all its data in a folder.

    with Pool(folder, Settings(product=XCP_NG_8_2, faults=("VDI.create 1 SR_FULL",))) as pool:
        XenAPI.Session(pool.url, …).login_with_password(pool.settings.user, pool.settings.password)

What is xapi's own and what is left out: README.md beside this file.
"""

import errno
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from tests.fakes.xapi import calls, consoles, imports, rpc, xva
from tests.fakes.xapi.certificate import identity
from tests.fakes.xapi.database import Database
from tests.fakes.xapi.disks import Disks
from tests.fakes.xapi.failure import Failure
from tests.fakes.xapi.faults import AFTER, NONE, STREAM, Fault, Script
from tests.fakes.xapi.handlers import Put
from tests.fakes.xapi.http import Exchange, GoneError, Listener
from tests.fakes.xapi.kinds import Record, Value
from tests.fakes.xapi.model import Model
from tests.fakes.xapi.populate import populate
from tests.fakes.xapi.settings import Settings
from tests.fakes.xapi.state import Call, State

_TRIES = 50
_HANDLERS = {
    ("PUT", "/import_raw_vdi"): imports.upload,
    ("PUT", "/import"): xva.upload,
    ("GET", "/export_raw_vdi"): imports.download,
    ("CONNECT", "/console"): consoles.follow,
}


class Pool:
    """The pool; its first host is the master. Certificates, disks: in the folder."""

    def __init__(self, folder: Path, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        model = Model(self.settings.product.release)
        folder.mkdir(exist_ok=True)
        script = Script(self.settings.faults)
        self.state = State(self.settings, folder, model, Database(model), Disks(folder / "disks"), script)
        populate(self.state)
        self.identities = [identity(folder, one.address) for one in self.settings.hosts]
        self.state.certificates = [one.pem.read_text() for one in self.identities]
        self._listeners = self._listen()
        self.port = self._listeners[0].port

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving; the folder stays."""
        for one in self._listeners:
            one.close()

    # Where the pool is, and who it is.

    @property
    def url(self) -> str:
        """The master's address."""
        return self.host_url(0)

    def host_url(self, host: int) -> str:
        """Return a host's address; what it tells clients has no brackets, and no port."""
        address = self.settings.hosts[host].address
        return f"https://[{address}]:{self.port}" if ":" in address else f"https://{address}:{self.port}"

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the master's certificate, AB:CD:…"""
        return self.identities[0].fingerprint

    @property
    def ca_pem(self) -> Path:
        """The file with the master's certificate, to be trusted."""
        return self.identities[0].pem

    # What was asked, and what is there.

    @property
    def calls(self) -> list[Call]:
        """Every call that was answered, or broken."""
        return list(self.state.calls)

    @property
    def complaints(self) -> list[str]:
        """What xapi takes without a word, and no client should send."""
        return list(self.state.complaints)

    @property
    def connections(self) -> int:
        """How many were ever opened."""
        return sum(one.connections for one in self._listeners)

    def names(self) -> list[str]:
        """Return the names of all calls, in their order."""
        return [one.name for one in self.state.calls]

    def fault(self, *lines: str) -> None:
        """Add faults to the script, calls counted from now."""
        self.state.script.add(*lines)

    def vdis(self) -> list[Record]:
        """Return the records of all VDIs, each with its `ref`."""
        return self._records("VDI")

    def vms(self) -> list[Record]:
        """Return the records of all VMs but templates and dom0."""
        return [one for one in self._records("VM") if not one["is_a_template"] and not one["is_control_domain"]]

    def vbds(self) -> list[Record]:
        """Return the records of all VBDs, dom0's too."""
        return self._records("VBD")

    def vifs(self) -> list[Record]:
        """Return the records of all VIFs."""
        return self._records("VIF")

    def tasks(self) -> list[Record]:
        """Return the records of the tasks that clients made and did not destroy."""
        return self._records("task")

    def sessions(self) -> list[Record]:
        """Return the records of open sessions."""
        return self._records("session")

    def left(self) -> dict[str, int]:
        """Return how many objects of clients there are; of which there are none is left out."""
        parts = {
            "VDI": self.vdis(),
            "VM": self.vms(),
            "VBD": self.vbds(),
            "VIF": self.vifs(),
            "task": self.tasks(),
            "session": self.sessions(),
        }
        return {name: len(each) for name, each in parts.items() if each}

    def disk(self, vdi: str) -> Path:
        """Return the file with a VDI's bytes, by its reference or UUID."""
        known = vdi if self.state.db.has("VDI", vdi) else self.state.db.by_uuid("VDI", vdi)
        return self.state.disks.path(known)

    def set(self, table: str, ref: str, **fields: Value) -> None:
        """Change an object behind everybody's back."""
        self.state.db.set(table, ref, **fields)

    def expire(self) -> None:
        """Drop all sessions."""
        for one in self.state.db.all("session"):
            self.state.db.drop("session", one)

    def _records(self, table: str) -> list[Record]:
        self.state.settle()
        with self.state.db.lock:
            return [self.state.db.record(table, one) | {"ref": one} for one in self.state.db.all(table)]

    # How it answers.

    def _listen(self) -> list[Listener]:
        """Listen at every host's address, on one port that all have free."""
        for _ in range(_TRIES):
            with ExitStack() as stack:
                made: list[Listener] = []
                try:
                    for number in range(len(self.settings.hosts)):
                        made.append(self._listener(number, made[0].port if made else 0))
                        stack.callback(made[-1].close)
                except OSError as error:
                    if error.errno != errno.EADDRINUSE:
                        raise
                    continue
                stack.pop_all()
                return made
        raise OSError(errno.EADDRINUSE, "no port is free at all addresses")

    def _listener(self, number: int, port: int) -> Listener:
        def answer(exchange: Exchange) -> None:
            self._answer(number, exchange)

        return Listener(self.settings.hosts[number].address, port, self.identities[number].context, answer)

    def _answer(self, host: int, exchange: Exchange) -> None:
        calls.delay(self.state)
        if exchange.method == "POST":
            self._rpc(host, exchange)
            return
        # As xapi does it, the longest handler that a path begins with.
        fits = [one for one in _HANDLERS if one[0] == exchange.method and exchange.path.startswith(one[1])]
        if not fits:
            exchange.send(403 if exchange.method == "PUT" else 404, close=True)
            return
        handler = _HANDLERS[max(fits)]
        name = max(fits)[1].removeprefix("/")
        fault = self._early(name, exchange, host)
        put = Put(self.state, exchange, host, fault, self.port)
        try:
            handler(put)
        finally:
            result = str(self.state.db.get("task", put.task, "status")) if self._known(put.task) else "refused"
            self._note(host, name, result, fault, (dict(exchange.query), dict(exchange.headers)))
            if put.own and self._known(put.task):
                self.state.db.drop("task", put.task)

    def _known(self, task: str) -> bool:
        return self.state.db.has("task", task)

    def _rpc(self, host: int, exchange: Exchange) -> None:
        if exchange.length is None or exchange.length > rpc.LARGEST:
            exchange.send(500, close=True)
            return
        body = exchange.reader.read(exchange.length)
        asked = rpc.jsonic(body) if exchange.path.startswith("/jsonrpc") else rpc.xml(body)
        if asked is None or len(body) != exchange.length:
            exchange.send(500, close=True)
            return
        fault = self._early(asked.call, exchange, host)
        try:
            if fault.kind == "code":
                raise fault.failure
            value: Any = calls.answer(self.state, host, asked.call, asked.params, xml=asked.xml)
        except Failure as failure:
            value = failure
        result = value.code if isinstance(value, Failure) else "ok"
        self._note(host, asked.call, result, fault, tuple(asked.params))
        _reply(exchange, asked.reply(value), asked.content_type, fault.kind)

    def _early(self, name: str, exchange: Exchange, host: int) -> Fault:
        """Return the call's fault, what comes before or instead of the call being done already."""
        fault = self.state.script.next(name)
        match fault.kind:
            case "expire":
                self.expire()
            case "slow":
                time.sleep(1)
            case "500" | "503":
                self._note(host, name, fault.kind, fault)
                exchange.send(int(fault.kind), close=True)
                raise GoneError
            case "reset" | "hang":
                self._note(host, name, fault.kind, fault)
                exchange.reset() if fault.kind == "reset" else exchange.hang()
        streams = exchange.method != "POST"
        return fault if fault.kind in ({"code"} | (STREAM if streams else AFTER)) else replace(NONE, call=name)

    def _note(self, host: int, name: str, result: str, fault: Fault, params: tuple[Any, ...] = ()) -> None:
        self.state.calls.append(Call(time.time(), host, name, result, fault.kind, params))


def _reply(exchange: Exchange, body: bytes, content_type: str, fault: str) -> None:
    """Answer a call, whole or as a fault of AFTER says."""
    exchange.close = exchange.close or fault == "close"
    wire = exchange.wire(200, body, content_type=content_type, access_control_allow_origin="*")
    match fault:
        case "lost":
            exchange.reset()
        case "truncated":
            exchange.socket.sendall(wire[: len(wire) - len(body) // 2])
            raise GoneError
    exchange.socket.sendall(wire)
    if fault == "stale":
        raise GoneError
