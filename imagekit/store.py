"""The content-addressed cache on disk.

    results/<key>         the record of one step's result: digest, length, mtime and inode of the blob
    blobs/<digest>        the bytes
    blobs/<digest>.map    their block map, so that nobody hashes them twice
    locks/<key>           one file lock a key: of two builds of one thing one works, the other waits
    tmp/<random>/         work under way; its owner holds its lock file, so the left-overs of the dead are known

A result is written under tmp, hashed, flushed to disk and renamed to its digest; only then is its record written.
A kill at any point leaves nothing or a whole result, so there is nothing to resume. A map's mtime is the last use.
"""

import errno
import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from imagekit.errors import BuildError, TryAgainError
from imagekit.sparse import BlockMap, map_blocks

_FULL = {errno.ENOSPC, errno.EDQUOT}
_NEW = "new-"
_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Stored:
    """A step's result in the store, as a later step reads it."""

    path: Path
    digest: str

    def blocks(self) -> BlockMap:
        """The block map that was made when the result was."""
        return BlockMap.from_bytes(map_path(self.path).read_bytes())


@dataclass(frozen=True, slots=True)
class Record:
    """What results/<key> holds."""

    step: str
    digest: str
    length: int
    mtime_ns: int
    inode: int


@dataclass(frozen=True, slots=True)
class Found:
    """The answer to a look-up: the result, or None and why."""

    result: Stored | None
    reason: str


@dataclass(frozen=True, slots=True)
class Damage:
    """A blob whose bytes are not what its name says."""

    digest: str
    found: str


class Store:
    """The cache below one folder. Safe for any number of threads and processes at once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        try:
            for name in ("results", "blobs", "locks", "tmp"):
                (root / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BuildError(
                f"the cache {root} cannot be used",
                details=str(error),
                hint="set IMAGEKIT_CACHE_DIR to a folder that you can write to",
            ) from error

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Hold off pruning while results are read; many may hold it at once."""
        with self._shared_lock(fcntl.LOCK_SH):
            self._sweep()
            yield

    def find(self, key: str) -> Found:
        """Look a key up; a damaged blob is taken away, so that it is made again."""
        record = self._record(key)
        if record is None:
            return Found(None, "never made with these inputs and settings")
        blob = self._blob(record.digest)
        try:
            status = blob.stat()
        except FileNotFoundError:
            return Found(None, "made before, and pruned since")
        seen = (status.st_size, status.st_mtime_ns, status.st_ino)
        if seen != (record.length, record.mtime_ns, record.inode):
            # Moved or touched: only the bytes can tell.
            if map_blocks(blob).digest != record.digest:
                self._discard(record.digest)
                return Found(None, "the cached result was damaged")
            self._write_record(key, record.step, record.digest)
        try:
            if time.time() - map_path(blob).stat().st_mtime > _HOUR:
                os.utime(map_path(blob))
        except FileNotFoundError:
            return Found(None, "the cached result has lost its block map")
        return Found(Stored(blob, record.digest), "cached")

    def make(
        self,
        key: str,
        step: str,
        produce: Callable[[Path], None],
        *,
        waiting: Callable[[], None],
        damaged: Callable[[str], None],
    ) -> tuple[Stored, bool]:
        """Return the result of a key and whether it was found; `produce` writes it to the path that it is given.

        Call it inside `in_use`. `waiting` is called when somebody else is making the same thing.
        """
        found = self.find(key)
        if found.result is not None:
            return found.result, True
        with self._locked(key, waiting):
            again = self.find(key)
            if again.result is not None:
                return again.result, True
            for reason in {found.reason, again.reason}:
                if "damaged" in reason or "lost" in reason:
                    damaged(reason)
            return self._made(key, step, produce), False

    def records(self) -> Iterator[tuple[str, Record]]:
        """Yield each key and its record."""
        for path in sorted((self.root / "results").iterdir()):
            record = self._record(path.name)
            if record is not None:
                yield path.name, record

    def verify(self) -> Iterator[tuple[str, Damage | None]]:
        """Hash every blob in full and yield (digest, damage or None); damaged ones are taken away."""
        with self.in_use():
            for blob in self._blobs():
                found = map_blocks(blob).digest
                if found == blob.name:
                    yield blob.name, None
                else:
                    self._discard(blob.name)
                    yield blob.name, Damage(blob.name, found)

    def prune(self, *, keep_bytes: int | None = None, max_age: float | None = None) -> tuple[int, int]:
        """Remove blobs unused for `max_age` seconds, then the longest unused until `keep_bytes` are left.

        Returns (blobs removed, bytes freed on disk). TryAgainError while a build is running.
        """
        with self._shared_lock(fcntl.LOCK_EX | fcntl.LOCK_NB):
            self._sweep()
            blobs = sorted(((_last_use(blob), blob) for blob in self._blobs()), key=lambda item: item[0])
            total = sum(_on_disk(blob) for _, blob in blobs)
            count = freed = 0
            for used, blob in blobs:
                old = max_age is not None and time.time() - used > max_age
                over = keep_bytes is not None and total - freed > keep_bytes
                if old or over:
                    freed += _on_disk(blob)
                    count += 1
                    self._discard(blob.name)
            self._forget()
            return count, freed

    def size(self) -> int:
        """The bytes that the blobs take on disk."""
        return sum(_on_disk(blob) for blob in self._blobs())

    def _made(self, key: str, step: str, produce: Callable[[Path], None]) -> Stored:
        with self._workplace() as folder:
            out = folder / "out"
            try:
                produce(out)
                blocks = map_blocks(out)
                _flush(out)
                self._place(folder, out, blocks)
            except OSError as error:
                if error.errno in _FULL:
                    raise full_disk(self.root) from error
                raise
        self._write_record(key, step, blocks.digest)
        return Stored(self._blob(blocks.digest), blocks.digest)

    def _place(self, folder: Path, out: Path, blocks: BlockMap) -> None:
        blob = self._blob(blocks.digest)
        side = folder / "map"
        side.write_bytes(blocks.to_bytes())
        _flush(side)
        side.replace(map_path(blob))
        out.chmod(0o444)
        out.replace(blob)
        _flush(blob.parent)

    def _record(self, key: str) -> Record | None:
        try:
            return Record(**json.loads((self.root / "results" / key).read_bytes()))
        except (OSError, ValueError, TypeError):
            return None  # none, or torn by a power cut: the step runs again

    def _write_record(self, key: str, step: str, digest: str) -> None:
        status = self._blob(digest).stat()
        record = Record(step, digest, status.st_size, status.st_mtime_ns, status.st_ino)
        with self._workplace() as folder:
            path = folder / "record"
            path.write_text(json.dumps(asdict(record)))
            path.replace(self.root / "results" / key)

    def _blob(self, digest: str) -> Path:
        return self.root / "blobs" / digest

    def _blobs(self) -> list[Path]:
        return sorted(path for path in (self.root / "blobs").iterdir() if path.suffix != ".map")

    def _discard(self, digest: str) -> None:
        blob = self._blob(digest)
        blob.unlink(missing_ok=True)
        map_path(blob).unlink(missing_ok=True)

    def _forget(self) -> None:
        for key, record in self.records():
            if not self._blob(record.digest).exists():
                (self.root / "results" / key).unlink(missing_ok=True)
        for lock in (self.root / "locks").iterdir():
            lock.unlink(missing_ok=True)

    @contextmanager
    def _locked(self, key: str, waiting: Callable[[], None]) -> Iterator[None]:
        lock = FileLock(self.root / "locks" / key)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            waiting()
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def _shared_lock(self, kind: int) -> Iterator[None]:
        with (self.root / "in-use").open("a") as file:
            try:
                fcntl.flock(file, kind)
            except BlockingIOError:
                raise TryAgainError(
                    f"the cache {self.root} is in use", hint="prune it when no build is running"
                ) from None
            yield

    @contextmanager
    def _workplace(self) -> Iterator[Path]:
        try:
            new = Path(tempfile.mkdtemp(prefix=_NEW, dir=self.root / "tmp"))
            lock = (new / "lock").open("w")
        except OSError as error:
            if error.errno in _FULL:
                raise full_disk(self.root) from error
            raise
        with lock:
            # Locked before it is seen under its own name: a sweeper never takes living work for dead.
            fcntl.flock(lock, fcntl.LOCK_EX)
            folder = new.rename(new.with_name(new.name.removeprefix(_NEW)))
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def _sweep(self) -> None:
        """Remove what killed builds left: work whose lock nobody holds."""
        for folder in (self.root / "tmp").iterdir():
            with suppress(OSError):
                if folder.name.startswith(_NEW):
                    if time.time() - folder.stat().st_mtime > _HOUR:
                        shutil.rmtree(folder, ignore_errors=True)
                    continue
                with (folder / "lock").open("r") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)


def map_path(blob: Path) -> Path:
    """Return where a blob's block map lies."""
    return blob.with_name(blob.name + ".map")


def full_disk(folder: Path) -> TryAgainError:
    """Return the error for a disk without room."""
    status = os.statvfs(folder)
    return TryAgainError(
        f"the disk of {folder} is full",
        details=f"{status.f_bavail * status.f_frsize >> 20} MiB left",
        hint="`imagekit cache prune --keep 1GiB` makes room; IMAGEKIT_CACHE_DIR names another place",
    )


def _last_use(blob: Path) -> float:
    with suppress(FileNotFoundError):
        return map_path(blob).stat().st_mtime
    return blob.stat().st_mtime


def _on_disk(blob: Path) -> int:
    return blob.stat().st_blocks * 512


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
