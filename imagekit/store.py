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
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from imagekit.errors import BuildError, ImagekitError, TryAgainError
from imagekit.sparse import BlockMap, map_blocks

_FULL = {errno.ENOSPC, errno.EDQUOT}
_NEW = "new-"
_HOUR = 3600.0
_ROOM = "`imagekit cache prune --keep 1GiB` makes room; IMAGEKIT_CACHE_DIR names another place"
_PATIENCE = 0.2  # seconds between two looks whether a wait is still wanted


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
    """The answer to a look-up: the result, or None and why; `damaged` where it is no longer what was stored."""

    result: Stored | None
    reason: str
    damaged: bool = False


@dataclass(frozen=True, slots=True)
class Damage:
    """A blob whose bytes are not what its name says."""

    digest: str
    found: str


def default_root() -> Path:
    """Return the user's own cache folder."""
    import platformdirs  # noqa: PLC0415 -- a farm names its own

    return platformdirs.user_cache_path("imagekit", appauthor=False)


class Store:
    """The cache below one folder. Safe for any number of threads and processes at once."""

    def __init__(self, root: Path) -> None:
        self.root = root = root.absolute()  # tools run in folders of their own
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)  # what is cached may be private
            for name in ("results", "blobs", "locks", "tmp"):
                (root / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unusable(root, error) from error

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
                return Found(None, "the cached result was damaged", damaged=True)
            self._write_record(key, record.step, record.digest)
        if not _has_map(blob):
            return Found(None, "the cached result has lost its block map", damaged=True)
        if time.time() - _last_use(blob) > _HOUR:
            os.utime(map_path(blob))
        return Found(Stored(blob, record.digest), "cached")

    def make(
        self,
        key: str,
        step: str,
        produce: Callable[[Path, str], None],
        *,
        waiting: Callable[[], None],
        damaged: Callable[[str], None],
        unwanted: Callable[[], bool] = lambda: False,
    ) -> tuple[Stored, bool]:
        """Return the result of a key and whether it was found; else `produce` gets a path to write and the reason.

        Call it inside `in_use`. `waiting` is called when somebody else is making the same thing; the wait ends,
        with TryAgainError, once `unwanted` is true.
        """
        found = self.find(key)
        if found.result is not None:
            return found.result, True
        with self._room(), self._locked(key, waiting, unwanted):
            again = self.find(key)
            if again.result is not None:
                return again.result, True
            if found.damaged:
                damaged(found.reason)
            return self._made(key, step, lambda out: produce(out, found.reason)), False

    def records(self) -> Iterator[tuple[str, Record]]:
        """Yield each key and its record."""
        for path in sorted((self.root / "results").iterdir()):
            record = self._record(path.name)
            if record is not None:
                yield path.name, record

    def verify(self) -> Iterator[tuple[str, Damage | None]]:
        """Hash every blob in full and yield (digest, damage or None); damaged ones are taken away.

        A block map that is lost or damaged is written anew.
        """
        with self.in_use():
            for blob in self._blobs():
                blocks = map_blocks(blob)
                if blocks.digest == blob.name:
                    if not _has_map(blob):
                        self._write_map(blob, blocks)
                    yield blob.name, None
                else:
                    self._discard(blob.name)
                    yield blob.name, Damage(blob.name, blocks.digest)

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
            produce(out)
            blocks = map_blocks(out)
            _flush(out)
            self._place(out, blocks)
        self._write_record(key, step, blocks.digest)
        return Stored(self._blob(blocks.digest), blocks.digest)

    def _place(self, out: Path, blocks: BlockMap) -> None:
        blob = self._blob(blocks.digest)
        self._write_map(blob, blocks)
        out.chmod(0o444)
        out.replace(blob)
        _flush(blob.parent)

    def _write_map(self, blob: Path, blocks: BlockMap) -> None:
        with self._workplace() as folder:
            side = folder / "map"
            side.write_bytes(blocks.to_bytes())
            _flush(side)
            side.replace(map_path(blob))

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
        for side in (self.root / "blobs").glob("*.map"):
            if not side.with_suffix("").exists():
                side.unlink(missing_ok=True)
        for lock in (self.root / "locks").iterdir():
            lock.unlink(missing_ok=True)

    @contextmanager
    def _room(self) -> Iterator[None]:
        """Tell a full disk from other failures, of ours and of the tools."""
        try:
            yield
        except OSError as error:
            if error.errno in _FULL:
                raise full_disk(self.root) from error
            raise
        except ImagekitError as error:
            if any(os.strerror(number) in error.details for number in _FULL):
                raise full_disk(self.root) from error
            raise

    @contextmanager
    def _locked(self, key: str, waiting: Callable[[], None], unwanted: Callable[[], bool]) -> Iterator[None]:
        from filelock import FileLock, Timeout  # noqa: PLC0415 -- 8 ms that a build of cached results can do without

        lock = FileLock(self.root / "locks" / key)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            waiting()
            while not lock.is_locked:
                if unwanted():
                    raise TryAgainError("the wait for another build's result was given up") from None
                with suppress(Timeout):
                    lock.acquire(timeout=_PATIENCE)
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def _shared_lock(self, kind: int) -> Iterator[None]:
        try:
            opened = (self.root / "in-use").open("a")
        except OSError as error:
            raise _unusable(self.root, error) from error
        with opened as file:
            try:
                fcntl.flock(file, kind)
            except BlockingIOError:
                raise TryAgainError(
                    f"the cache {self.root} is in use", hint="prune it when no build is running"
                ) from None
            yield

    @contextmanager
    def _workplace(self) -> Iterator[Path]:
        folder = Path(tempfile.mkdtemp(prefix=_NEW, dir=self.root / "tmp"))
        try:
            with (folder / "lock").open("w") as lock:
                # Locked before it is seen under its own name: a sweeper never takes living work for dead.
                fcntl.flock(lock, fcntl.LOCK_EX)
                folder = folder.rename(folder.with_name(folder.name.removeprefix(_NEW)))
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
                with suppress(FileNotFoundError), (folder / "lock").open("r") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Without a lock file it is being taken away, or was when the one who did it died.
                shutil.rmtree(folder, ignore_errors=True)


def map_path(blob: Path) -> Path:
    """Return where a blob's block map lies."""
    return blob.with_name(blob.name + ".map")


def full_disk(folder: Path, hint: str = _ROOM) -> TryAgainError:
    """Return the error for a disk without room; the hint is the cache's."""
    status = os.statvfs(next(there for there in (folder.absolute(), *folder.absolute().parents) if there.exists()))
    return TryAgainError(
        f"the disk of {folder} is full",
        details=f"{status.f_bavail * status.f_frsize >> 20} MiB left",
        hint=hint,
    )


def _unusable(root: Path, error: OSError) -> ImagekitError:
    if error.errno in _FULL:
        return full_disk(root)
    return BuildError(
        f"the cache {root} cannot be used",
        details=str(error),
        hint="set IMAGEKIT_CACHE_DIR to a folder that you can write to",
    )


def _has_map(blob: Path) -> bool:
    """Tell whether a blob's map is there and whole: the blob's digest is the SHA-256 of its bytes."""
    with suppress(FileNotFoundError):
        return hashlib.sha256(map_path(blob).read_bytes()).hexdigest() == blob.name
    return False


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
