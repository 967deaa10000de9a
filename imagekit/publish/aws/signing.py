"""Signature Version 4 for PutSnapshotBlock: byte for byte what botocore sends, with the signing key kept.

The key changes once a day and the body is not signed: a request costs one SHA-256 and one HMAC over a few hundred
bytes.
"""

import hashlib
import hmac
import re
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import urlsplit

from imagekit.errors import PublishError

Credentials = tuple[str, str, str | None]
"""Access key, secret key, session token."""

_SNAPSHOT = re.compile(r"snap-[0-9a-f]{1,59}")
_CHECKSUM = re.compile(r"[A-Za-z0-9+/=]{1,64}")
_SENDABLE = re.compile(r"[\x21-\x7e]+")
_UNSIGNED = "UNSIGNED-PAYLOAD"


def host_of(endpoint: str) -> str:
    """Return the Host header for an https:// endpoint, as botocore writes it."""
    parts = urlsplit(endpoint)
    if parts.scheme != "https" or not parts.hostname:
        raise PublishError(
            f"{endpoint!r} is no https:// endpoint", hint="the block's bytes are not signed: only TLS guards them"
        )
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return name if parts.port in {None, 443} else f"{name}:{parts.port}"


class Signer:
    """Makes the headers of a block put. Safe to share between threads."""

    def __init__(
        self, endpoint: str, region: str, credentials: Callable[[], Credentials], service: str = "ebs"
    ) -> None:
        self.host = host_of(endpoint)
        self._region = region
        self._service = service
        self._credentials = credentials
        self._kept: tuple[str, str, bytes] = ("", "", b"")

    def credentials(self) -> Credentials:
        """Ask for the credentials of now; PublishError, which does not show them, when they cannot be sent."""
        access, secret, token = self._credentials()
        if not _SENDABLE.fullmatch(access) or not secret or (token and not _SENDABLE.fullmatch(token)):
            raise PublishError(
                "the AWS credentials hold what no header can carry",
                hint="look for a line break or a space at the end of the access key or the session token",
            )
        return access, secret, token or None

    def put(
        self,
        snapshot: str,
        index: int,
        checksum: str,
        length: int,
        *,
        by: Credentials,
        now: datetime | None = None,
    ) -> tuple[str, dict[str, str]]:
        """Return the path and the headers, Host included, of a PutSnapshotBlock."""
        if not _SNAPSHOT.fullmatch(snapshot) or not _CHECKSUM.fullmatch(checksum) or index < 0 or length < 0:
            raise ValueError("no PutSnapshotBlock can be made of this")
        access, secret, token = by
        moment = (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
        path = f"/snapshots/{snapshot}/blocks/{index}"
        headers = {
            "Host": self.host,
            "x-amz-Checksum": checksum,
            "x-amz-Checksum-Algorithm": "SHA256",
            "X-Amz-Content-SHA256": _UNSIGNED,
            "x-amz-Data-Length": str(length),
            "X-Amz-Date": moment,
        }
        if token:
            headers["X-Amz-Security-Token"] = token
        # They stand in the order of their lower-case names: what is signed needs no sorting.
        names = ";".join(name.lower() for name in headers)
        lines = "".join(f"{name.lower()}:{value}\n" for name, value in headers.items())
        canonical = f"PUT\n{path}\n\n{lines}\n{names}\n{_UNSIGNED}"
        scope = f"{moment[:8]}/{self._region}/{self._service}/aws4_request"
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{digest}"
        signature = hmac.digest(self._key(secret, moment[:8]), text.encode(), "sha256").hex()
        headers["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={access}/{scope}, SignedHeaders={names}, Signature={signature}"
        )
        return path, headers

    def _key(self, secret: str, day: str) -> bytes:
        kept_secret, kept_day, key = self._kept
        if kept_secret != secret or kept_day != day:
            key = f"AWS4{secret}".encode()
            for part in (day, self._region, self._service, "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._kept = (secret, day, key)  # one assignment: no thread sees half of it
        return key
