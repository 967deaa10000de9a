"""xapi's HTTP/1.1 over TLS: a thread a connection. Heads are read here, bodies by whoever answers."""

import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from io import BufferedReader
from typing import Protocol
from urllib.parse import parse_qsl, unquote

_HEAD = 64 * 1024
_BUFFER = 1 << 18
_REQUEST = re.compile(rb"([A-Z]+) (\S+) HTTP/(1\.[01])")
REASONS = {
    200: "OK",
    302: "Found",
    400: "Bad Request",
    401: "Unauthorised",
    403: "Forbidden",
    404: "Not Found",
    500: "Internal Error",
    503: "Service Unavailable",
}


class GoneError(Exception):
    """The connection ends here, without a word more."""


@dataclass
class Exchange:
    """A request, and the connection to answer on. `query` holds cookies too."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    reader: BufferedReader
    socket: ssl.SSLSocket
    close: bool = False
    closed: threading.Event = field(default_factory=threading.Event)

    @property
    def length(self) -> int | None:
        """What Content-Length says."""
        text = self.headers.get("content-length", "")
        return int(text) if re.fullmatch(r"[0-9]{1,19}", text) else None

    def head(self, status: int, **more: str) -> None:
        """Send a head with no length, after which the connection is closed."""
        self.close = True
        self.socket.sendall(self.wire(status, None, **more))

    def send(self, status: int, body: bytes = b"", *, close: bool = False, **more: str) -> None:
        """Send a whole answer."""
        self.close = self.close or close
        self.socket.sendall(self.wire(status, body, **more))

    def wire(self, status: int, body: bytes | None = b"", **more: str) -> bytes:
        """Return the bytes of an answer; of one without a body, its head with no length."""
        names = {"connection": "close" if self.close else "keep-alive", "cache-control": "no-cache, no-store"}
        if body is not None:
            names["content-length"] = str(len(body))
        names |= {name.replace("_", "-"): value for name, value in more.items()}
        lines = "".join(f"{name}: {value}\r\n" for name, value in names.items())
        return f"HTTP/1.1 {status} {REASONS[status]}\r\n{lines}\r\n".encode() + (body or b"")

    def reset(self) -> None:
        """Break the connection, as a network does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise GoneError

    def hang(self) -> None:
        """Say nothing more, until the client or the test ends it."""
        self.socket.settimeout(0.1)
        while not self.closed.is_set():
            try:
                if not self.socket.recv(1):
                    break
            except TimeoutError:
                continue
        raise GoneError


class Answer(Protocol):
    """What answers requests."""

    def __call__(self, exchange: Exchange) -> None:
        """Answer one."""


class Listener:
    """Serves until it is closed, on an address and a port (0: any)."""

    def __init__(self, address: str, port: int, context: ssl.SSLContext, answer: Answer) -> None:
        self._context, self._answer = context, answer
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._open: dict[socket.socket, threading.Thread] = {}
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._socket = socket.create_server((address, port), family=family, backlog=256)
        self.port: int = self._socket.getsockname()[1]
        self.connections = 0
        self._thread = threading.Thread(target=self._accept, name="xapi", daemon=True)
        self._thread.start()

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
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                kept = self._context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
            except OSError:
                continue
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(kept,), name="xapi", daemon=True)
            with self._lock:
                self._open[kept] = thread
            thread.start()

    def _serve(self, kept: ssl.SSLSocket) -> None:
        try:
            # A client may leave at any moment: that is its right.
            with suppress(OSError, GoneError), kept.makefile("rb", _BUFFER) as raw:
                kept.do_handshake()
                if not isinstance(raw, BufferedReader):
                    raise TypeError(raw)
                while self._one(kept, raw):
                    pass
        finally:
            with self._lock:
                self._open.pop(kept, None)
            kept.close()

    def _one(self, kept: ssl.SSLSocket, reader: BufferedReader) -> bool:
        exchange = _read(kept, reader, self._closed)
        if exchange is None:
            return False
        self._answer(exchange)
        return not exchange.close


def _read(kept: ssl.SSLSocket, reader: BufferedReader, closed: threading.Event) -> Exchange | None:
    """Read a head; None at the end of the connection or where no head is one."""
    line = reader.readline(_HEAD)
    first = _REQUEST.fullmatch(line.rstrip(b"\r\n"))
    if first is None:
        if line:
            kept.sendall(b"HTTP/1.1 500 Internal Error\r\nconnection: close\r\n\r\n")
        return None
    headers: dict[str, str] = {}
    size = len(line)
    while (line := reader.readline(_HEAD)).strip():
        size += len(line)
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
        if size > _HEAD:
            return None
    path, _, query = first[2].decode("latin-1").partition("?")
    cookies = [one.strip().partition("=") for one in re.split("[;&]", headers.get("cookie", ""))]
    given = dict(parse_qsl(query, keep_blank_values=True)) | {
        name: unquote(value) for name, _, value in cookies if name
    }
    wish = headers.get("connection", "").lower()
    close = wish == "close" or (first[3] == b"1.0" and wish != "keep-alive")
    return Exchange(first[1].decode(), path, given, headers, reader, kept, close, closed)


Handler = Callable[[Exchange], None]
