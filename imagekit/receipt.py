"""Receipts: what was published where. The ledger is all receipts, below the state folder and never in the cache.

receipts/<id>.json    id = 16 hex characters of SHA-256 over what makes two publications one

A receipt is written before the first resource is asked for and after each change, so a kill at any moment leaves
a record of what may be left in the cloud.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, cast

from filelock import FileLock, Timeout

from imagekit.errors import TryAgainError, UsageError
from imagekit.plan import Json
from imagekit.whole import PRIVATE, write_whole

SCHEMA = "imagekit.receipt/1"
PENDING, PUBLISHED, FAILED, DESTROYED = "pending", "published", "failed", "destroyed"
_ID = 16
_PATIENCE = 30 * 60  # seconds that another process may take


@dataclass
class Resource:
    """One thing in a cloud: a snapshot, an image, an object. `ours`: this publication made it, and may undo it."""

    kind: str
    id: str
    region: str
    ours: bool = True
    gone: bool = False


@dataclass
class Receipt:
    """One publication of one artifact in one region (or host).

    `digest` is the artifact's, `proof` the key of the proof that it cites ("" for none), `details` what the
    uploader wants to remember. `rehearsed`: it was to the stand-in, and nothing of it exists.
    """

    id: str
    target: str
    image: str
    digest: str
    region: str
    state: str = PENDING
    result: str = ""
    proof: str = ""
    rehearsed: bool = False
    begun: str = ""
    ended: str = ""
    why: str = ""
    resources: list[Resource] = field(default_factory=list)
    details: dict[str, Json] = field(default_factory=dict)

    def resource(self, kind: str, name: str, *, ours: bool = True) -> Resource:
        """Return the resource of this name; one more is entered when there is none."""
        for known in self.resources:
            if (known.kind, known.id) == (kind, name):
                known.gone = False
                return known
        made = Resource(kind, name, self.region, ours)
        self.resources.append(made)
        return made

    @property
    def left(self) -> list[Resource]:
        """What this publication made and is there still, the newest first."""
        return [one for one in reversed(self.resources) if one.ours and not one.gone]

    def to_json(self) -> dict[str, Json]:
        """Return the record as what `json.dumps` takes."""
        return {"schema": SCHEMA, **asdict(self)}

    @classmethod
    def from_json(cls, content: Mapping[str, Json]) -> "Receipt":
        """Return the receipt that a record tells of; ValueError, KeyError or TypeError when it is none."""
        if content["schema"] != SCHEMA:
            raise ValueError(f"schema {content['schema']!r}, not {SCHEMA!r}")
        named = {item.name: content[item.name] for item in fields(cls)}
        for name, value in named.items():
            if not isinstance(value, _KINDS.get(name, str)):
                raise TypeError(f"{name} is {value!r:.60}")
        made = [Resource(**one) for one in cast("list[dict[str, Any]]", named["resources"])]
        return cls(**{**cast("dict[str, Any]", named), "resources": made})


_KINDS: Mapping[str, type] = {"rehearsed": bool, "resources": list, "details": dict}  # the others are str


class Ledger:
    """The receipts below a state folder."""

    def __init__(self, state: Path) -> None:
        self.folder = state / "receipts"

    @contextmanager
    def entry(self, fresh: Receipt) -> Iterator[Receipt]:
        """Lend a receipt, the known one of its id or else `fresh`, to one process at a time.

        Of rehearsals none is known: each has an account of its own, and nothing in it is there yet.

        TryAgainError when another one has it for too long.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = FileLock(self.folder / f".{fresh.id}.lock", timeout=_PATIENCE)
        try:
            held = lock.acquire()
        except Timeout:
            raise TryAgainError(
                f"another process publishes {fresh.image} to {fresh.region}, or takes it back",
                details=f"it has had the receipt {fresh.id} for {_PATIENCE // 60} minutes",
            ) from None
        with held:
            yield (None if fresh.rehearsed else self.find(fresh.id)) or fresh

    def write(self, receipt: Receipt) -> None:
        """Keep a receipt as it is now; whole or not at all, and safe from a power cut."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        content = json.dumps(receipt.to_json(), indent=1, sort_keys=True) + "\n"
        write_whole(self.folder / f"{receipt.id}.json", content.encode(), mode=PRIVATE, durable=True)

    def find(self, name: str) -> Receipt | None:
        """Return the receipt of an id, or None."""
        with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            return Receipt.from_json(json.loads((self.folder / f"{name}.json").read_bytes()))
        return None

    def named(self, start: str) -> Receipt:
        """Return the receipt whose id, or whose result, starts so; UsageError for none and for several."""
        found = [one for one in self if one.id.startswith(start) or one.result == start]
        if len(found) != 1 or not start:
            many = "several receipts are" if found else "no receipt is"
            raise UsageError(f"{many} named {start!r}", hint="`imagekit receipts ls` lists them")
        return found[0]

    def __iter__(self) -> Iterator[Receipt]:
        """Yield all receipts, the oldest first; damaged ones are left out."""
        found = [self.find(path.stem) for path in self.folder.glob("*.json")]
        return iter(sorted((one for one in found if one), key=lambda one: (one.begun, one.id)))


def receipt_id(*parts: str) -> str:
    """Return the id of a publication by what makes it the same one."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:_ID]


def now() -> str:
    """Return the time as receipts have it: UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
