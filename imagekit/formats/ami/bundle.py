"""An image to the encrypted stream that parts are cut from, and back; each in one pass over pieces of 1 MiB.

image → tar → SHA-1 → gzip → AES        and        AES → gzip → SHA-1 → tar → image
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric import rsa

from imagekit.errors import VerificationError
from imagekit.formats.ami import gzip, keys, tar
from imagekit.formats.ami.manifest import Machine, Manifest, Part, Read, signed_text, to_xml
from imagekit.formats.stream import PIECE, Stream, ahead
from imagekit.sparse import ReadAt


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Who makes a bundle (the account's 12 digits), and for which EC2."""

    user: str
    private: rsa.RSAPrivateKey
    ec2: rsa.RSAPublicKey


@dataclass(slots=True)
class Sums:
    """What is known when a stream has ended: SHA-1 of the tar, bytes of the stream."""

    tar: "hashlib._Hash" = field(default_factory=lambda: hashlib.sha1(usedforsecurity=False))
    length: int = 0


def encrypted(
    name: str, size: int, runs: Sequence[tar.Run], read_at: ReadAt, secrets: keys.Secrets, sums: Sums
) -> Iterator[bytes]:
    """Yield the stream of an image whose data lies in `runs`; `sums` is filled by then."""
    pieces = gzip.pack(ahead(_summed(_tar(name, size, runs, read_at), sums)))
    for piece in keys.encrypt(pieces, secrets):
        sums.length += len(piece)
        yield piece


def manifest_of(
    name: str, size: int, machine: Machine, owner: Owner, secrets: keys.Secrets, parts: Sequence[Part], sums: Sums
) -> bytes:
    """Return the manifest of a stream that was cut into these parts."""
    manifest = Manifest(
        name=name,
        user=owner.user,
        machine=machine,
        digest=sums.tar.hexdigest(),
        size=size,
        bundled_size=sums.length,
        ec2=keys.wrap(secrets, owner.ec2),
        own=keys.wrap(secrets, owner.private.public_key()),
        parts=tuple(parts),
    )
    return to_xml(manifest, keys.sign(signed_text(manifest), owner.private))


def open_manifest(read: Read, private: rsa.RSAPrivateKey) -> keys.Secrets:
    """Return the key and IV of a bundle; VerificationError when it was not made, or not signed, with this key."""
    if read.manifest.own is None:
        raise VerificationError("the bundle has no key for its user: only EC2 can open it")
    secrets = keys.unwrap(read.manifest.own, private)
    if not any(keys.is_signed(text, read.signature, private.public_key()) for text in read.signed):
        raise VerificationError(
            "the manifest's signature is wrong",
            details="it was changed since it was signed, or signed with another key",
        )
    return secrets


def image_of(pieces: Iterator[bytes], manifest: Manifest, secrets: keys.Secrets) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, bytes) of the image's data; VerificationError, at the end at the latest, if it is damaged."""
    sums = Sums()
    opened = gzip.unpack(ahead(keys.decrypt(pieces, secrets)), manifest.size + tar.OVERHEAD)
    yield from tar.read(Stream(ahead(_summed(ahead(opened), sums)), "the bundle"), manifest.size)
    if sums.tar.hexdigest() != manifest.digest:
        raise VerificationError(
            "the image is not the one that was bundled",
            details=f"SHA1 of its tar: {sums.tar.hexdigest()}, and the manifest says {manifest.digest}",
        )


def _tar(name: str, size: int, runs: Sequence[tar.Run], read_at: ReadAt) -> Iterator[bytes]:
    """Yield a tar in pieces of one size, the last but for: their bounds are those of the gzip's blocks."""
    piece = bytearray()
    total = 0
    for data in _tar_as_it_comes(name, size, runs, read_at):
        total += len(data)
        piece += data
        while len(piece) >= PIECE:
            yield bytes(piece[:PIECE])
            del piece[:PIECE]
    piece += tar.end(total)
    yield bytes(piece)


def _tar_as_it_comes(name: str, size: int, runs: Sequence[tar.Run], read_at: ReadAt) -> Iterator[bytes]:
    yield tar.start(name, size, runs)
    for offset, length in runs:
        for at in range(offset, offset + length, PIECE):
            yield read_at(at, min(PIECE, offset + length - at))


def _summed(pieces: Iterator[bytes], sums: Sums) -> Iterator[bytes]:
    for piece in pieces:
        sums.tar.update(piece)
        yield piece
