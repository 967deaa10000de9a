"""The record of a proof: one boot of one image, on one lab. Kept below the state folder, never in the cache.

proofs/<key>.json     key = SHA-256 of the disk's digest, the way of booting, its loader and the lab
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from imagekit.plan import Json
from imagekit.whole import PRIVATE, write_whole

SCHEMA = "imagekit.proof/1"


@dataclass(frozen=True, slots=True)
class Proof:
    """A verdict and all that it depends on.

    `disk` is the digest of the disk that was booted (or of the kernel, where no disk was), `guest` the kind of
    guest that Xen made ("" in older records), `loader` names the boot loader and its version, `lab` is the digest
    of the lab, `parts` maps its files (Xen, dom0, loaders) to their SHA-256, `versions` its Debian packages to
    theirs. `seconds` maps stages to their times, `memory` is the most that QEMU took, in bytes. `warnings` are
    verdicts that do not fail it.
    """

    image: str
    target: str
    disk: str
    kernel: str
    way: str
    loader: str
    lab: str
    parts: Mapping[str, str]
    versions: Mapping[str, str]
    booted: bool
    verdict: str
    why: str
    expected: Mapping[str, Json]
    seconds: Mapping[str, float]
    memory: int
    started: str
    console: str
    said: str = ""
    warnings: tuple[str, ...] = ()
    guest: str = ""

    @property
    def key(self) -> str:
        """What the record is found by."""
        return key(self.disk, self.way, self.loader, self.lab)

    def to_json(self) -> dict[str, Json]:
        """Return the record as what `json.dumps` takes."""
        return {"schema": SCHEMA, **asdict(self), "warnings": list(self.warnings)}

    @classmethod
    def from_json(cls, content: Mapping[str, Json]) -> "Proof":
        """Return the proof that a record tells of; ValueError, KeyError or TypeError when it is none."""
        if content["schema"] != SCHEMA:
            raise ValueError(f"schema {content['schema']!r}, not {SCHEMA!r}")
        content = {"guest": "", **content}
        named = {item.name: content[item.name] for item in fields(cls)}
        for name, value in named.items():
            if not isinstance(value, _KINDS.get(name, str)):
                raise TypeError(f"{name} is {value!r:.60}")
        return cls(**{**named, "warnings": tuple(named["warnings"])})  # type: ignore[arg-type]


_KINDS: Mapping[str, type] = {
    **dict.fromkeys(("parts", "versions", "expected", "seconds"), dict),
    "booted": bool,
    "memory": int,
    "warnings": list,
}  # the others are str


def key(disk: str, way: str, loader: str, lab: str) -> str:
    """Return the name of a record: 64 hex characters."""
    return hashlib.sha256(f"{disk}\0{way}\0{loader}\0{lab}".encode()).hexdigest()


def keep(proof: Proof, state: Path) -> Path:
    """Write a record and return where it lies; a later proof of the same replaces it."""
    folder = state / "proofs"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{proof.key}.json"
    content = json.dumps(proof.to_json(), indent=1, sort_keys=True) + "\n"
    write_whole(path, content.encode(), mode=PRIVATE, durable=True)
    return path


def find(disk: str, way: str, state: Path) -> Proof | None:
    """Return the newest good proof of a disk by a way, whichever lab it was made on, or None."""
    found = [proof for proof in every(state) if proof.booted and (proof.disk, proof.way) == (disk, way)]
    return max(found, key=lambda proof: proof.started, default=None)


def every(state: Path) -> Iterator[Proof]:
    """Yield all records, good and bad verdicts, in no order; damaged ones are left out."""
    for path in (state / "proofs").glob("*.json"):
        with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            proof = Proof.from_json(json.loads(path.read_bytes()))
            if proof.key == path.stem:
                yield proof
