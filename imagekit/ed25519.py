"""Ed25519 keys, as PEM files: the private one for its owner's eyes only."""

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from imagekit.errors import UsageError
from imagekit.extras import missing

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

PRIVATE, PUBLIC = "signing-key.pem", "signing-key.pub.pem"
_LARGEST = 1 << 16
_END = b"-----END PUBLIC KEY-----\n"
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def new_pair() -> tuple[bytes, bytes]:
    """Return a new private key (PKCS #8) and its public key (SubjectPublicKeyInfo), both PEM."""
    with _extra():
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 -- an extra
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private, public


def private_key(path: Path) -> "Ed25519PrivateKey":
    """Return the private key in a file; UsageError when others may read it, or for what is none."""
    return private_key_of(_read(path, private=True), str(path))


def private_key_of(data: bytes, whose: str) -> "Ed25519PrivateKey":
    """Return the private key in a PEM; UsageError for what is none."""
    with _extra():
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415
        from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415
    try:
        key = load_pem_private_key(data, None)
    except (ValueError, TypeError):
        key = None  # what the library says might quote the file
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(
            f"{whose} is no Ed25519 private key in PEM, without a password", hint="imagekit keys new --ed25519"
        )
    return key


def public_key(path: Path) -> "Ed25519PublicKey":
    """Return the public key in a file; UsageError for what is none."""
    return _public_key(_read(path), path)


def public_keys(path: Path) -> "list[Ed25519PublicKey]":
    """Return all public keys in a file, one PEM after the other; UsageError where there is none."""
    pieces = _read(path).split(_END)[:-1]
    if not pieces:
        raise _no_public_key(path)
    return [_public_key(piece + _END, path) for piece in pieces]


def _public_key(data: bytes, path: Path) -> "Ed25519PublicKey":
    with _extra():
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415
        from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415
    try:
        key = load_pem_public_key(data)
    except ValueError:
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise _no_public_key(path)
    return key


def _no_public_key(path: Path) -> UsageError:
    return UsageError(f"{path} is no Ed25519 public key in PEM", hint=f"{PUBLIC}, of `imagekit keys new`")


def key_id(key: "Ed25519PublicKey") -> str:
    """Return a key's name: SHA-256 of its SubjectPublicKeyInfo in DER, 64 hex characters."""
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 -- an extra

    data = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(data).hexdigest()


def _read(path: Path, *, private: bool = False) -> bytes:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(_LARGEST)
    except OSError as error:
        raise UsageError(f"{path} cannot be read", details=str(error.strerror)) from error
    if private and mode & _OTHERS:
        raise UsageError(
            f"{path} is a private key that others may use",
            details=f"mode {mode & 0o7777:04o}",
            hint=f"chmod 600 {path}",
        )
    return data


@contextmanager
def _extra() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise missing("signing", error) from error
