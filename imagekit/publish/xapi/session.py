"""Calls of XAPI over XML-RPC, by XenServer's own client: with time limits, and what xapi's answers mean."""

# ruff: noqa: ANN401 -- XenAPI has no types

import http.client
import socket
import ssl
import time
import xmlrpc.client
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Lock
from typing import Any
from xml.parsers.expat import ExpatError

from imagekit.errors import PublishError
from imagekit.extras import missing
from imagekit.formats.xapi import Value, on_wire
from imagekit.publish.xapi.address import Address
from imagekit.publish.xapi.credentials import Credentials
from imagekit.publish.xapi.trust import Connection, Trust

try:
    import XenAPI
except ModuleNotFoundError as error:
    raise missing("XAPI", error) from error

ANSWER = 300.0
"""Seconds that an answer may take: a VM.start waits for its host."""

_LONGEST = 64 << 20  # bytes of an answer
_ATTEMPTS = 4
_MASTERS = 3  # hosts that may each name another as their master
_AGAIN = ("get_", "query", "compute_", "destroy", "hard_shutdown", "add_to_other_config", "set_status")
_BROKEN = (OSError, http.client.HTTPException, xmlrpc.client.Error, ExpatError, TypeError, ValueError)


class RefusedError(PublishError):
    """xapi's answer to a call: a code and its parameters."""

    def __init__(self, call: str, details: list[str]) -> None:
        self.code = details[0] if details else "?"
        self.parameters = details[1:]
        super().__init__(
            f"the host refused {call}: {self.code}",
            details=" ".join(filter(None, self.parameters))[:500],
            hint=_HINTS.get(self.code, ""),
        )


class LostError(PublishError):
    """No answer, or one that makes no sense."""


_HINTS = {
    "SESSION_AUTHENTICATION_FAILED": "XAPI_USER and XAPI_PASSWORD, or ~/.xe",
    "RBAC_PERMISSION_DENIED": "the user needs the role vm-admin, or pool-operator",
    "HOST_NOT_ENOUGH_FREE_MEMORY": "the VM's memory is more than the host has left",
    "NO_HOSTS_AVAILABLE": "no host of the pool has the SR, the network and the memory for it",
    "SR_FULL": "--sr names another storage repository",
    "SR_BACKEND_FAILURE_44": "--sr names another storage repository",
    "VM_HVM_REQUIRED": "the host's processor has no virtualisation, or it is off",
    "BOOTLOADER_FAILED": "`imagekit verify` runs pygrub on the image, as xapi does",
}


class Session:
    """A session with a pool's master. Calls are made one at a time."""

    def __init__(self, address: Address, trust: Trust, credentials: Credentials) -> None:
        self.address = address
        self.trust = trust
        self._credentials = credentials
        self._lock = Lock()
        self._remote = self._login()

    @property
    def handle(self) -> str:
        """The session's reference, for URLs; a new one after it had ended and was begun again."""
        return str(self._remote.handle)

    def call(self, method: str, *arguments: Value) -> Any:
        """Return what a method of XAPI returns; RefusedError for a failure, LostError for no answer.

        What reads, or says of itself that it was done before, is asked again. The rest never is.
        """
        reading = method.rpartition(".")[2].startswith("get_")
        again = method.rpartition(".")[2].startswith(_AGAIN)
        with self._lock:
            for left in reversed(range(_ATTEMPTS if again else 1)):
                try:
                    return self._ask(method, arguments, reading=reading)
                except LostError:
                    if not left:
                        raise
                    time.sleep(0.3 * (_ATTEMPTS - left))
        raise AssertionError  # the last attempt returns or raises

    def connection(self, address: Address, timeout: float) -> Connection:
        """Return a connection to a host of the pool, whose certificate the master has named."""
        if address != self.address:
            self._learn()
        return self.trust.connection(address, timeout)

    def close(self) -> None:
        """Log out, whatever comes of it."""
        with self._lock, suppress(*_BROKEN, XenAPI.Failure, PublishError):
            self._remote.xenapi.session.logout()
        with suppress(OSError):
            self._remote("close")()

    def _ask(self, method: str, arguments: tuple[Value, ...], *, reading: bool) -> Any:
        with _plainly(method, self.address):
            if not reading:
                self._transport.close()  # one that was left open may be dead, and a call is sent only once
            return self._remote.xenapi_request(method, tuple(map(on_wire, arguments)))

    def _login(self) -> Any:
        for _ in range(_MASTERS):
            self._transport = _Transport(lambda: self.trust.connection(self.address, ANSWER))
            remote = XenAPI.Session(f"https://{self.address.authority}", transport=self._transport)
            try:
                with _plainly("session.login_with_password", self.address):
                    given = self._credentials
                    remote.login_with_password(given.user, given.password, "1.0", "imagekit")
            except PublishError as error:
                self._transport.close()
                if not isinstance(error, RefusedError) or error.code != "HOST_IS_SLAVE" or not error.parameters:
                    raise
                self.address = self.address.another(error.parameters[0])
            else:
                return remote
        raise PublishError("the pool's hosts name each other as their master")

    def _learn(self) -> None:
        for host in self.call("host.get_all"):
            with suppress(RefusedError):
                self.trust.learn(str(self.call("host.get_server_certificate", host)))


class _Transport(xmlrpc.client.SafeTransport):
    """XML-RPC over connections that are trusted; nothing is sent twice on its own account."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        super().__init__()
        self._connect = connect

    def make_connection(self, host: Any) -> Any:
        """Return the connection that is open, or a new one."""
        kept = self._connection[1]
        if kept is None:
            kept = self._connect()
            self._connection = host, kept
        return kept

    def request(self, host: Any, handler: str, request_body: Any, verbose: bool = False) -> Any:
        """Send a call once."""
        return self.single_request(host, handler, request_body, verbose)

    def parse_response(self, response: Any) -> Any:
        """Read an answer of bounded length."""
        parser, target = self.getparser()
        total = 0
        while data := response.read(1 << 16):
            total += len(data)
            if total > _LONGEST:
                raise ValueError("the answer does not end")
            parser.feed(data)
        parser.close()
        return target.close()


@contextmanager
def _plainly(method: str, address: Address) -> Iterator[None]:
    """Turn what XenAPI, xmlrpc and sockets raise into our errors."""
    try:
        yield
    except PublishError:
        raise
    except XenAPI.Failure as error:
        raise RefusedError(method, [str(one) for one in error.details]) from None
    except xmlrpc.client.ProtocolError as error:
        raise LostError(
            f"{address.authority} answered {method} with {error.errcode}", details=str(error.errmsg)
        ) from None
    except ssl.SSLError as error:
        raise LostError(f"{address.authority}: TLS failed in {method}", details=str(error)) from error
    except TimeoutError as error:
        raise LostError(f"{address.authority} does not answer {method}") from error
    except (socket.gaierror, ConnectionRefusedError) as error:
        hint = "--host names the pool's master, or any of its hosts; :PORT behind it, if it is not 443"
        raise LostError(
            f"{address.authority} cannot be reached", details=error.strerror or "", hint=hint
        ) from None
    except _BROKEN as error:
        details = str(error) or type(error).__name__
        raise LostError(f"{address.authority}: no answer to {method}", details=details[:500]) from None
