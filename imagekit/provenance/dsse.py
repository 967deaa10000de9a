"""DSSE, the Dead Simple Signing Envelope, with Ed25519.

secure-systems-lab/dsse, protocol.md and envelope.md, version 1.0: what is signed is PAE(type, body), and the
envelope is JSON of `payload`, `payloadType` and `signatures`. Either alphabet of base64 is read.
"""

import binascii
import json
from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imagekit.errors import VerificationError
from imagekit.provenance import strict

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

IN_TOTO = "application/vnd.in-toto+json"
"""The payloadType of in-toto statements: in-toto/attestation, spec/v1/envelope.md."""

_URL_SAFE = str.maketrans("-_", "+/")


@dataclass(frozen=True, slots=True)
class Envelope:
    """A payload, its type, and (key id, signature) of whoever signed it."""

    payload: bytes
    payload_type: str
    signatures: tuple[tuple[str, bytes], ...]

    def to_line(self) -> bytes:
        """Return it as one line of JSON."""
        content = {
            "payload": b64encode(self.payload).decode(),
            "payloadType": self.payload_type,
            "signatures": [
                {"keyid": keyid, "sig": b64encode(signature).decode()} for keyid, signature in self.signatures
            ],
        }
        return (json.dumps(content, sort_keys=True) + "\n").encode()


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return the pre-authentication encoding: the bytes that are signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def signed(payload: bytes, key: "Ed25519PrivateKey", keyid: str, payload_type: str = IN_TOTO) -> Envelope:
    """Return the envelope of a payload, signed; Ed25519 gives the same signature each time."""
    return Envelope(payload, payload_type, ((keyid, key.sign(pae(payload_type, payload))),))


def is_by(envelope: Envelope, key: "Ed25519PublicKey") -> bool:
    """Tell whether one of the signatures is this key's. Key ids are hints, and decide nothing."""
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 -- an extra, imported where it is used

    message = pae(envelope.payload_type, envelope.payload)
    for _, signature in envelope.signatures:
        try:
            key.verify(signature, message)
        except InvalidSignature:
            continue
        return True
    return False


def parse(line: bytes, where: str) -> Envelope:
    """Return the envelope of a JSON text; VerificationError for what is none.

    Fields that the specification does not name are passed over, as it demands.
    """
    content = strict.parse(line, where)
    try:
        signatures = [
            (_text(one.get("keyid") or ""), _decoded(one["sig"])) for one in _listed(content["signatures"])
        ]
        return Envelope(_decoded(content["payload"]), _text(content["payloadType"]), tuple(signatures))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        told = f"{type(error).__name__}: {error}"[:200]
        raise VerificationError(f"{where} is no DSSE envelope", details=told) from None


def _decoded(value: object) -> bytes:
    text = _text(value).translate(_URL_SAFE)
    try:
        return b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.60} is no text")
    value.encode()  # a lone surrogate is no text either
    return value


def _listed(value: object) -> list[dict[str, object]]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r:.60} is no list")
    return value
