"""A farm of caches around one shared store: in a folder, and in a bucket of a rehearsed S3."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from imagekit.rehearsal.account import Rehearsal
from imagekit.rehearsal.settings import AccountSettings
from imagekit.store import Store
from imagekit.store.backend import Backend, backend
from imagekit.store.shared import Shared
from imagekit.store.trust import Trust

Bucket = Callable[..., str]


def writer(seed: int = 1) -> Trust:
    """Return one who signs and believes itself."""
    key = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
    return Trust((key.public_key().public_bytes_raw(),), key.private_bytes_raw())


def reader(seed: int = 1) -> Trust:
    return Trust(writer(seed).believed)


def key_files(folder: Path, seed: int = 1) -> tuple[Path, Path]:
    """Write a writer's keys as OpenSSL does."""
    key = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
    private, public = folder / f"key-{seed}.pem", folder / f"key-{seed}.pub.pem"
    private.touch(0o600)
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    info = serialization.PublicFormat.SubjectPublicKeyInfo
    public.write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, info))
    return private, public


class Farm:
    """Makes caches that share one store."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self._folder = folder
        self.said: list[str] = []

    def cache(self, name: str, trust: Trust | None = None, **more: Any) -> Store:  # noqa: ANN401 -- options
        shared = Shared(self.backend, trust or writer(), **more)
        shared.warn = self.said.append
        return Store(self._folder / name, shared)

    @cached_property
    def backend(self) -> Backend:
        return backend(self.url)

    def names(self, kind: str = "") -> list[str]:
        kinds = [kind] if kind else ["results", "blobs"]
        return sorted(item.name for one in kinds for item in self.backend.items(one))

    def read(self, name: str) -> bytes:
        with self.backend.reading(name) as found:
            assert found is not None, name
            return found[0].read(1 << 24)

    def write(self, name: str, data: bytes) -> None:
        draft = self._folder / "draft"
        draft.write_bytes(data)
        self.backend.put(name, draft, replace=True)


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """Return a function that starts an account with a bucket, and gives the store's address."""
    with ExitStack() as stack:

        def start(**settings: Any) -> str:  # noqa: ANN401 -- of AccountSettings
            (tmp_path / "account").mkdir()
            given = AccountSettings(buckets=("the-farm@eu-west-1",), **settings)
            account = stack.enter_context(Rehearsal(tmp_path / "account", given))
            for name, value in {**account.environment, "AWS_DEFAULT_REGION": "eu-west-1"}.items():
                monkeypatch.setenv(name, value)
            return "s3://the-farm/a/store"

        yield start


@pytest.fixture(params=["folder", "s3"])
def farm(request: pytest.FixtureRequest, tmp_path: Path, bucket: Bucket) -> Farm:
    if request.param == "s3":
        return Farm(bucket(), tmp_path)
    (tmp_path / "nfs").mkdir()
    return Farm(f"file://{tmp_path / 'nfs'}", tmp_path)


@pytest.fixture
def nfs(tmp_path: Path) -> Farm:
    (tmp_path / "nfs").mkdir()
    return Farm(f"file://{tmp_path / 'nfs'}", tmp_path)
