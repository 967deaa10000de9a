"""A store that many machines share, behind the local one: asked before a result is made, told after.

    results/ab/<key>      a record, JSON: {"key", "step", "digest", "length", "signature"}
    blobs/ab/<digest>     the blob, packed

A record counts when a writer who is trusted has signed it; a blob when its bytes are those of the digest. What
does not count is as if it was not there, and is written over by who makes it anew. A store that fails stops
nothing: it is said once, left alone for a while, and the result made here; with `required` it is an error.
"""

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from imagekit.errors import BuildError, ImagekitError
from imagekit.sparse import BlockMap
from imagekit.store.backend import Backend, Item, Paced
from imagekit.store.packed import DamageError, pack, unpack
from imagekit.store.trust import Claim, Trust
from imagekit.store.workplace import Workplaces

_HEX = re.compile(r"[0-9a-f]{64}")
_LONGEST = 4096  # bytes of a record
_MINUTE, _DAY = 60.0, 86400.0
GRACE = 3600.0
"""Seconds that whatever was just written or used is safe from pruning; clocks may differ by less."""


class Shared:
    """A shared store. For any number of threads."""

    def __init__(self, backend: Backend, trust: Trust, *, required: bool = False) -> None:
        self.url = backend.url
        self.warn: Callable[[str], None] = lambda _: None
        self.access = ""  # as `Access.to_text` tells it, for other processes
        self._backend = backend
        self._trust = trust
        self._required = required
        self._closed = {"read": 0.0, "write": 0.0}  # until when, on the monotonic clock
        self._warned: set[str] = set()
        self._bad: set[str] = set()  # names of what did not count

    @property
    def writes(self) -> bool:
        """Whether what we put would be believed by anybody."""
        return self._trust.may_write

    def look_up(self, key: str) -> Claim | None:
        """Return what a trusted writer says of a key, None when none does."""
        name = _name("results", key)
        claim = None
        with self._trying("read") as closed:
            if closed:
                return None
            with self._backend.reading(name) as found:
                if found is None:
                    return None
                data, item = Paced(found[0], _LONGEST, self.url).read(_LONGEST), found[1]
            claim = self._judged(name, key, data)
            if claim is not None:
                self._used(item)
        return claim

    def has(self, digest: str) -> bool:
        """Tell whether the blob of a digest is there, unread."""
        found = None
        with self._trying("read") as closed:
            if not closed:
                found = self._backend.has(_name("blobs", digest))
        return found is not None

    def fetch(self, digest: str, length: int | None, out: Path) -> BlockMap | None:
        """Write the blob of a digest at `out` and return its map; None when it cannot be had, and no file."""
        name = _name("blobs", digest)
        blocks = None
        try:
            with self._trying("read") as closed:
                if closed:
                    return None
                with self._backend.reading(name) as found:
                    if found is None:
                        return None
                    blocks = unpack(Paced(found[0], found[1].size, self.url), digest, length, out)
                self._used(found[1])
        except DamageError as error:
            self._distrust(name, f"{name} in the store {self.url} is damaged, and left alone: {error.brief}")
        finally:
            if blocks is None:
                out.unlink(missing_ok=True)
        return blocks

    def offer(self, claim: Claim, blob: Path, blocks: BlockMap, workplaces: Workplaces) -> Claim:
        """Put a result; return what the store says of the key then: another's word that came first stands."""
        if not self.writes:
            return claim
        said = claim
        with self._trying("write") as closed:
            if not closed:
                self._put_blob(blob, blocks, workplaces)
                said = self._put_record(claim, workplaces)
        return said

    def give(self, blob: Path, blocks: BlockMap, workplaces: Workplaces) -> bool:
        """Put a blob that is to be asked for by its digest; False when it could not be."""
        done = False
        with self._trying("write") as closed:
            if not closed:
                self._put_blob(blob, blocks, workplaces)
                done = True
        return done

    def prune(self, *, keep_bytes: int | None = None, max_age: float | None = None) -> tuple[int, int]:
        """Remove what was not used for `max_age` seconds, then the longest unused until `keep_bytes` are left.

        Returns (blobs removed, bytes freed). What was used within GRACE stays: a reader that has seen a record
        finds its blob. Records go with the blobs of their time; one left without its blob counts for nothing.
        """
        now = time.time()
        self._backend.sweep(_DAY)
        blobs = sorted(self._backend.items("blobs"), key=lambda item: item.used)
        gone = list(_outdated(blobs, now, keep_bytes, max_age))
        newest = max((item.used + GRACE for item in gone), default=0.0)  # a record is written after its blob
        limit = max(newest, now - max_age if max_age is not None else 0.0)
        records = [one for one in self._backend.items("results") if one.used <= min(limit, now - GRACE)]
        self._backend.remove(item.name for item in records)  # first: nothing then points at what is gone
        self._backend.remove(item.name for item in gone)
        return len(gone), sum(item.size for item in gone)

    def size(self) -> tuple[int, int]:
        """Return how many blobs there are, and their bytes as they are packed."""
        sizes = [item.size for item in self._backend.items("blobs")]
        return len(sizes), sum(sizes)

    def _judged(self, name: str, key: str, data: bytes) -> Claim | None:
        claim, signature = _read(data)
        if claim is None or claim.key != key or not self._trust.believes(claim, signature):
            self._distrust(name, f"{self.url} has results that nobody who is trusted signed; they are left alone")
            return None
        return claim

    def _put_blob(self, blob: Path, blocks: BlockMap, workplaces: Workplaces) -> None:
        name = _name("blobs", blocks.digest)
        there = None if name in self._bad else self._backend.has(name)
        if there is not None:
            self._used(there)
            return
        with workplaces.new() as folder:
            packed = folder / "packed"
            with packed.open("wb") as out:
                pack(blob, blocks, out)
            self._backend.put(name, packed, replace=name in self._bad)
        self._bad.discard(name)

    def _put_record(self, claim: Claim, workplaces: Workplaces) -> Claim:
        name = _name("results", claim.key)
        with workplaces.new() as folder:
            record = folder / "record"
            record.write_text(json.dumps({**asdict(claim), "signature": self._trust.sign(claim)}))
            if self._backend.put(name, record, replace=name in self._bad):
                self._bad.discard(name)
                return claim
            other = self.look_up(claim.key)
            if other is None:
                self._backend.put(name, record, replace=True)
        return other or claim

    def _used(self, item: Item) -> None:
        """Mark an old file as used; who may not write leaves that to others."""
        if time.time() - item.used > GRACE / 2:  # before it is no longer safe
            with suppress(ImagekitError):
                self._backend.use(item.name)

    def _distrust(self, name: str, why: str) -> None:
        self._bad.add(name)
        self._say(why)

    def _say(self, what: str) -> None:
        if what not in self._warned:
            self._warned.add(what)
            self.warn(what)

    @contextmanager
    def _trying(self, way: str) -> Iterator[bool]:
        """Yield whether this way is closed; what fails inside closes it."""
        try:
            yield time.monotonic() < self._closed[way]
        except DamageError:
            raise
        except ImagekitError as error:
            if self._required:
                raise
            if isinstance(error, BuildError):  # no repetition makes it better
                self._closed[way] = float("inf")
            else:
                self._closed = dict.fromkeys(self._closed, time.monotonic() + _MINUTE)
            what = "is not written to" if way == "write" else "is left alone; results are made here"
            self._say(f"{error.brief}, and {what}" + (f" ({error.details})" if error.details else ""))


def _name(kind: str, digest: str) -> str:
    return f"{kind}/{digest[:2]}/{digest}"


def _read(data: bytes) -> tuple[Claim | None, str]:
    """Read a record as somebody wrote it, perhaps to harm us."""
    try:
        told = json.loads(data)
        signature = told.pop("signature")
        claim = Claim(**told)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None, ""
    texts: list[object] = [claim.key, claim.digest, claim.step, signature]
    length: object = claim.length
    good = all(isinstance(text, str) for text in texts) and type(length) is int and length >= 0
    good = good and bool(_HEX.fullmatch(claim.key) and _HEX.fullmatch(claim.digest))
    return (claim, signature) if good else (None, "")


def _outdated(blobs: list[Item], now: float, keep_bytes: int | None, max_age: float | None) -> Iterator[Item]:
    """Yield the blobs that are to go, the longest unused first."""
    left = sum(item.size for item in blobs)
    for item in blobs:
        old = max_age is not None and now - item.used > max_age
        over = keep_bytes is not None and left > keep_bytes
        if now - item.used > GRACE and (old or over):
            left -= item.size
            yield item
