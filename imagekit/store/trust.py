"""Whose word counts for what a key's result is: Ed25519 signatures (RFC 8032) on the records of a shared store.

Signed is the ASCII text of a JSON list, `["imagekit result 1", key, step, digest, length]`. Keys are PEM files as
OpenSSL writes them: PKCS #8 of a writer, SubjectPublicKeyInfo of those who are believed, any number in a file.
"""

import json
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imagekit.errors import ToolError, UsageError
from imagekit.extras import missing

_SCOPE = "imagekit result 1"
_MARK = b"-----END PUBLIC KEY-----"
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class Claim:
    """What a record says: this key's result is the blob of this digest and length in bytes."""

    key: str
    step: str
    digest: str
    length: int

    def text(self) -> bytes:
        """Return what is signed."""
        return json.dumps([_SCOPE, self.key, self.step, self.digest, self.length]).encode("ascii")


@dataclass(frozen=True, slots=True)
class Trust:
    """Who is believed, by their public keys of 32 bytes; the own private key, 32 bytes, of one who writes.

    With `unsigned` everybody who can write is.
    """

    believed: tuple[bytes, ...] = ()
    writer: bytes | None = field(default=None, repr=False)
    unsigned: bool = False

    @property
    def may_write(self) -> bool:
        """Whether what we put would be believed by anybody."""
        return self.unsigned or self.writer is not None

    def sign(self, claim: Claim) -> str:
        """Return our signature, 128 hex characters; "" of one who has no key."""
        if self.writer is None:
            return ""
        signature: bytes = _ed25519().Ed25519PrivateKey.from_private_bytes(self.writer).sign(claim.text())
        return signature.hex()

    def believes(self, claim: Claim, signature: str) -> bool:
        """Tell whether somebody who is trusted said so."""
        if self.unsigned:
            return True
        return any(_signed(claim, signature, key) for key in self.believed)


def trust(believed: Iterable[Path], writer: Path | None, secret: str | None, *, unsigned: bool) -> Trust:
    """Read keys: of who is believed, and the writer's from a file or, as `secret`, its PEM. UsageError.

    A writer believes itself.
    """
    private = None
    if secret:
        private = _private(secret.encode(), "the writer's key")
    elif writer is not None:
        private = _private(_read_secret(writer), str(writer))
    keys = [key for path in believed for key in _public(path)]
    if private is not None:
        keys.append(_ed25519().Ed25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw())
    return Trust(tuple(dict.fromkeys(keys)), private, unsigned)


def _ed25519() -> Any:  # noqa: ANN401 -- a module of an extra
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415 -- an extra's
    except ModuleNotFoundError as error:
        raise missing("a store with signed results", error) from None
    return ed25519


def _signed(claim: Claim, signature: str, key: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 -- an extra's

    try:
        _ed25519().Ed25519PublicKey.from_public_bytes(key).verify(bytes.fromhex(signature), claim.text())
    except (InvalidSignature, ValueError):
        return False
    return True


def _read_secret(path: Path) -> bytes:
    """Read a private key's file; UsageError when others may read it, too."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read()
    except OSError as error:
        raise UsageError(f"{path} cannot be read", details=error.strerror or "") from None
    if mode & _OTHERS:
        raise UsageError(f"{path} can be read by others", hint=f"chmod 600 {path}, and perhaps a new key")
    return data


def _private(data: bytes, whose: str) -> bytes:
    key = None
    try:
        from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

        key = load_pem_private_key(data, None)
    except ModuleNotFoundError as error:
        raise missing("a store with signed results", error) from None
    except ToolError:
        raise
    except Exception:  # noqa: BLE001, S110 -- whatever the parser meets: its words might quote the key
        pass
    if not isinstance(key, _ed25519().Ed25519PrivateKey):
        raise UsageError(f"{whose} is no Ed25519 key, PEM, without a passphrase", hint=_HINT)
    return bytes(key.private_bytes_raw())


def _public(path: Path) -> list[bytes]:
    from_pem = _loader()
    try:
        pieces = path.read_bytes().split(_MARK)[:-1]
        keys = [from_pem(piece + _MARK + b"\n") for piece in pieces]
    except OSError as error:
        raise UsageError(f"{path} cannot be read", details=error.strerror or "") from None
    except (ValueError, TypeError) as error:
        raise UsageError(f"{path} holds what is no public key", details=str(error)) from None
    if not keys or not all(isinstance(key, _ed25519().Ed25519PublicKey) for key in keys):
        raise UsageError(f"{path} holds no Ed25519 public keys, PEM", hint=_HINT)
    return [key.public_bytes_raw() for key in keys]


def _loader() -> Any:  # noqa: ANN401 -- an extra's function
    try:
        from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise missing("a store with signed results", error) from None
    return load_pem_public_key


_HINT = "openssl genpkey -algorithm ed25519 makes a private key, openssl pkey -pubout its public one"
