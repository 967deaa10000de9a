"""Keys, an image, and a bundler of other tools: GNU tar and openssl, which ec2-ami-tools and euca2ools run too."""

import hashlib
import os
import random
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from imagekit.command import run
from imagekit.formats import ami
from imagekit.formats.ami import keys

MIB = 1 << 20
SECRETS = ami.Secrets(bytes(range(16)), bytes(range(16, 32)))


class Pair(NamedTuple):
    """A private key and its certificate, as files and as what they hold."""

    key_file: Path
    certificate_file: Path
    private: Any
    public: Any


def _pair(folder: Path) -> Pair:
    folder.mkdir()
    files = folder / "pk.pem", folder / "cert.pem"
    pems = ami.new_pair(datetime(2026, 1, 1, tzinfo=UTC))
    for file, pem in zip(files, pems, strict=True):
        file.write_bytes(pem)
    return Pair(*files, ami.private_key(pems[0]), ami.public_key(pems[1], "it"))


@pytest.fixture(scope="session")
def own(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return _pair(tmp_path_factory.mktemp("own") / "keys")


@pytest.fixture(scope="session")
def ec2(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return _pair(tmp_path_factory.mktemp("ec2") / "keys")


@pytest.fixture
def owner(own: Pair, ec2: Pair) -> ami.Owner:
    return ami.Owner(user="123456789012", private=own.private, ec2=ec2.public)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Return a sparse image of 48 MiB and a little, its data more than one part."""
    path = tmp_path / "app.raw"
    with path.open("wb") as file:
        for at, length in ((0, 3), (5 * MIB, 11 * MIB), (40 * MIB + 77, 4096)):
            file.seek(at)
            file.write(random.Random(at).randbytes(length))  # noqa: S311 -- data, no secret
        file.truncate(48 * MIB + 1000)
    return path


class Other(NamedTuple):
    """Another tool's bundle: all that can be lied about."""

    manifest: Path
    private: Any

    def out(self) -> Path:
        return self.manifest.with_name("image.raw")

    def unbundle(self) -> bytes:
        ami.unbundle(self.manifest, self.out(), self.private)
        return self.out().read_bytes()


Otherwise = Callable[..., Other]


@pytest.fixture
def otherwise(tmp_path: Path, own: Pair, ec2: Pair) -> Otherwise:
    """Return a function that bundles a tar as others would: otherwise(tar, size, …)."""
    count = iter(range(1000))

    def bundle(
        tar: bytes,
        size: int,
        *,
        packed: bytes | None = None,
        edit: Callable[[str], str] = str,
        after: Callable[[str], str] = str,
        quote: str = '"',
        part: int = 4096,
        part_name: str = "x.part.{index:02}",
        stream: Callable[[bytes], bytes] = bytes,
    ) -> Other:
        folder = tmp_path / f"other-{next(count)}"
        folder.mkdir()
        zipped = run("gzip", "-c", stdin=tar).stdout if packed is None else packed
        data = stream(b"".join(keys.encrypt(iter([zipped]), SECRETS)))
        cut = [data[at : at + part] for at in range(0, len(data), part)] or [b""]
        names = [part_name.format(index=index) for index in range(len(cut))]
        for name, piece in zip(names, cut, strict=True):
            if "/" not in name and name not in {"", ".."}:
                (folder / name).write_bytes(piece)
        its, theirs = keys.wrap(SECRETS, own.public), keys.wrap(SECRETS, ec2.public)
        parts = "".join(
            f'<part index="{index}"><filename>{name}</filename>'
            f'<digest algorithm="SHA1">{hashlib.sha1(piece, usedforsecurity=False).hexdigest()}</digest></part>'
            for index, (name, piece) in enumerate(zip(names, cut, strict=True))
        )
        machine = "<machine_configuration><architecture>i386</architecture></machine_configuration>"
        content = (
            "<image><name>x</name><user>123456789012</user><type>machine</type>"
            f'<digest algorithm="SHA1">{hashlib.sha1(tar, usedforsecurity=False).hexdigest()}</digest>'
            f"<size>{size}</size><bundled_size>{len(data)}</bundled_size>"
            f'<ec2_encrypted_key algorithm="AES-128-CBC">{theirs.key}</ec2_encrypted_key>'
            f'<user_encrypted_key algorithm="AES-128-CBC">{its.key}</user_encrypted_key>'
            f"<ec2_encrypted_iv>{theirs.iv}</ec2_encrypted_iv><user_encrypted_iv>{its.iv}</user_encrypted_iv>"
            f'<parts count="{len(cut)}">{parts}</parts></image>'
        )
        signed = edit(machine + content).replace('"', quote)
        signature = keys.sign(signed.encode(), own.private).hex()
        text = f"<?xml version='1.0'?><manifest><version>2007-10-10</version>{signed}"
        path = folder / "x.manifest.xml"
        path.write_text(after(f"{text}<signature>{signature}</signature></manifest>"))
        return Other(path, own.private)

    return bundle


def left_over(folder: Path) -> list[str]:
    """Return what an unbundling has left beside a bundle, hidden or not."""
    return [name for name in os.listdir(folder) if name == "image.raw" or name.endswith(".imagekit")]
