"""The keys of a bundle: the user's own RSA key, EC2's certificate, and the AES key and IV that both may open.

RSA encryption pads with bytes that are usually random. Ours are made from what is encrypted and for whom, so that
a bundle with a given key and IV is the same bytes every time; who does not know the AES key sees no difference.
"""

import hashlib
import hmac
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.x509.oid import NameOID

from imagekit.errors import UsageError, VerificationError
from imagekit.formats.ami.manifest import Wrapped

_AES = 16
_LEAST_BITS = 1024
_HEX = re.compile(rb"[0-9a-fA-F]{32}")
_PAIR = re.compile(rb"\s*([0-9a-fA-F]{32})\s+([0-9a-fA-F]{32})\s*")
_PADDING = padding.PKCS1v15()
_SHA1 = hashes.SHA1()  # noqa: S303 -- EC2's format


@dataclass(frozen=True, slots=True)
class Secrets:
    """The AES key and the IV, 16 bytes each."""

    key: bytes = field(repr=False)
    iv: bytes = field(repr=False)


def random_secrets() -> Secrets:
    """Return new ones."""
    return Secrets(os.urandom(_AES), os.urandom(_AES))


def secrets_from(data: bytes) -> Secrets:
    """Read a key and an IV: two times 32 hexadecimal characters, with space between; UsageError."""
    found = _PAIR.fullmatch(data)
    if not found:
        raise UsageError("the file of the AES key and IV is not two times 32 hexadecimal characters")
    return Secrets(*(bytes.fromhex(part.decode()) for part in found.groups()))


def derived_secrets(private: rsa.RSAPrivateKey, name: str, image: str) -> Secrets:
    """Return the key and IV that only this user's key gives this image (by its digest) under this name."""
    secret = _derived(private, f"imagekit AMI bundle\0{name}\0{image}".encode())
    return Secrets(secret[:_AES], secret[_AES:])


def fingerprint(public: rsa.RSAPublicKey) -> str:
    """Return what tells a public key from others: SHA-256 of its DER, 64 hex characters."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(public.public_bytes(serialization.Encoding.DER, form)).hexdigest()


def commitment(private: rsa.RSAPrivateKey, secrets: Secrets) -> str:
    """Return what tells a key and IV from others, and nobody without the private key more: 64 hex characters."""
    return _derived(private, b"imagekit AMI secrets\0" + secrets.key + secrets.iv).hex()


def _derived(private: rsa.RSAPrivateKey, about: bytes) -> bytes:
    raw = private.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return hmac.digest(hashlib.sha256(raw).digest(), about, "sha256")


def private_key(data: bytes) -> rsa.RSAPrivateKey:
    """Read the user's key, PEM; UsageError, without a word of what is in it."""
    try:
        key = serialization.load_pem_private_key(data, None)
    except TypeError:
        raise UsageError(
            "the private key has a passphrase", hint="openssl rsa -in KEY -out COPY makes a copy without"
        ) from None
    except Exception:  # noqa: BLE001 -- whatever the parser meets: its words might quote the key
        raise UsageError(
            "the private key is not a PEM file with a key", hint="`imagekit keys new` makes one"
        ) from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise UsageError("the private key is not an RSA key, which EC2 asks for")
    _check_length(key.key_size, "the private key")
    return key


def public_key(data: bytes, whose: str) -> rsa.RSAPublicKey:
    """Return a certificate's key. Its dates are not looked at: EC2's own has been out of date for years."""
    try:
        key = x509.load_pem_x509_certificate(data).public_key()
    except Exception as error:
        raise UsageError(f"{whose} is not a PEM file with a certificate", details=str(error)) from error
    if not isinstance(key, rsa.RSAPublicKey):
        raise UsageError(f"{whose} has no RSA key")
    _check_length(key.key_size, whose)
    return key


def new_pair(now: datetime) -> tuple[bytes, bytes]:
    """Return a new private key and a self-signed certificate for it, both PEM; good for ten years."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "imagekit AMI bundles")])
    start = now.astimezone(UTC).replace(microsecond=0)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start.replace(year=start.year + 10, day=min(start.day, 28)))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    return private, certificate.public_bytes(serialization.Encoding.PEM)


def wrap(secrets: Secrets, key: rsa.RSAPublicKey) -> Wrapped:
    """Encrypt key and IV, as 32 lowercase hexadecimal characters each, for who has the private key."""
    return Wrapped(_encrypted(secrets, "key", secrets.key, key), _encrypted(secrets, "iv", secrets.iv, key))


def unwrap(wrapped: Wrapped, private: rsa.RSAPrivateKey) -> Secrets:
    """Decrypt key and IV; VerificationError when they are for another key."""
    return Secrets(*(_decrypted(bytes.fromhex(text), private) for text in (wrapped.key, wrapped.iv)))


def sign(text: bytes, private: rsa.RSAPrivateKey) -> bytes:
    """Return the signature: RSA, SHA-1, PKCS #1 v1.5."""
    return private.sign(text, _PADDING, _SHA1)


def is_signed(text: bytes, signature: bytes, public: rsa.RSAPublicKey) -> bool:
    """Tell whether the signature is of this text, by the owner of this key."""
    try:
        public.verify(signature, text, _PADDING, _SHA1)
    except InvalidSignature:
        return False
    return True


def encrypt(pieces: Iterator[bytes], secrets: Secrets) -> Iterator[bytes]:
    """Yield AES-128-CBC of the pieces, filled up by PKCS #7."""
    encryptor = _cipher(secrets).encryptor()
    length = 0
    for piece in pieces:
        length += len(piece)
        if out := encryptor.update(piece):
            yield out
    fill = _AES - length % _AES
    yield encryptor.update(bytes([fill]) * fill) + encryptor.finalize()


def decrypt(pieces: Iterator[bytes], secrets: Secrets) -> Iterator[bytes]:
    """Yield what `encrypt` was given; VerificationError when it does not end as it should."""
    decryptor = _cipher(secrets).decryptor()
    last = b""
    for piece in pieces:
        data = last + decryptor.update(piece)
        last = data[-_AES:]
        if data := data[:-_AES]:
            yield data
    try:
        decryptor.finalize()
    except ValueError:
        last = b""
    if not last or not 1 <= last[-1] <= _AES or last[-last[-1] :] != last[-1:] * last[-1]:
        raise VerificationError("the bundle does not end as an encrypted one does: it is cut off or damaged")
    yield last[: -last[-1]]


def same(one: rsa.RSAPublicKey, other: rsa.RSAPublicKey) -> bool:
    """Tell whether two keys are one."""
    return one.public_numbers() == other.public_numbers()


def _check_length(bits: int, whose: str) -> None:
    if bits < _LEAST_BITS:
        raise UsageError(f"{whose} has {bits} bits: fewer than {_LEAST_BITS} are no secret")


def _cipher(secrets: Secrets) -> Cipher[modes.CBC]:
    return Cipher(algorithms.AES(secrets.key), modes.CBC(secrets.iv))


def _encrypted(secrets: Secrets, what: str, value: bytes, public: rsa.RSAPublicKey) -> str:
    numbers = public.public_numbers()
    modulus = numbers.n.to_bytes(-(-public.key_size // 8), "big")
    text = value.hex().encode()
    count = len(modulus) - 3 - len(text)
    block = b"\0\2" + _fill(secrets.key, what.encode() + secrets.iv + modulus, count) + b"\0" + text
    return pow(int.from_bytes(block, "big"), numbers.e, numbers.n).to_bytes(len(modulus), "big").hex()


def _fill(key: bytes, about: bytes, count: int) -> bytes:
    """Return so many bytes that are not zero."""
    found = b""
    number = 0
    while len(found) < count:
        found += hmac.digest(key, b"imagekit padding" + number.to_bytes(4, "big") + about, "sha256").replace(
            b"\0", b""
        )
        number += 1
    return found[:count]


def _decrypted(data: bytes, private: rsa.RSAPrivateKey) -> bytes:
    try:
        text = private.decrypt(data, _PADDING)
    except ValueError:
        text = b""
    if not _HEX.fullmatch(text):
        raise VerificationError(
            "the private key does not open this bundle", hint="--private-key names the key that it was made with"
        )
    return bytes.fromhex(text.decode())
