"""HTTP/1.1 over TLS on loopback: a thread a connection, kept alive, strict about what it reads."""

import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import BinaryIO, Self, cast

_HEAD = 64 * 1024
BODY = 1 << 20
_CHUNK = re.compile(rb"([0-9a-fA-F]{1,8})(;[ -~]*)?\r\n")
_SLOW = 20  # pieces of a slow answer, and a second for all of them
_IDLE = 60.0
_REQUEST = re.compile(rb"(GET|PUT|POST|DELETE|HEAD) (/[\x21-\x7e]*) HTTP/1\.1")
_GO_ON = b"HTTP/1.1 100 Continue\r\n\r\n"
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

    def __init__(self, context: ssl.SSLContext, answer: Callable[[Request], Reply], largest: int = BODY) -> None:
        self._context = context
        self._largest = largest
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
            request = read_request(reader, self._largest, lambda: kept.sendall(_GO_ON))
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
        data = _wire(reply, last=last, bare=request.method == "HEAD")
        if reply.end == "slow":
            for at in range(0, len(data), -(-len(data) // _SLOW)):
                kept.sendall(data[at : at - (-len(data) // _SLOW)])
                if self._closed.wait(1 / _SLOW):
                    return False
            return not last
        # Half a head without a body passes for a whole answer in many a client: of that, less comes.
        half = len(data) // 2 if reply.body else len("HTTP/")
        kept.sendall(data[:half] if reply.end == "truncated" else data)
        return not last and not reply.end


def read_request(
    reader: BinaryIO, largest: int = BODY, go_on: Callable[[], object] = lambda: None
) -> Request | None:
    """Read a request, None at the end of the connection; BadRequestError for what is no HTTP/1.1.

    `go_on` is called when the client waits for leave to send its body.
    """
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
    chunked = headers.get("transfer-encoding", "") == "chunked"
    if first is None or "host" not in headers or ("transfer-encoding" in headers and not chunked):
        raise BadRequestError
    if not re.fullmatch(r"[0-9]{1,10}", length) or int(length) > largest or (chunked and length != "0"):
        raise BadRequestError
    if headers.get("expect", "").lower() == "100-continue":
        go_on()
    body = b"".join(_chunks(reader, largest)) if chunked else reader.read(int(length))
    if not chunked and len(body) != int(length):
        raise BadRequestError
    path, _, query = first[2].decode().partition("?")
    return Request(first[1].decode(), path, query, headers, body)


def _chunks(reader: BinaryIO, largest: int) -> Iterator[bytes]:
    total = 0
    while True:
        head = _CHUNK.fullmatch(reader.readline(_HEAD))
        if head is None or (total := total + int(head[1], 16)) > largest:
            raise BadRequestError
        size = int(head[1], 16)
        data = reader.read(size)
        if len(data) != size or reader.read(2) != b"\r\n":
            raise BadRequestError
        if not size:
            return
        yield data


def _wire(reply: Reply, *, last: bool, bare: bool = False) -> bytes:
    # The answer to HEAD has no body and may tell the length of one.
    length = reply.headers.get("Content-Length", "0") if bare else str(len(reply.body))
    headers = {**reply.headers, "Content-Length": length}
    if last:
        headers["Connection"] = "close"
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {reply.status} Rehearsed\r\n{lines}\r\n".encode("latin-1") + (b"" if bare else reply.body)
