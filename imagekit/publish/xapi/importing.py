"""A disk into a VDI: PUT /import_raw_vdi, with a task that alone tells what became of it.

xapi-project/xen-api, ocaml/xapi/import_raw_vdi.ml: 200 comes before the body is read, so the head goes first; any
Transfer-Encoding is refused; another host of the pool may be named by 302; nothing can be cancelled but by closing
the connection.
"""

import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from typing import Any
from urllib.parse import urlencode, urlsplit

from imagekit.errors import PublishError
from imagekit.publish.xapi.address import Address
from imagekit.publish.xapi.session import LostError, RefusedError, Session
from imagekit.publish.xapi.trust import Connection

SILENCE = 120.0
"""Seconds that a host may take nothing of a disk, and a task not move."""

_REDIRECTS = 4
_MIB = 1 << 20
_TELL_EVERY = 10.0  # seconds
_PAUSE = 0.1


@dataclass(frozen=True)
class Upload:
    """What is sent: its form, `raw` or `vhd`, its length in bytes, and its bytes in order."""

    form: str
    length: int
    pieces: Callable[[], Iterator[bytes]]


@dataclass(frozen=True)
class Sender:
    """Sends to a pool. `silence` is in seconds; `begun` and `ended` are told a task's reference."""

    session: Session
    note: Callable[[str], None]
    go_on: Callable[[], None]
    begun: Callable[[str], None]
    ended: Callable[[str], None]
    silence: float = SILENCE

    def send(self, vdi: str, upload: Upload) -> None:
        """Fill a VDI; RefusedError for what its task says, LostError when the connection broke."""
        with self._task(f"imagekit: import into {vdi}") as task, self._opened(vdi, task, upload) as sock:
            broken = self._stream(sock, upload)
            self._await(task, broken)

    @contextmanager
    def _task(self, label: str) -> Iterator[str]:
        task = str(self.session.call("task.create", label, ""))
        self.begun(task)
        try:
            yield task
        finally:
            with suppress(PublishError):
                self._end(task)
                self.ended(task)

    def _end(self, task: str) -> None:
        """Destroy a task; one that no import took up would stay pending, and so for ever."""
        if self.session.call("task.get_status", task) == "pending":
            with suppress(RefusedError):
                self.session.call("task.set_status", task, "cancelled")
        self.session.call("task.destroy", task)

    @contextmanager
    def _opened(self, vdi: str, task: str, upload: Upload) -> Iterator[socket.socket]:
        """Lend the connection on which the host waits for the body, and close it."""
        given = {"session_id": self.session.handle, "task_id": task, "vdi": vdi, "format": upload.form}
        path, address = f"/import_raw_vdi?{urlencode(given)}", self.session.address
        for _ in range(_REDIRECTS):
            connection = self.session.connection(address, self.silence)
            try:
                answer = _ask(connection, path, upload.length)
                if answer.status == 200:  # noqa: PLR2004 -- OK
                    yield connection.sock
                    return
                address, path = self._elsewhere(answer, task, address)
            finally:
                connection.close()
        raise PublishError("the pool's hosts send the disk round in a circle", details=address.authority)

    def _elsewhere(self, answer: HTTPResponse, task: str, address: Address) -> tuple[Address, str]:
        found = urlsplit(answer.headers.get("Location", ""))
        if answer.status not in {301, 302, 307} or not found.hostname or found.scheme != "https":
            self._raise_failure(task)
            raise LostError(f"{address.authority} does not take the disk", details=f"it answered {answer.status}")
        return Address(found.hostname, found.port or address.port), f"{found.path}?{found.query}"

    def _stream(self, sock: socket.socket, upload: Upload) -> OSError | None:
        """Send the body; return what the connection broke by: the task knows why."""
        sent, told = 0, time.monotonic()
        for piece in upload.pieces():
            self.go_on()
            try:
                sock.sendall(piece)
            except OSError as error:
                return error
            sent += len(piece)
            if time.monotonic() - told > _TELL_EVERY:
                told = time.monotonic()
                self.note(f"{sent // _MIB} of {upload.length // _MIB} MiB sent")
        if sent != upload.length:
            raise PublishError("the disk changed while it was sent", details=f"{sent} of {upload.length} bytes")
        return None

    def _await(self, task: str, broken: OSError | None) -> None:
        """Wait for the task to end; after a break it has a moment to say why."""
        moved, progress = time.monotonic(), -1.0
        patience = 10.0 if broken else self.silence
        while True:
            self.go_on()
            record = self.session.call("task.get_record", task)
            if record["status"] != "pending":
                _judge(record)
                return
            now = time.monotonic()
            if record["progress"] != progress:
                moved, progress = now, record["progress"]
            if now - moved > patience:
                raise LostError(
                    "the host does not end the import",
                    details=str(broken or f"for {patience:.0f} s nothing moved"),
                )
            time.sleep(_PAUSE)

    def _raise_failure(self, task: str) -> None:
        with suppress(LostError):
            record = self.session.call("task.get_record", task)
            if record["status"] in {"failure", "cancelled"}:
                _judge(record)


def _judge(record: Mapping[str, Any]) -> None:
    if record["status"] != "success":
        raise RefusedError("the import", [str(one) for one in record["error_info"]] or [str(record["status"])])


def _ask(connection: Connection, path: str, length: int) -> HTTPResponse:
    """Send the head, and return the answer's, which comes before the body is read."""
    try:
        connection.connect()
        connection.putrequest("PUT", path, skip_accept_encoding=True)
        connection.putheader("Content-Length", str(length))
        connection.endheaders()
        answer = HTTPResponse(connection.sock, method="PUT")
        answer.begin()
    except (OSError, HTTPException) as error:
        raise LostError(
            "the host does not answer the import", details=str(error) or type(error).__name__
        ) from error
    return answer
