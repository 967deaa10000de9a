# ruff: noqa: ANN401 -- boto3 has no types
"""An EBS snapshot of an image: found, or begun, filled, completed and waited for.

Whoever publishes the same bytes to the same region gets the same snapshot: it is found by its tags, and its client
token is made of the same things. A generation, which rises when the snapshot of the one before is gone or has
failed, is part of both.
"""

import hashlib
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imagekit.errors import InterruptedByUser, PublishError
from imagekit.publish.aws import blocks, sdk_put, upload
from imagekit.publish.aws.account import Account, Wait, code_of, pages, told
from imagekit.sparse import BlockMap

KEY = "imagekit:key"
_GENERATION = "imagekit:generation"
_GIB = 1 << 30
_GENERATIONS = 100
_UNSTABLE = ("ConflictException", "ValidationException", "ResourceNotFoundException")


@dataclass(frozen=True)
class Patience:
    """Seconds: for a snapshot to complete, for an image to be available, for one just begun to be seen."""

    complete: float = 7200.0
    available: float = 1800.0
    settle: float = 130.0


def pauses() -> Iterator[float]:
    """Yield the seconds between one look and the next: soon at first."""
    pause = 0.2
    while True:
        yield pause
        pause = min(5.0, pause * 1.5)


@dataclass(frozen=True)
class Wanted:
    """The snapshot to make. `key` is what makes two the same; `only` the blocks that differ from the parent."""

    key: str
    region: str
    blocks: BlockMap
    description: str
    tags: Mapping[str, str]
    encrypted: bool | None = None
    kms_key: str | None = None
    parent: str | None = None
    only: frozenset[int] | None = None
    uploader: str = "direct"
    workers: int = upload.WORKERS

    @property
    def gib(self) -> int:
        """Its volume's size."""
        return max(1, -(-self.blocks.length // _GIB))


@dataclass(frozen=True)
class Begun:
    """A snapshot that exists: its id, whether it is encrypted, its state, and whether this call began it."""

    id: str
    encrypted: bool
    state: str
    fresh: bool


def snapshot_key(digest: str, region: str, encrypted: bool | None, kms_key: str | None, parent: str | None) -> str:
    """Return what makes two snapshots the same: 32 hex characters."""
    said = "\0".join(("ebs", digest, region, str(encrypted), kms_key or "", parent or ""))
    return hashlib.sha256(said.encode()).hexdigest()[:32]


def find(ec2: Any, key: str) -> list[Mapping[str, Any]]:
    """Return the account's snapshots that have this key, whoever made them, the newest generation first."""
    with told("looking for the snapshot"):
        found = pages(
            ec2,
            "describe_snapshots",
            "Snapshots",
            OwnerIds=["self"],
            Filters=[{"Name": f"tag:{KEY}", "Values": [key]}],
        )
    return sorted(found, key=_generation, reverse=True)


def begin(
    account: Account,
    wanted: Wanted,
    gone: Collection[str],
    made: Callable[[Begun], None],
    patience: Patience,
    wait: Wait,
) -> Begun:
    """Return the snapshot to fill, or the one that is complete already; one begun elsewhere is taken over.

    `gone` are snapshots that were removed: AWS still answers their client tokens with them. `made` is told of one
    that is new at once, so that whatever comes next it is known.
    """
    ec2 = account.client("ec2", wanted.region)
    generation = 0
    for known in find(ec2, wanted.key):
        if known["State"] in {"pending", "completed"} and known["SnapshotId"] not in gone:
            return Begun(known["SnapshotId"], bool(known.get("Encrypted")), known["State"], fresh=False)
        generation = max(generation, _generation(known) + 1)
    for number in range(generation, generation + _GENERATIONS):
        begun = _start(account.client("ebs", wanted.region), wanted, number)
        if begun is None or begun.id in gone:
            continue
        if begun.fresh:
            made(begun)
        if _is_there(ec2, begun.id, patience, wait, fresh=begun.fresh):
            return begun
    raise PublishError(f"no snapshot of {wanted.key} could be begun: each one is gone as soon as it is there")


def fill(
    account: Account,
    wanted: Wanted,
    begun: Begun,
    descriptor: int,
    already: frozenset[int],
    done: Callable[[int], None],
) -> blocks.Uploaded:
    """Put the blocks that are not there yet."""
    ebs = account.client("ebs", wanted.region)
    target = blocks.Target(ebs.meta.endpoint_url, wanted.region, begun.id, wanted.gib, begun.encrypted)
    options = upload.Options(workers=wanted.workers, trust=account.trust, done=done)
    if wanted.uploader == "boto3":
        return sdk_put.upload(
            wanted.blocks, descriptor, target, ebs, already=already, only=wanted.only, options=options
        )
    return upload.upload(
        wanted.blocks, descriptor, target, account.credentials, already=already, only=wanted.only, options=options
    )


def complete(account: Account, wanted: Wanted, snapshot: str, sent: blocks.Uploaded) -> None:
    """Close the snapshot, with the number of its blocks and the checksum over theirs."""
    try:
        with told(f"completing {snapshot}"):
            account.client("ebs", wanted.region).complete_snapshot(
                SnapshotId=snapshot,
                ChangedBlocksCount=sent.count,
                Checksum=sent.checksum,
                ChecksumAlgorithm="SHA256",
                ChecksumAggregationMethod="LINEAR",
            )
    except PublishError as error:
        # An answer that was lost is asked for again, and the snapshot is complete by then.
        if (
            code_of(error) not in _UNSTABLE
            or _state(account.client("ec2", wanted.region), snapshot) != "completed"
        ):
            raise


def await_completed(ec2: Any, snapshot: str, patience: Patience, wait: Wait) -> None:
    """Wait until it is completed; PublishError when it fails, or never is."""
    until, pause = time.monotonic() + patience.complete, pauses()
    while (state := _state(ec2, snapshot)) != "completed":
        if state == "error":
            raise PublishError(f"{snapshot} has failed in AWS", hint="publish again: it begins a new one")
        if time.monotonic() > until:
            raise PublishError(f"{snapshot} is {state or 'gone'} after {patience.complete:.0f} s")
        if not wait(next(pause)):
            raise InterruptedByUser("interrupted")


def was_completed(ec2: Any, snapshot: str, wait: Wait) -> bool:
    """Tell whether somebody else completed it: the same bytes, by the same tags, published at the same time."""
    for pause in (0.2, 0.5, 1.0, 2.0):
        state = _state(ec2, snapshot)
        if state != "pending":
            return state == "completed"
        if not wait(pause):
            return False
    return False


class Journal:
    """Which blocks are in a pending snapshot, in a file that a kill leaves whole: four bytes a block."""

    def __init__(self, path: Path, snapshot: str) -> None:
        self._path = path.with_name(f"{path.name}.{snapshot}.blocks")

    def read(self) -> frozenset[int]:
        """Return what was entered; nothing when there is no journal of this snapshot here."""
        with suppress(FileNotFoundError):
            data = self._path.read_bytes()
            return frozenset(
                int.from_bytes(data[at : at + 4], "big") for at in range(0, len(data) - len(data) % 4, 4)
            )
        return frozenset()

    @contextmanager
    def writing(self) -> Iterator[Callable[[int], None]]:
        """Lend a function that enters one block, at once."""
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            length = os.fstat(descriptor).st_size
            os.ftruncate(descriptor, length - length % 4)
            yield lambda index: _write(descriptor, index.to_bytes(4, "big"))
        finally:
            os.close(descriptor)

    def forget(self) -> None:
        """Remove it: the snapshot is complete, or gone."""
        self._path.unlink(missing_ok=True)


def tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Return tags in the form that AWS takes."""
    return [{"Key": key, "Value": value} for key, value in sorted(tags.items())]


def _write(descriptor: int, data: bytes) -> None:
    os.write(descriptor, data)


def _start(ebs: Any, wanted: Wanted, generation: int) -> Begun | None:
    """Ask for a snapshot; None when that of this generation has other parameters, or has failed."""
    tags = {**wanted.tags, KEY: wanted.key, _GENERATION: str(generation)}
    token = hashlib.sha256(f"{wanted.key} {generation} {wanted.gib}".encode()).hexdigest()
    asked: dict[str, Any] = {
        "VolumeSize": wanted.gib,
        "ClientToken": token,
        "Description": wanted.description,
        "Tags": tag_list(tags),
        "Timeout": 60,
    }
    if wanted.parent is not None:
        asked["ParentSnapshotId"] = wanted.parent
    elif wanted.encrypted or wanted.kms_key:
        asked["Encrypted"] = True
    if wanted.kms_key:
        asked["KmsKeyArn"] = wanted.kms_key
    before = time.time()
    try:
        with told("beginning a snapshot"):
            said = ebs.start_snapshot(**asked)
    except PublishError as error:
        if code_of(error) == "ConflictException":
            return None
        raise
    if said.get("Status") == "error":
        return None
    encrypted = bool(said.get("KmsKeyArn")) or said.get("SseType", "none") != "none"
    fresh = said["StartTime"].timestamp() > before - 60
    return Begun(said["SnapshotId"], encrypted, said.get("Status", "pending"), fresh)


def _is_there(ec2: Any, snapshot: str, patience: Patience, wait: Wait, *, fresh: bool) -> bool:
    """Tell whether a snapshot exists: a new one may not be seen at first, an old one's token outlives it."""
    until, pause = time.monotonic() + (patience.settle if fresh else 0), pauses()
    while (state := _state(ec2, snapshot)) == "" and time.monotonic() < until:
        if not wait(next(pause)):
            raise InterruptedByUser("interrupted")
    return state in {"pending", "completed"}


def _state(ec2: Any, snapshot: str) -> str:
    """Return pending, completed or error; "" when there is none."""
    try:
        with told(f"looking at {snapshot}"):
            found = ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"]
    except PublishError as error:
        if code_of(error) == "InvalidSnapshot.NotFound":
            return ""
        raise
    return str(found[0]["State"]) if found else ""


def _generation(snapshot: Mapping[str, Any]) -> int:
    tags = {tag["Key"]: tag["Value"] for tag in snapshot.get("Tags", [])}
    number = tags.get(_GENERATION, "0")
    return int(number) if number.isdigit() else 0
