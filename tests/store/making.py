"""What the tests of the store make, and how."""

import os
import time
from pathlib import Path

from imagekit.store import Store, Stored

KEY = "a" * 64
OTHER = "b" * 64


def nothing() -> None:
    return


def make(
    store: Store, key: str = KEY, content: bytes = b"content", said: list[str] | None = None
) -> tuple[Stored, bool]:
    """Make a key in the store; `said` gets the reason for making it, and the warnings."""
    said = [] if said is None else said

    def produce(out: Path, reason: str) -> None:
        said.append(reason)
        out.write_bytes(content)

    with store.in_use():
        return store.make(
            key, "step", produce, waiting=nothing, damaged=lambda what: said.append(f"warned: {what}")
        )


def blob(store: Store, content: bytes = b"content") -> Path:
    return make(store, content=content)[0].path


def restored(path: Path, data: bytes) -> None:
    """Write into a file and set its times back, as a failing disk does."""
    status = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def aged(path: Path, seconds: float) -> None:
    os.utime(path, (time.time() - seconds,) * 2)
