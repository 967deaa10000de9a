"""Which hosts are believed: those whose certificate has a known fingerprint, or is signed by a known CA.

XAPI's hosts sign their certificates themselves. Who says yes to a fingerprint is asked only once for each host;
the pool's other hosts are believed on the word of the one that is.
"""

import hashlib
import json
import socket
import ssl
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPSConnection
from pathlib import Path

from imagekit.errors import PublishError, UsageError
from imagekit.publish import Ask
from imagekit.publish.xapi.address import Address
from imagekit.whole import PRIVATE, write_whole

CONNECT = 20.0
"""Seconds for a connection to stand."""


def fingerprint(certificate: bytes) -> str:
    """Return the SHA-256 of a certificate's DER, as AB:CD:…."""
    digest = hashlib.sha256(certificate).hexdigest().upper()
    return ":".join(digest[at : at + 2] for at in range(0, len(digest), 2))


def plain(text: str) -> str:
    """Return a fingerprint as it is written here, however a user has written it."""
    digits = text.replace(":", "").upper()
    return ":".join(digits[at : at + 2] for at in range(0, len(digits), 2))


class Connection(HTTPSConnection):
    """HTTPS to a host that proves who it is before anything is sent."""

    def __init__(
        self, address: Address, context: ssl.SSLContext, trusted: frozenset[str] | None, timeout: float
    ) -> None:
        super().__init__(address.host, address.port, timeout=CONNECT, context=context)
        self._address = address
        self._trusted = trusted
        self._patience = timeout

    def connect(self) -> None:
        """Connect; PublishError when the certificate is another one."""
        try:
            super().connect()
        except ssl.SSLCertVerificationError as error:
            raise PublishError(
                f"{self._address.authority} is not who its certificate should say",
                details=error.verify_message,
                hint="--fingerprint, or a CA that signed it",
            ) from error
        assert isinstance(self.sock, ssl.SSLSocket)  # noqa: S101 -- for the type checker
        self.sock.settimeout(self._patience)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        seen = fingerprint(self.sock.getpeercert(binary_form=True) or b"")
        if self._trusted is not None and seen not in self._trusted:
            self.close()
            raise PublishError(
                f"{self._address.authority} has another certificate than the one that is trusted",
                details=f"its SHA-256 is {seen}",
                hint="if its certificate was made anew: --fingerprint with that",
            )


@dataclass
class Trust:
    """What is believed. `given`: fingerprints of the user's; `ca` a PEM file; `known` where the rest is kept."""

    given: Iterable[str]
    ca: Path | None
    known: Path
    ask: Ask
    _learnt: set[str] = field(default_factory=set)

    def connection(self, address: Address, timeout: float) -> Connection:
        """Return a connection, not made yet, to a host that is trusted; PublishError when it is not.

        `timeout` is in seconds, of each wait for the other side.
        """
        if self.ca is not None:
            return Connection(address, _by_authority(self.ca), None, timeout)
        given = set(map(plain, self.given))
        trusted = given | self._learnt
        if not given and (not self._learnt or address.authority in self._read()):
            trusted.add(self._fingerprint_of(address))
        return Connection(address, _by_fingerprint(), frozenset(trusted), timeout)

    def learn(self, certificate: str) -> None:
        """Trust a certificate, PEM, that a trusted host has named."""
        with suppress(ValueError):
            self._learnt.add(fingerprint(ssl.PEM_cert_to_DER_cert(certificate.strip() + "\n")))

    def _fingerprint_of(self, address: Address) -> str:
        """Return the fingerprint that a host is known by, or ask whether it is the right one."""
        known = self._read()
        if address.authority in known:
            return known[address.authority]
        seen = _look(address)
        question = (
            f"{address.authority} is not known; the SHA-256 of its certificate is\n  {seen}\nTrust it? [yes/no]"
        )
        answer = self.ask(question)
        if answer is None or answer.strip().lower() not in {"y", "yes"}:
            raise PublishError(
                f"{address.authority} is not trusted: its certificate is not known",
                details=f"its SHA-256 is {seen}",
                hint="if the host says so, too (openssl x509 -noout -fingerprint -sha256 -in "
                "/etc/xensource/xapi-ssl.pem): --fingerprint with it",
            )
        self._write({**known, address.authority: seen})
        return seen

    def _read(self) -> dict[str, str]:
        with suppress(OSError, ValueError, AttributeError):
            return {str(key): str(value) for key, value in json.loads(self.known.read_bytes()).items()}
        return {}

    def _write(self, known: dict[str, str]) -> None:
        self.known.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        content = json.dumps(known, indent=1, sort_keys=True)
        write_whole(self.known, content.encode(), mode=PRIVATE)


def _by_fingerprint() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # its fingerprint is compared instead, before a byte is sent
    context.verify_mode = ssl.CERT_NONE
    return context


def _by_authority(path: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(path))
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"{path} has no certificates", details=str(error)) from error


def _look(address: Address) -> str:
    """Return the fingerprint of whoever answers there."""
    try:
        with (
            socket.create_connection((address.host, address.port), CONNECT) as bare,
            _by_fingerprint().wrap_socket(bare, server_hostname=address.host) as wrapped,
        ):
            return fingerprint(wrapped.getpeercert(binary_form=True) or b"")
    except (OSError, UnicodeError) as error:  # a name that is none
        raise PublishError(f"{address.authority} cannot be reached", details=str(error)) from error
