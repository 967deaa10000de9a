"""xapi's HTTP handlers beside XML-RPC, for disks and consoles: opened at the host that has the SR, or the VM.

xapi-project/xen-api, ocaml/xapi/import_raw_vdi.ml and export_raw_vdi.ml: another host of the pool may be named by
302; 200 comes before the work is done, and only the task tells how it went.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from urllib.parse import urlencode, urlsplit

from imagekit.errors import PublishError
from imagekit.publish.xapi.address import Address
from imagekit.publish.xapi.session import LostError, RefusedError, Session
from imagekit.publish.xapi.trust import Connection

_REDIRECTS = 4


@dataclass(frozen=True)
class Request:
    """What is asked of a handler; `length` is its body's, in bytes, which is sent after the answer's head."""

    method: str
    path: str
    given: Mapping[str, str]
    length: int | None = None


@dataclass(frozen=True)
class Exchange:
    """A request whose answer has begun; closing it closes the answer, too, which would keep the socket open."""

    connection: Connection
    answer: HTTPResponse

    def close(self) -> None:
        """Close the connection."""
        self.answer.close()
        self.connection.close()


def opened(session: Session, request: Request, silence: float, host: Address | None = None) -> Exchange:
    """Return the exchange in which a host has said 200, by default the master first; LostError when none does."""
    joint = "&" if "?" in request.path else "?"
    path, address = f"{request.path}{joint}{urlencode(request.given)}", host or session.address
    for _ in range(_REDIRECTS):
        exchange = _ask(session.connection(address, silence), request, path)
        if exchange.answer.status == 200:  # noqa: PLR2004 -- OK
            return exchange
        with closing(exchange):
            address, path = _elsewhere(exchange.answer, address)
    raise PublishError("the pool's hosts send the disk round in a circle", details=address.authority)


@dataclass(frozen=True)
class Tasks:
    """Makes tasks of one name in a pool; `begun` and `ended` are told each one's reference."""

    session: Session
    label: str
    begun: Callable[[str], None]
    ended: Callable[[str], None]

    @contextmanager
    def one(self) -> Iterator[str]:
        """Lend a task, and destroy it."""
        ref = str(self.session.call("task.create", self.label, ""))
        self.begun(ref)
        try:
            yield ref
        finally:
            with suppress(PublishError):
                end(self.session, ref)
                self.ended(ref)


def end(session: Session, ref: str) -> None:
    """Destroy a task; one that no handler took up would stay pending, and so for ever."""
    try:
        if session.call("task.get_status", ref) == "pending":
            session.call("task.set_status", ref, "cancelled")
        session.call("task.destroy", ref)
    except RefusedError as error:
        if error.code != "HANDLE_INVALID":
            raise


def _elsewhere(answer: HTTPResponse, address: Address) -> tuple[Address, str]:
    found = urlsplit(answer.headers.get("Location", ""))
    if answer.status not in {301, 302, 307} or not found.hostname or found.scheme != "https":
        raise LostError(f"{address.authority} answered {answer.status}, and 200 was expected")
    return Address(found.hostname, found.port or address.port), f"{found.path}?{found.query}"


def _ask(connection: Connection, request: Request, path: str) -> Exchange:
    """Send the head, and return with the answer's, which comes before the body is read."""
    with ExitStack() as broken:
        broken.callback(connection.close)
        try:
            connection.connect()
            connection.putrequest(request.method, path, skip_accept_encoding=True)
            if request.length is not None:
                connection.putheader("Content-Length", str(request.length))
            connection.endheaders()
            answer = HTTPResponse(connection.sock, method=request.method)
            broken.callback(answer.close)
            answer.begin()
        except (OSError, HTTPException) as error:
            raise LostError(
                f"the host does not answer {path.partition('?')[0]}", details=str(error) or type(error).__name__
            ) from error
        broken.pop_all()
        return Exchange(connection, answer)
