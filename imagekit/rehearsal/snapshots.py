"""The snapshots of a rehearsed account: sparse files in a folder, and what is known of each."""

import hashlib
import os
import secrets
import time
from base64 import b64encode
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

BLOCK = 512 * 1024
GIB = 1 << 30


@dataclass
class Snapshot:
    """One snapshot. `asked` are the parameters of its StartSnapshot."""

    name: str
    path: Path
    volume_size: int
    timeout: int
    asked: dict[str, Any]
    parent: "Snapshot | None" = None
    key: str = ""
    born: float = field(default_factory=time.monotonic)
    started: float = field(default_factory=time.time)
    touched: float = field(default_factory=time.monotonic)
    sealed: float | None = None
    failed: bool = False
    clean: bool = False  # what was never put reads as zeros, though it is encrypted
    tags: dict[str, str] = field(default_factory=dict)
    shared: set[str] = field(default_factory=set)  # accounts that may use it, and "all"
    digests: dict[int, bytes] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)

    @property
    def size(self) -> int:
        """Blocks of the volume."""
        return self.volume_size * GIB // BLOCK

    def write(self, index: int, data: bytes, digest: bytes) -> None:
        """Keep a block."""
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(descriptor, data, index * BLOCK)
        finally:
            os.close(descriptor)
        with self.lock:
            self.digests[index] = digest
            self.touched = time.monotonic()

    def all_digests(self) -> dict[int, bytes]:
        """Return index and SHA-256 of every block, the parents' too."""
        above = self.parent.all_digests() if self.parent else {}
        with self.lock:
            return {**above, **self.digests}

    def linear(self) -> str:
        """The LINEAR checksum over the blocks that were put."""
        with self.lock:
            digests = sorted(self.digests.items())
        return b64encode(hashlib.sha256(b"".join(digest for _, digest in digests)).digest()).decode()

    def read(self, index: int) -> bytes | None:
        """Return a block, None for one that nobody put."""
        if index in self.digests:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                return os.pread(descriptor, BLOCK, index * BLOCK)
            finally:
                os.close(descriptor)
        return self.parent.read(index) if self.parent else None

    def read_back(self, path: Path) -> None:
        """Write the volume of this snapshot: sparse, with garbage where an encrypted one has nothing."""
        garbage = hashlib.sha256(self.name.encode()).digest() * (BLOCK // 32)
        whole = self.all_digests()
        with open(path, "wb") as file:
            file.truncate(self.volume_size * GIB)
            for index in range(self.size) if self.key and not self.clean else sorted(whole):
                file.seek(index * BLOCK)
                file.write(self.read(index) or garbage)


class Account:
    """All snapshots, by id. Safe between threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.lock = Lock()
        self.snapshots: dict[str, Snapshot] = {}
        self.tokens: dict[str, Snapshot] = {}

    def add(self, size: int, timeout: int, asked: dict[str, Any], parent: Snapshot | None, key: str) -> Snapshot:
        """Make a snapshot; the caller holds the lock."""
        name = f"snap-0{secrets.token_hex(8)}"
        made = Snapshot(name, self._folder / name, size, timeout, asked, parent, key)
        made.tags = {tag["Key"]: tag["Value"] for tag in asked.get("Tags", ())}
        made.path.touch(mode=0o600)
        self.snapshots[name] = made
        return made

    def copy(self, source: Snapshot, key: str, description: str) -> Snapshot:
        """Make a snapshot of the blocks of another, which may be in another region; the caller holds the lock."""
        name = f"snap-0{secrets.token_hex(8)}"
        path = self._folder / name
        os.link(source.path, path)  # the blocks of a completed snapshot never change
        made = Snapshot(name, path, source.volume_size, source.timeout, {"Description": description})
        made.parent, made.key, made.digests = source.parent, key, dict(source.digests)
        made.clean = source.clean or not source.key
        self.snapshots[name] = made
        return made
