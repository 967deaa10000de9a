"""The gate in front of real Glance and Swift: it records calls, plays faults, and stands in for what is not there.

Faults are texts, `METHOD PATH NUMBERS WHAT`: METHOD or *, PATH a regular expression, NUMBERS such as 1 or 2-3
of the calls that it meets, WHAT a status, `cut=BYTES` of the request's body, `reset`, `revoke` (the token, at
Keystone), `flip` (one bit of the body on its way) or `short=BYTES` (so much of the body, and that announced as all
of it). Beside them: Rackspace's import tasks, and a Nova and a Neutron that know few calls.
"""

import http.client
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tests.openstack.configuration import HOST, Ports
from tests.openstack.neutron import Neutron
from tests.openstack.nova import Nova
from tests.openstack.tasks import Tasks

_PIECE = 1 << 16


@dataclass
class Fault:
    """One of them, and how often it was met."""

    method: str
    path: str
    first: int
    last: int
    what: str
    met: int = 0

    @classmethod
    def of(cls, text: str) -> "Fault":
        method, path, numbers, what = text.split()
        first, _, last = numbers.partition("-")
        return cls(method, path, int(first), int(last or first), what)

    def meets(self, method: str, path: str) -> bool:
        if self.method not in {method, "*"} or not re.search(self.path, path):
            return False
        self.met += 1
        return self.first <= self.met <= self.last


@dataclass
class Gate:
    """What it has seen, and what it plays."""

    ports: Ports
    faults: list[Fault] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    received: int = 0
    """Bytes of bodies that came from the client."""
    latency: float = 0.0
    """Seconds before each answer."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.tasks = Tasks(self.ports)
        self.nova = Nova()
        self.neutron = Neutron()

    def fault(self, *texts: str) -> None:
        self.faults = [Fault.of(text) for text in texts]

    def clear(self) -> None:
        self.faults, self.calls, self.received, self.latency = [], [], 0, 0.0
        self.tasks.clear()
        self.nova.clear()

    def met(self, method: str, path: str) -> str:
        """Record a call; return the fault that it meets, "" for none."""
        with self.lock:
            self.calls.append(f"{method} {urlsplit(path).path}")
            return next((one.what for one in self.faults if one.meets(method, path)), "")


class Server(ThreadingHTTPServer):
    """A gate on its port."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        super().__init__((HOST, gate.ports.gate), Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients are cut off on purpose."""


class Handler(BaseHTTPRequestHandler):
    """Takes one request a connection."""

    protocol_version = "HTTP/1.1"
    server: Server

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        self.close_connection = True
        gate = self.server.gate
        what = gate.met(self.command, self.path)
        time.sleep(gate.latency)
        if what == "reset":
            self._reset()
        elif what.isdigit():
            self._drain()
            self._answer(int(what), b'{"message": "played by the gate"}')
        elif self.path.startswith("/compute"):
            status, body = gate.nova.answer(self.command, self.path.removeprefix("/compute"), self._drain())
            self._answer(status, body)
        elif self.path.startswith("/network"):
            self._drain()
            self._answer(*gate.neutron.answer(self.path.removeprefix("/network")))
        elif re.match(r"/image/v2/tasks", self.path) and gate.tasks.enabled:
            token = self.headers["X-Auth-Token"]
            status, body = gate.tasks.answer(self.command, self.path[len("/image") :], self._drain(), token)
            self._answer(status, body)
        else:
            self._pass_on(what)

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _pass_on(self, what: str) -> None:
        gate = self.server.gate
        image = self.path.startswith("/image")
        upstream = http.client.HTTPConnection(HOST, gate.ports.glance if image else gate.ports.swift, timeout=60)
        path = self.path.removeprefix("/image") if image else self.path
        if what == "revoke":
            self._revoke()
        try:
            upstream.putrequest(self.command, path or "/", skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in {"connection", "host"}:
                    short = name.lower() == "content-length" and what.startswith("short=")
                    upstream.putheader(name, what.removeprefix("short=") if short else value)
            upstream.endheaders()
            if not self._send_body(upstream, what):
                self._reset()
                return
            answer = upstream.getresponse()
            body = answer.read()
            if image:  # Glance names itself in its versions and schemas
                body = body.replace(
                    f"//{HOST}:{gate.ports.glance}".encode(), f"//{HOST}:{gate.ports.gate}/image".encode()
                )
            self._answer(answer.status, body, answer.getheaders())
        finally:
            upstream.close()

    def _send_body(self, upstream: http.client.HTTPConnection, what: str) -> bool:
        kind, _, most = what.partition("=")
        left = int(most) if kind in {"cut", "short"} else None
        for number, piece in enumerate(self._pieces()):
            if left is not None:
                piece = piece[:left] if kind == "short" else piece  # noqa: PLW2901 -- that is the fault
                left -= len(piece)
                if left <= 0 and kind == "cut":
                    return False
            if what == "flip" and not number:
                piece = bytes([piece[0] ^ 1]) + piece[1:]  # noqa: PLW2901 -- that is the fault
            try:
                upstream.send(piece)
            except OSError:  # it has answered already
                break
        return True

    def _pieces(self) -> Iterator[bytes]:
        left = int(self.headers.get("Content-Length", 0))
        while left:
            piece = self.rfile.read(min(_PIECE, left))
            if not piece:
                return
            left -= len(piece)
            with self.server.gate.lock:
                self.server.gate.received += len(piece)
            yield piece

    def _drain(self) -> bytes:
        return b"".join(self._pieces())

    def _answer(self, status: int, body: bytes, headers: list[tuple[str, str]] | None = None) -> None:
        self.send_response_only(status)
        kept = headers or [("Content-Type", "application/json")]
        for name, value in kept:
            if name.lower() not in {"content-length", "connection", "transfer-encoding"}:
                self.send_header(name, value)
        length = {name.lower(): value for name, value in kept}.get("content-length", str(len(body)))
        if status != http.HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", length if self.command == "HEAD" else str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def _revoke(self) -> None:
        token = self.headers["X-Auth-Token"]
        keystone = http.client.HTTPConnection(HOST, self.server.gate.ports.keystone, timeout=60)
        keystone.request("DELETE", "/v3/auth/tokens", headers={"X-Auth-Token": token, "X-Subject-Token": token})
        answer = keystone.getresponse()
        answer.read()
        keystone.close()
        assert answer.status == http.HTTPStatus.NO_CONTENT, json.dumps(answer.status)
