"""A self-signed certificate for an address, made anew: what a host has before anybody gives it a better one."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Identity:
    """A server's TLS context, its certificate as PEM in a file, and the certificate's SHA-256 as AB:CD:…"""

    context: ssl.SSLContext
    pem: Path
    fingerprint: str


def identity(folder: Path, address: str) -> Identity:
    """Make a key and a certificate; the key stays in no file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, address)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = folder / f"{address.replace(':', '-')}.pem"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    print_ = sha256(made.public_bytes(serialization.Encoding.DER)).digest().hex(":").upper()
    return Identity(_context(folder, pem, key), pem, print_)


def _context(folder: Path, pem: Path, key: ec.EllipticCurvePrivateKey) -> ssl.SSLContext:
    secret = folder / "key.pem"
    secret.touch(mode=0o600)
    try:
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        secret.write_bytes(key.private_bytes(*form))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(pem, secret)
    finally:
        secret.unlink()
    return context
