"""Results by key: found, made, verified, pruned."""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from imagekit.errors import TryAgainError
from imagekit.sparse import BlockMap, allocated, map_blocks
from imagekit.store.blobs import Blobs, flush, has_map, last_use, map_path
from imagekit.store.locks import alone, one_maker, readers
from imagekit.store.records import Record, Records
from imagekit.store.room import room, unusable
from imagekit.store.stored import Stored
from imagekit.store.workplace import Workplaces

if TYPE_CHECKING:
    from imagekit.store.shared import Shared
    from imagekit.store.trust import Claim

_HOUR = 3600.0
_WEEK = 7 * 24 * _HOUR


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
    """The cache below one folder, and behind it perhaps one that many machines share.

    Safe for any number of threads and processes at once.
    """

    def __init__(self, root: Path, shared: "Shared | None" = None) -> None:
        self.shared = shared
        self.root = root = root.absolute()  # tools run in folders of their own
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)  # what is cached may be private
            for name in ("results", "blobs", "locks", "tmp"):
                (root / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unusable(root, error) from error
        self.workplaces = Workplaces(root / "tmp")
        self._blobs = Blobs(root / "blobs", self.workplaces)
        self._records = Records(root / "results", self.workplaces)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Hold off pruning while results are read; many may hold it at once."""
        with readers(self.root):
            self.workplaces.sweep()
            yield

    def find(self, key: str) -> Found:
        """Look a key up; a damaged blob is taken away, so that it is made again."""
        record = self._records.read(key)
        if record is None:
            return Found(None, "never made with these inputs and settings")
        try:
            return self._looked_at(key, record)
        except FileNotFoundError:  # perhaps a moment ago, by another look-up
            return Found(None, "made before, and pruned since")

    def look(self, key: str) -> Found:
        """Look a key up here and in the shared store, fetching nothing: the result's file may not be there yet."""
        found = self.find(key)
        if self.shared is None or found.result is not None:
            return found
        claim = self.shared.look_up(key)
        if claim is None or not self.shared.has(claim.digest):
            return found
        return Found(self.stored(claim.digest), f"in the store {self.shared.url}")

    def fetch(self, digest: str, length: int | None = None) -> Stored | None:
        """Return the blob of a digest, from the shared store where it is not here; None when it is nowhere."""
        blob = self._blobs.path(digest)
        there = blob.exists() and has_map(blob)
        return self.stored(digest) if there or self._fetched(digest, length) is not None else None

    def here(self, stored: Stored) -> Stored:
        """Return a result with its file here; TryAgainError when it is gone, there too."""
        if not stored.path.exists() and self.fetch(stored.digest) is None:
            raise TryAgainError(
                "a result is no longer in the shared store",
                details=stored.digest,
                hint="run it again: it is made anew",
            )
        return stored

    def share(self, stored: Stored) -> bool:
        """Put a blob into the shared store, to be fetched by its digest; False when that could not be."""
        return self.give(stored.path, stored.blocks())

    def offer(self, key: str, step: str, stored: Stored) -> None:
        """Share a result that was found here, with its record, unless the shared store knows one."""
        if self.shared is not None and self.shared.look_up(key) is None:
            self._offered(self.shared, key, step, stored, stored.blocks())

    def give(self, path: Path, blocks: BlockMap) -> bool:
        """Put a file of the user's into the shared store, as `share` does."""
        return self.shared is not None and self.shared.give(path, blocks, self.workplaces)

    def keep(self, produce: Callable[[Path], None]) -> Stored:
        """Take in a file that is nobody's result and is only known by its digest, such as a source."""
        return self._produced(produce)[0]

    def stored(self, digest: str) -> Stored:
        """Return the result of this digest, which was found, or made, a moment ago."""
        return Stored(self._blobs.path(digest), digest)

    def make(
        self,
        key: str,
        step: str,
        produce: Callable[[Path, str], None],
        *,
        waiting: Callable[[], None],
        damaged: Callable[[str], None],
        unwanted: Callable[[], bool] = lambda: False,
        found: Found | None = None,
    ) -> tuple[Stored, bool]:
        """Return the result of a key and whether it was found; else `produce` gets a path to write and the reason.

        Call it inside `in_use`. `waiting` is called when somebody else is making the same thing; the wait ends,
        with TryAgainError, once `unwanted` is true. `found` is what a look-up has said already.
        """
        found = found or self.find(key)
        if found.result is not None:
            return found.result, True
        with room(self.root), one_maker(self.root / "locks" / key, waiting, unwanted):
            again = self.find(key)
            if again.result is not None:
                return again.result, True
            if (theirs := self._from_shared(key, step)) is not None:
                return theirs, True
            if found.damaged:
                damaged(found.reason)
            return self._made(key, step, lambda out: produce(out, found.reason)), False

    def records(self) -> Iterator[tuple[str, Record]]:
        """Yield each key and its record."""
        yield from self._records

    def verify(self) -> Iterator[tuple[str, Damage | None]]:
        """Hash every blob in full and yield (digest, damage or None); damaged ones are taken away.

        A block map that is lost or damaged is written anew.
        """
        with self.in_use():
            for blob in self._blobs:
                with suppress(FileNotFoundError):  # a build found the damage first
                    yield blob.name, self._verified(blob)

    def prune(self, *, keep_bytes: int | None = None, max_age: float | None = None) -> tuple[int, int]:
        """Remove blobs unused for `max_age` seconds, then the longest unused until `keep_bytes` are left.

        Returns (blobs removed, bytes freed on disk). TryAgainError while a build is running.
        """
        with alone(self.root):
            self.workplaces.sweep()
            blobs = sorted(((last_use(blob), blob) for blob in self._blobs), key=lambda item: item[0])
            total = sum(allocated(blob) for _, blob in blobs)
            count = freed = 0
            for used, blob in blobs:
                old = max_age is not None and time.time() - used > max_age
                over = keep_bytes is not None and total - freed > keep_bytes
                if old or over:
                    freed += allocated(blob)
                    count += 1
                    self._blobs.discard(blob.name)
            self._forget()
            return count, freed

    def size(self) -> int:
        """The bytes that the blobs take on disk."""
        return self._blobs.size()

    def _looked_at(self, key: str, record: Record) -> Found:
        blob = self._blobs.path(record.digest)
        status = blob.stat()
        if not record.fits(status):
            # Moved or touched: only the bytes can tell.
            if map_blocks(blob).digest != record.digest:
                self._blobs.discard(record.digest, status)
                return Found(None, "the cached result was damaged", damaged=True)
            self._records.write(key, record.step, record.digest, status)
        if not has_map(blob):
            return Found(None, "the cached result has lost its block map", damaged=True)
        if time.time() - last_use(blob) > _HOUR:
            os.utime(map_path(blob))
        return Found(self.stored(record.digest), "cached")

    def _verified(self, blob: Path) -> Damage | None:
        status = blob.stat()
        blocks = map_blocks(blob)
        if blocks.digest != blob.name:
            self._blobs.discard(blob.name, status)
            return Damage(blob.name, blocks.digest)
        if not has_map(blob):
            self._blobs.write_map(blob, blocks)
        return None

    def _made(self, key: str, step: str, produce: Callable[[Path], None]) -> Stored:
        stored, status, blocks = self._produced(produce)
        self._records.write(key, step, stored.digest, status)
        return stored if self.shared is None else self._offered(self.shared, key, step, stored, blocks)

    def _produced(self, produce: Callable[[Path], None]) -> tuple[Stored, os.stat_result, BlockMap]:
        with self.workplaces.new() as folder:
            out = folder / "out"
            produce(out)
            with ThreadPoolExecutor(1) as pool:  # the disk is busy while the processors hash
                flushed = pool.submit(flush, out)
                blocks = map_blocks(out)
                flushed.result()
            status = self._blobs.place(out, blocks)
        return self.stored(blocks.digest), status, blocks

    def _offered(self, shared: "Shared", key: str, step: str, stored: Stored, blocks: BlockMap) -> Stored:
        """Share what was made here. Where another machine was first with other bytes, all go on with those."""
        from imagekit.store.trust import Claim  # noqa: PLC0415 -- with a shared store only

        said = shared.offer(Claim(key, step, stored.digest, blocks.length), stored.path, blocks, self.workplaces)
        return stored if said.digest == stored.digest else self._taken(said) or stored

    def _from_shared(self, key: str, step: str) -> Stored | None:
        claim = self.shared.look_up(key) if self.shared is not None else None
        return self._taken(claim) if claim is not None and claim.step == step else None

    def _taken(self, claim: "Claim") -> Stored | None:
        """Take in what the shared store says of a key; None when its bytes cannot be had."""
        blob = self._blobs.path(claim.digest)
        whole = blob.exists() and has_map(blob) and map_blocks(blob).digest == claim.digest
        status = blob.stat() if whole else self._fetched(claim.digest, claim.length)
        if status is None:
            return None
        self._records.write(claim.key, claim.step, claim.digest, status)
        return self.stored(claim.digest)

    def _fetched(self, digest: str, length: int | None) -> os.stat_result | None:
        if self.shared is None:
            return None
        with self.workplaces.new() as folder:
            out = folder / "out"
            blocks = self.shared.fetch(digest, length, out)
            if blocks is None:
                return None
            flush(out)
            return self._blobs.place(out, blocks)

    def _forget(self) -> None:
        """Remove what belongs to blobs that are gone, old logs, and all locks: nobody else is here."""
        self._records.forget(lambda digest: not self._blobs.path(digest).exists())
        self._blobs.forget_maps()
        for lock in (self.root / "locks").iterdir():
            lock.unlink(missing_ok=True)
        for log in (self.root / "logs").glob("*"):
            if time.time() - log.stat().st_mtime > _WEEK:
                log.unlink()
