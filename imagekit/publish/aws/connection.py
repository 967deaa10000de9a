"""One TLS connection, kept alive, for one worker: a request out, a bounded answer in, a limit on every wait.

The sending of a block may take as long as the line is slow, while it moves; the answer then has one limit for the
whole of it, so a server that drips bytes holds nobody.
"""

import json
import re
import select
import socket
import ssl
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from imagekit.errors import PublishError

LARGEST = 64 * 1024
"""Bytes of an answer's head, and of its body, at most."""

_SIZE = re.compile(rb"[0-9]{1,9}")
_HEX = re.compile(rb"[0-9a-fA-F]{1,7}")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]+")
_NO_BODY = {204, 304}
_GRACE = 1.0  # s: a server that refuses before it has read all may have said why


class WireError(PublishError):
    """The network or the server's HTTP failed; the same request may succeed on a new connection."""


class ServerError(PublishError):
    """The server answered with an error of its own: HTTP status, code, reason, message."""

    def __init__(self, status: int, code: str, reason: str, message: str) -> None:
        super().__init__(f"AWS answered {status} {code}" + (f" ({reason})" if reason else ""), details=message)
        self.status = status
        self.code = code
        self.reason = reason
        self.message = message

    @property
    def throttled(self) -> bool:
        """We were too fast."""
        return "Throttl" in self.code or self.status == 429  # noqa: PLR2004 -- Too Many Requests

    @property
    def missing(self) -> bool:
        """The snapshot is not known, or not yet."""
        return self.status == 404 and self.reason in {"", "SNAPSHOT_NOT_FOUND"}  # noqa: PLR2004 -- Not Found

    @property
    def expired(self) -> bool:
        """The session token's time is over."""
        return self.code in {"ExpiredTokenException", "ExpiredToken"}

    @property
    def passing(self) -> bool:
        """The same request may succeed, says Amazon's table of error retries."""
        return self.status >= 500 or "Failed to read block data" in self.message  # noqa: PLR2004 -- server errors


@dataclass(frozen=True)
class Answer:
    """What the server said. The names of its headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def error(self, secrets: Iterable[str | None]) -> ServerError:
        """Make an error of it in which no secret stands: Amazon repeats the session token when it refuses one."""
        code, reason, message = self.headers.get("x-amzn-errortype", ""), "", ""
        with suppress(ValueError, RecursionError):
            said = json.loads(self.body)
            if isinstance(said, dict):
                code = code or str(said.get("__type") or said.get("code") or "")
                reason = str(said.get("Reason") or said.get("reason") or "")
                message = str(said.get("Message") or said.get("message") or "")
        hidden = sorted({secret for secret in secrets if secret}, key=len, reverse=True)
        code = code.partition(":")[0].rpartition("#")[2]
        return ServerError(
            self.status,
            *(_clean(text, hidden)[:limit] for text, limit in ((code, 64), (reason, 64), (message, 256))),
        )


class Connection:
    """A connection that opens when it is needed. For one thread, but for `abort`."""

    def __init__(
        self, endpoint: str, context: ssl.SSLContext, *, connect_limit: float = 5.0, read_limit: float = 20.0
    ) -> None:
        parts = urlsplit(endpoint)
        self._name = parts.hostname or ""
        self._port = parts.port or 443
        self._context = context
        self._connect_limit = connect_limit
        self._read_limit = read_limit
        self._socket: ssl.SSLSocket | None = None
        self.opened = 0

    def exchange(self, request: bytes | bytearray | memoryview) -> Answer:
        """Send a whole request and return the answer to it; WireError when either does not come through."""
        done = False
        try:
            answer = self._exchange(self._ready(), request)
            done = True
        except TimeoutError as error:
            raise WireError(f"{self._name} did not move for {self._read_limit:g} s") from error
        except ssl.SSLCertVerificationError as error:
            raise PublishError(
                f"the certificate of {self._name} is not trusted: {error.verify_message}",
                hint="AWS_CA_BUNDLE names the file of a private authority",
            ) from error
        except OSError as error:
            raise WireError(f"the connection to {self._name} broke: {error.strerror or error}") from error
        finally:
            if not done:
                self.close()
        return answer

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        kept, self._socket = self._socket, None
        if kept is not None:
            kept.close()

    def abort(self) -> None:
        """Break off what another thread waits for on this connection."""
        kept = self._socket
        if kept is not None:
            with suppress(OSError):
                socket.socket.shutdown(kept, socket.SHUT_RDWR)  # not SSLSocket's: that one takes its state away

    def _ready(self) -> ssl.SSLSocket:
        kept = self._socket
        if kept is not None:
            # Between two answers nothing is to be read: what is there is the server's goodbye.
            poll = select.poll()
            poll.register(kept, select.POLLIN)
            if not poll.poll(0):
                return kept
            self.close()
        try:
            plain = socket.create_connection((self._name, self._port), self._connect_limit)
        except OSError as error:
            raise WireError(f"no connection to {self._name}:{self._port}: {error.strerror or error}") from error
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            kept = self._context.wrap_socket(plain, server_hostname=self._name)  # takes the limit over
        except BaseException:
            plain.close()
            raise
        self.opened += 1
        self._socket = kept
        return kept

    def _exchange(self, kept: ssl.SSLSocket, request: bytes | bytearray | memoryview) -> Answer:
        kept.settimeout(self._read_limit)
        limit = self._read_limit
        broken: OSError | None = None
        try:
            kept.sendall(request)  # the limit is for each record of 16 KiB
        except TimeoutError:
            raise
        except OSError as error:
            broken, limit = error, _GRACE
        try:
            answer, keep = _read_answer(_Reader(kept, limit))
        except (OSError, WireError):
            if broken is not None:
                raise broken from None
            raise
        if broken is not None or not keep:
            self.close()
        return answer


class _Reader:
    """Bytes from a socket until a deadline."""

    def __init__(self, source: ssl.SSLSocket, limit: float) -> None:
        self._source = source
        self._deadline = time.monotonic() + limit
        self._have = bytearray()

    def more(self) -> bool:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._source.settimeout(left)
        data = self._source.recv(16384)
        self._have += data
        return bool(data)

    def until(self, mark: bytes, limit: int = LARGEST) -> bytes:
        while (at := self._have.find(mark)) < 0:
            if len(self._have) > limit:
                raise WireError("the server's answer is longer than any of its answers should be")
            if not self.more():
                raise WireError("the server closed the connection before it had answered")
        return self._take(at, len(mark))

    def exactly(self, size: int) -> bytes:
        while len(self._have) < size:
            if not self.more():
                raise WireError("the server's answer ends too early")
        return self._take(size)

    def rest(self) -> bytes:
        while self.more():
            if len(self._have) > LARGEST:
                raise WireError("the server's answer is longer than any of its answers should be")
        return self._take(len(self._have))

    @property
    def empty(self) -> bool:
        return not self._have

    def _take(self, size: int, drop: int = 0) -> bytes:
        data = bytes(self._have[:size])
        del self._have[: size + drop]
        return data


def _read_answer(reader: _Reader) -> tuple[Answer, bool]:
    status, version, headers = _read_head(reader)
    while 100 <= status < 200:  # noqa: PLR2004 -- interim answers; the deadline bounds them
        status, version, headers = _read_head(reader)
    keep = version == b"HTTP/1.1" and "close" not in headers.get("connection", "").lower()
    length = headers.get("content-length", "").encode()
    if status in _NO_BODY:
        body = b""
    elif headers.get("transfer-encoding", "").lower() == "chunked":
        body = _read_chunks(reader)
    elif not length:
        body, keep = reader.rest(), False
    elif not _SIZE.fullmatch(length) or int(length) > LARGEST:
        raise WireError("the server's answer is longer than any of its answers should be")
    else:
        body = reader.exactly(int(length))
    return Answer(status, headers, body), keep and reader.empty


def _read_head(reader: _Reader) -> tuple[int, bytes, dict[str, str]]:
    first, *lines = reader.until(b"\r\n\r\n").split(b"\r\n")
    version, _, rest = first.partition(b" ")
    if version not in {b"HTTP/1.1", b"HTTP/1.0"} or not re.fullmatch(rb"[1-5][0-9][0-9]( .*)?", rest):
        raise WireError("the server does not answer in HTTP")
    fields = (line.decode("latin-1").partition(":") for line in lines)
    return int(rest[:3]), version, {name.strip().lower(): value.strip() for name, _, value in fields}


def _read_chunks(reader: _Reader) -> bytes:
    body = bytearray()
    while True:
        size = reader.until(b"\r\n", 128).partition(b";")[0].strip()
        if not _HEX.fullmatch(size) or len(body) + int(size, 16) > LARGEST:
            raise WireError("the server's answer is longer than any of its answers should be")
        if not int(size, 16):
            while reader.until(b"\r\n"):  # trailers, then an empty line
                pass
            return bytes(body)
        body += reader.exactly(int(size, 16))
        if reader.exactly(2) != b"\r\n":
            raise WireError("the server does not answer in HTTP")


def _clean(text: str, hidden: list[str]) -> str:
    for secret in hidden:
        text = text.replace(secret, "***")
    return _UNPRINTABLE.sub(" ", text)
