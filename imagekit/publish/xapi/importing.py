"""A disk into a VDI: PUT /import_raw_vdi, with a task that alone tells what became of it.

xapi-project/xen-api, ocaml/xapi/import_raw_vdi.ml: 200 comes before the body is read, so the head goes first; any
Transfer-Encoding is refused; nothing can be cancelled but by closing the connection.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

from imagekit.errors import PublishError
from imagekit.publish.xapi import handler
from imagekit.publish.xapi.session import LostError, RefusedError, Session
from imagekit.publish.xapi.trust import Connection

_MIB = 1 << 20
_TELL_EVERY = 10.0  # seconds
_PAUSE = 0.1
_AFTERMATH = 10.0  # seconds in which a task says why the connection broke


@dataclass(frozen=True)
class Upload:
    """What is sent: its form, `raw` or `vhd`, its length in bytes, and its bytes in order."""

    form: str
    length: int
    pieces: Callable[[], Iterator[bytes]]


@dataclass(frozen=True)
class Sender:
    """Sends to a pool. `silence`: seconds that a host may take nothing of a disk, and a task not move."""

    session: Session
    tasks: handler.Tasks
    silence: float
    note: Callable[[str], None]
    go_on: Callable[[], None]

    def send(self, vdi: str, upload: Upload) -> None:
        """Fill a VDI; RefusedError for what its task says, LostError when the connection broke."""
        with self.tasks.one() as task, closing(self._opened(vdi, task, upload)) as exchange:
            self._await(task, self._stream(exchange.connection, upload))

    def _opened(self, vdi: str, task: str, upload: Upload) -> handler.Exchange:
        """Return the exchange in which the host waits for the body."""
        given = {"session_id": self.session.handle, "task_id": task, "vdi": vdi, "format": upload.form}
        request = handler.Request("PUT", "/import_raw_vdi", given, upload.length)
        try:
            return handler.opened(self.session, request, self.silence)
        except LostError:
            self._raise_failure(task)
            raise

    def _stream(self, connection: Connection, upload: Upload) -> OSError | None:
        """Send the body; return what the connection broke by: the task knows why."""
        sent, told = 0, time.monotonic()
        for piece in upload.pieces():
            self.go_on()
            try:
                connection.sock.sendall(piece)
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
        patience = min(_AFTERMATH, self.silence) if broken else self.silence
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
                    hint="--patience gives it more seconds",
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
