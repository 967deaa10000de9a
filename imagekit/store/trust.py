"""Whose word counts for what a key's result is: Ed25519 signatures (RFC 8032) on the records of a shared store.

Signed is the ASCII text of a JSON list, `["imagekit result 1", key, step, digest, length]`. Keys are PEM files as
OpenSSL writes them: PKCS #8 of a writer, SubjectPublicKeyInfo of those who are believed, any number in a file.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from imagekit import ed25519

_SCOPE = "imagekit result 1"


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
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415 -- an extra's

        return Ed25519PrivateKey.from_private_bytes(self.writer).sign(claim.text()).hex()

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
        private = ed25519.private_key_of(secret.encode(), "the writer's key")
    elif writer is not None:
        private = ed25519.private_key(writer)
    keys = [key for path in believed for key in ed25519.public_keys(path)]
    keys += [private.public_key()] if private is not None else []
    raw = dict.fromkeys(key.public_bytes_raw() for key in keys)
    return Trust(tuple(raw), private.private_bytes_raw() if private is not None else None, unsigned)


def _signed(claim: Claim, signature: str, key: bytes) -> bool:
    # An extra's; whoever has keys to believe has it.
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

    try:
        Ed25519PublicKey.from_public_bytes(key).verify(bytes.fromhex(signature), claim.text())
    except (InvalidSignature, ValueError):
        return False
    return True
