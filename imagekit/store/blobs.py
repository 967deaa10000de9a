"""The bytes of results, each under its digest, and beside it its block map."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from imagekit.sparse import BlockMap, allocated
from imagekit.store.workplace import Workplaces


@dataclass(frozen=True, slots=True)
class Blobs:
    """The folder of the blobs."""

    folder: Path
    workplaces: Workplaces

    def path(self, digest: str) -> Path:
        """Return where a blob lies, or would."""
        return self.folder / digest

    def __iter__(self) -> Iterator[Path]:
        """Yield the blobs by digest."""
        yield from sorted(path for path in self.folder.iterdir() if path.suffix != ".map")

    def place(self, out: Path, blocks: BlockMap) -> os.stat_result:
        """Move a file that is whole to its digest, and return its status there."""
        blob = self.path(blocks.digest)
        self.write_map(blob, blocks)
        out.chmod(0o444)
        status = out.stat()
        out.replace(blob)
        flush(self.folder)
        return status

    def write_map(self, blob: Path, blocks: BlockMap) -> None:
        """Write a blob's block map, whole or not at all."""
        with self.workplaces.new() as folder:
            side = folder / "map"
            side.write_bytes(blocks.to_bytes())
            flush(side)
            side.replace(map_path(blob))

    def discard(self, digest: str, seen: os.stat_result | None = None) -> None:
        """Take a blob away, if it is still the one that was `seen`: a damaged one may have been made again."""
        blob = self.path(digest)
        with suppress(FileNotFoundError):
            if seen is None or _state(blob.stat()) == _state(seen):
                blob.unlink()
                map_path(blob).unlink()

    def forget_maps(self) -> None:
        """Remove the maps of blobs that are gone."""
        for side in self.folder.glob("*.map"):
            if not side.with_suffix("").exists():
                side.unlink(missing_ok=True)

    def size(self) -> int:
        """The bytes that the blobs take on disk."""
        total = 0
        for blob in self:
            with suppress(FileNotFoundError):  # taken away meanwhile
                total += allocated(blob)
        return total


def map_path(blob: Path) -> Path:
    """Return where a blob's block map lies."""
    return blob.with_name(blob.name + ".map")


def has_map(blob: Path) -> bool:
    """Tell whether a blob's map is there and whole: the blob's digest is the SHA-256 of its bytes."""
    with suppress(FileNotFoundError):
        return hashlib.sha256(map_path(blob).read_bytes()).hexdigest() == blob.name
    return False


def last_use(blob: Path) -> float:
    """Return when a blob was last asked for, in seconds since 1970."""
    with suppress(FileNotFoundError):
        return map_path(blob).stat().st_mtime
    return blob.stat().st_mtime


def _state(status: os.stat_result) -> tuple[int, int]:
    return status.st_ino, status.st_ctime_ns  # an inode's number alone comes again


def flush(path: Path) -> None:
    """Wait until a file or a folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
