"""What a VM says on its text console: CONNECT /console, which tells what comes after one asked, and no more.

xapi-project/xen-api, ocaml/xapi/console.ml: only the host that the VM runs on answers, and only while it runs;
after 200 the connection is the console's, both ways. What is said may be missed, and nothing fails by that.
"""

import socket
from contextlib import closing, suppress
from threading import Thread
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from imagekit.errors import PublishError
from imagekit.publish.xapi import handler
from imagekit.publish.xapi.session import Session
from imagekit.terminal import last_lines

ANSWER = 10.0
"""Seconds for a host to let us listen; what is said meanwhile is missed."""

_MOST = 1 << 20  # bytes of a console that are kept
_REST = 2.0  # seconds in which the last of it arrives, after the VM has ended


class Console:
    """Listens to a VM's text console while it is entered.

    `location` is where, "" for nowhere. Where the host does not let us listen, nothing is heard.
    """

    def __init__(self, session: Session, location: str) -> None:
        self._session = session
        self._location = location
        self._exchange: handler.Exchange | None = None
        self._heard = b""
        self._thread = Thread(target=self._listen, name="console", daemon=True)

    def __enter__(self) -> Self:
        if self._location:
            with suppress(PublishError):
                self._exchange = self._opened()
                self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._exchange is None:
            return
        with closing(self._exchange):
            with suppress(OSError):  # it may be closed; else this ends the thread's wait
                socket.socket.shutdown(self._exchange.connection.sock, socket.SHUT_RDWR)
            self._thread.join()

    def told(self) -> str:
        """Return the console's last lines, of a VM that has ended; "" where none were heard."""
        if self._exchange is not None:
            self._thread.join(_REST)
        return last_lines(self._heard)

    def _opened(self) -> handler.Exchange:
        found = urlsplit(self._location)
        request = handler.Request("CONNECT", f"{found.path}?{found.query}", {"session_id": self._session.handle})
        host = self._session.address.another(found.hostname or "")
        exchange = handler.opened(self._session, request, ANSWER, host)
        exchange.connection.sock.settimeout(None)  # a guest may be silent
        return exchange

    def _listen(self) -> None:
        exchange = self._exchange
        with suppress(OSError, ValueError):
            while exchange and (data := exchange.answer.read1(1 << 12)):
                self._heard = (self._heard + data)[-_MOST:]


def location(session: Session, vm: str) -> str:
    """Return where a VM's text console is listened to, by the VM's reference; "" for a VM that has none."""
    with suppress(PublishError):
        for ref in session.call("VM.get_consoles", vm):
            record = session.call("console.get_record", str(ref))
            if record["protocol"] == "vt100":
                return str(record["location"])
    return ""
