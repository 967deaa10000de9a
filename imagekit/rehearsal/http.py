"""HTTP/1.1 over TLS on loopback: a thread a connection, kept alive, strict about what it reads."""

import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import BinaryIO, Self, cast

_HEAD = 64 * 1024
_BODY = 1 << 20
_IDLE = 60.0
_REQUEST = re.compile(rb"(GET|PUT|POST|DELETE|HEAD) (/[\x21-\x7e]*) HTTP/1\.1")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*")


@dataclass(frozen=True)
class Request:
    """A request; the names of its headers are in lower case."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """An answer. `end` says how the connection goes on: kept, or one of faults.AFTER, or reset, or hang."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    end: str = ""


class BadRequestError(Exception):
    """What is no HTTP/1.1."""


class Listener:
    """Serves until it is closed. `with Listener(context, answer) as listener: listener.port`."""

    def __init__(self, context: ssl.SSLContext, answer: Callable[[Request], Reply]) -> None:
        self._context = context
        self._answer = answer
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._open: dict[socket.socket, threading.Thread] = {}
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._socket.getsockname()[1]
        self.connections = 0
        self._thread = threading.Thread(target=self._accept, name="rehearsal", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection and wait for its thread."""
        self._closed.set()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()
        with self._lock:
            left = list(self._open.items())
            for plain, _ in left:
                with suppress(OSError):
                    socket.socket.shutdown(plain, socket.SHUT_RDWR)
        for _, thread in left:
            thread.join()

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                plain, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            try:
                plain.settimeout(_IDLE)
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                kept = self._context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
            except OSError:
                plain.close()
                continue
            thread = threading.Thread(target=self._serve, args=(kept,), name="rehearsal", daemon=True)
            with self._lock:
                self._open[kept] = thread
            thread.start()

    def _serve(self, kept: ssl.SSLSocket) -> None:
        try:
            # A client may leave at any moment: that is its right.
            with suppress(OSError, BadRequestError), kept.makefile("rb", 1 << 16) as reader:
                kept.do_handshake()
                while self._one(kept, cast("BinaryIO", reader)):
                    pass
        finally:
            with self._lock:
                self._open.pop(kept, None)
            kept.close()

    def _one(self, kept: ssl.SSLSocket, reader: BinaryIO) -> bool:
        try:
            request = read_request(reader)
        except BadRequestError:
            kept.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            raise
        if request is None:
            return False
        reply = self._answer(request)
        if reply.end in {"hang", "reset", "lost"}:
            if reply.end == "hang":
                kept.recv(1)  # until the client gives up, or we close
            # Closed with a linger of nothing, a socket sends a reset.
            kept.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        last = reply.end == "close" or request.headers.get("connection", "").lower() == "close"
        data = _wire(reply, last=last)
        kept.sendall(data[: len(data) // 2] if reply.end == "truncated" else data)
        return not last and not reply.end


def read_request(reader: BinaryIO) -> Request | None:
    """Read a request, None at the end of the connection; BadRequestError for what is no HTTP/1.1."""
    line = reader.readline(_HEAD)
    if not line:
        return None
    first = _REQUEST.fullmatch(line.removesuffix(b"\r\n"))
    headers: dict[str, str] = {}
    size = len(line)
    while (line := reader.readline(_HEAD)) != b"\r\n":
        pair = _FIELD.fullmatch(line.removesuffix(b"\r\n"))
        size += len(line)
        if pair is None or size > _HEAD or pair[1].lower().decode() in headers:
            raise BadRequestError
        headers[pair[1].lower().decode()] = pair[2].decode("latin-1")
    length = headers.get("content-length", "0")
    if first is None or "host" not in headers or "transfer-encoding" in headers:
        raise BadRequestError
    if not re.fullmatch(r"[0-9]{1,7}", length) or int(length) > _BODY:
        raise BadRequestError
    body = reader.read(int(length))
    if len(body) != int(length):
        raise BadRequestError
    path, _, query = first[2].decode().partition("?")
    return Request(first[1].decode(), path, query, headers, body)


def _wire(reply: Reply, *, last: bool) -> bytes:
    headers = {**reply.headers, "Content-Length": str(len(reply.body))}
    if last:
        headers["Connection"] = "close"
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {reply.status} Rehearsed\r\n{lines}\r\n".encode("latin-1") + reply.body
