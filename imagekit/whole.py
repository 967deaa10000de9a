"""Small files that are there whole or not at all: written beside their place, and renamed."""

import os
from pathlib import Path
from threading import get_ident

PRIVATE = 0o600


def write_whole(path: Path, content: bytes, *, mode: int = 0o666, durable: bool = False) -> None:
    """Write a file, in place of what is there; a `durable` one outlives a power cut. OSError as it comes.

    A kill -9 alone leaves something beside it: `.NAME.PID.THREAD.imagekit`.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.{get_ident()}.imagekit")
    beside.unlink(missing_ok=True)  # of a killed process that had our numbers, or somebody's trap
    try:
        with open(beside, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
