"""An image's blocks, put into a pending EBS snapshot.

    done = upload(blocks, descriptor, Target(endpoint, region, snapshot, volume_size, encrypted), credentials)
    ebs.complete_snapshot(SnapshotId=snapshot, ChangedBlocksCount=done.count, Checksum=done.checksum, ...)

There is one layer of retries: here, a block at a time.
"""

import random
import ssl
import time
from base64 import b64encode
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from threading import Event, Lock, Thread

from imagekit.errors import PublishError
from imagekit.publish.aws.blocks import Target, Uploaded, digests, read_into, wanted
from imagekit.publish.aws.connection import Connection, ServerError, WireError
from imagekit.publish.aws.pace import Pace
from imagekit.publish.aws.signing import Credentials, Signer
from imagekit.sparse import BLOCK, BlockMap

WORKERS = 64
QUOTA = 950.0
"""Puts a second: the service allows a snapshot 1,000, and that cannot be raised."""

_ROOM = 8192  # bytes before a block for its request's head
_WATCH = 0.2  # s between two looks of the main thread


@dataclass(frozen=True)
class Patience:
    """How long to try, in seconds and attempts."""

    connect: float = 5.0
    read: float = 20.0
    attempts: int = 8
    settle: float = 130.0  # a new snapshot "does not exist" for up to two minutes
    throttled: float = 300.0  # of a block that is only ever throttled
    first: float = 0.1
    longest: float = 5.0


@dataclass(frozen=True)
class Options:
    """What may differ from run to run: `trust` makes the TLS context, `done` is told of each block that is in."""

    workers: int = WORKERS
    quota: float = QUOTA
    patience: Patience = field(default_factory=Patience)
    trust: Callable[[], ssl.SSLContext] = ssl.create_default_context
    done: Callable[[int], None] = lambda _index: None


def upload(
    blocks: BlockMap,
    descriptor: int,
    target: Target,
    credentials: Callable[[], Credentials],
    *,
    already: Collection[int] = (),
    only: Collection[int] | None = None,
    options: Options | None = None,
) -> Uploaded:
    """Put the blocks of the file behind a descriptor that are not `already` there.

    PublishError at the first block that cannot be put; what `done` was told of before stays in the snapshot.
    """
    options = options or Options()
    if options.workers < 1 or options.quota <= 0:
        raise ValueError("at least one worker, and a quota above zero")
    plan = wanted(blocks, target, only)
    there = set(already)
    if not there <= {index for index, _ in plan}:
        raise PublishError(
            "the snapshot already holds blocks that this image does not have",
            hint="it was begun with another image: start a new snapshot",
        )
    missing = [(index, digest) for index, digest in plan if index not in there]
    _Upload(descriptor, blocks.length, target, credentials, options).run(missing)
    return Uploaded(len(plan), b64encode(digests(descriptor, blocks.length, plan)).decode(), len(missing))


class _Upload:
    """One run: workers that share a list of blocks, a pace and the first error."""

    def __init__(
        self,
        descriptor: int,
        length: int,
        target: Target,
        credentials: Callable[[], Credentials],
        options: Options,
    ) -> None:
        self._descriptor = descriptor
        self._length = length
        self._target = target
        self._options = options
        self._patience = options.patience
        self._signer = Signer(target.endpoint, target.region, credentials)
        self._pace = Pace(options.quota)
        self._lock = Lock()
        self._told = Lock()
        self._stop = Event()
        self._error: BaseException | None = None
        self._settled = False
        self._until = 0.0

    def run(self, missing: list[tuple[int, bytes]]) -> None:
        if not missing:
            return
        self._until = time.monotonic() + self._patience.settle
        todo = iter(missing)
        context = self._options.trust()
        connections = [
            Connection(
                self._target.endpoint,
                context,
                connect_limit=self._patience.connect,
                read_limit=self._patience.read,
            )
            for _ in range(min(self._options.workers, len(missing)))
        ]
        threads = [Thread(target=self._work, args=(one, todo), name="put", daemon=True) for one in connections]
        started: list[Thread] = []
        try:
            for thread in threads:
                thread.start()
                started.append(thread)
            for thread in started:
                while thread.is_alive() and not self._stop.is_set():
                    thread.join(_WATCH)
        finally:
            self._stop.set()
            for connection in connections:  # a worker that waits for an answer need not, now
                connection.abort()
            for thread in started:
                thread.join()
        if self._error is not None:
            raise self._error

    def _work(self, connection: Connection, todo: Iterator[tuple[int, bytes]]) -> None:
        room = bytearray(_ROOM + BLOCK)
        try:
            while not self._stop.is_set():
                with self._lock:
                    index, digest = next(todo, (-1, b""))
                if index < 0:
                    return
                block = memoryview(room)[_ROOM:]
                checksum = read_into(block, self._descriptor, self._length, index, digest)
                if self._put(connection, room, index, checksum):
                    with self._told:
                        self._options.done(index)
        except BaseException as error:  # noqa: BLE001 -- handed to the thread that waits
            with self._lock:
                if self._error is None and not self._stop.is_set():
                    self._error = error
            self._stop.set()
        finally:
            connection.close()

    def _put(self, connection: Connection, room: bytearray, index: int, checksum: str) -> bool:
        """Put one block, as often as it takes; False when the upload stops meanwhile."""
        failures = waits = 0
        begun = time.monotonic()
        while self._wait(self._pace.delay()):
            by = self._signer.credentials()
            try:
                self._once(connection, room, index, checksum, by)
            except WireError:
                if self._stop.is_set():
                    return False
                failures += 1
                if failures >= self._patience.attempts:
                    raise
            except ServerError as error:
                counted = self._judge(error, begun, by)
                failures += counted
                if failures >= self._patience.attempts:
                    raise
                waits += not counted
            else:
                self._settled = True
                return True
            if not self._wait(self._backoff(failures + waits)):
                return False
        return False

    def _once(self, connection: Connection, room: bytearray, index: int, checksum: str, by: Credentials) -> None:
        path, headers = self._signer.put(self._target.snapshot, index, checksum, BLOCK, by=by)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"PUT {path} HTTP/1.1\r\n{lines}Content-Length: {BLOCK}\r\n\r\n".encode("latin-1")
        if len(head) > _ROOM:
            raise PublishError("the AWS session token is longer than a request's head may be")
        room[_ROOM - len(head) : _ROOM] = head
        answer = connection.exchange(memoryview(room)[_ROOM - len(head) :])
        if answer.status != 201:  # noqa: PLR2004 -- Created
            raise answer.error(by)
        if answer.headers.get("x-amz-checksum", checksum) != checksum:
            raise WireError("the server stored another block than the one that was sent")

    def _judge(self, error: ServerError, begun: float, by: Credentials) -> int:
        """Return 1 for a failure that counts, 0 for a wait that has its own limit; raise what no retry mends."""
        now = time.monotonic()
        if error.throttled:
            self._pace.slower()
            if now - begun < self._patience.throttled:
                return 0
            raise PublishError(
                f"AWS throttles {self._target.snapshot} for {self._patience.throttled:g} s on end",
                details=str(error),
                hint="other uploads may use the account's quota up: try again later, it goes on where it stopped",
            ) from error
        if error.missing and not self._settled and now < self._until:
            return 0
        if error.passing:
            return 1
        if error.expired and self._signer.credentials() != by:
            return 1
        if "hecksum" in error.message and error.status == 400:  # noqa: PLR2004 -- Bad Request
            raise PublishError(
                "the image is not the one that was measured: it changed while it was uploaded",
                details=str(error),
                hint="build or copy it again, then publish it",
            ) from error
        raise PublishError(
            f"a block was refused by {self._target.snapshot}",
            details=str(error),
            hint=_hint(error),
        ) from error

    def _backoff(self, tries: int) -> float:
        ceiling = min(self._patience.longest, self._patience.first * 2.0 ** min(tries, 16))
        return random.uniform(ceiling / 4, ceiling)  # noqa: S311 -- jitter

    def _wait(self, seconds: float) -> bool:
        """Sleep; False when the upload stops."""
        return not (self._stop.wait(seconds) if seconds > 0 else self._stop.is_set())


def _hint(error: ServerError) -> str:
    if error.status == 403:  # noqa: PLR2004 -- Forbidden
        if error.code == "InvalidSignatureException":
            return "look at this machine's clock and at the secret key"
        if error.expired:
            return "sign in again"
        return "the policy must allow ebs:PutSnapshotBlock, and the KMS key's policy its use"
    if error.missing:
        return "the snapshot was deleted, or it is in another region or account"
    return ""
