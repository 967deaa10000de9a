# ruff: noqa: ANN401 -- distributed's types are its own
"""Steps run by the workers of a Dask scheduler. An Executor.

A step's Dask key is its own key, so of two fronts that ask for the same one it runs once. A worker that dies has
its steps run elsewhere, by the scheduler; a step over which workers die again and again is given up.
"""

import json
import re
import time
from collections.abc import Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from secrets import token_hex
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Any, Self

from imagekit import errors, events
from imagekit.errors import BuildError, ToolError, TryAgainError, UsageError, VerificationError
from imagekit.events import Listener, StepRetried, StepStarted, Warned
from imagekit.executor import Outcome, Task, machine, make
from imagekit.extras import missing
from imagekit.farm.cargo import Sender, movable
from imagekit.farm.work import step
from imagekit.store import Store

_ADDRESS = re.compile(r"[a-z]+://(\[[0-9a-fA-F:]+\]|[\w.-]+):\d{1,5}", re.ASCII)
_CONNECT = 10.0  # seconds
_ARRIVAL = 10.0  # seconds in which a worker that can do it may still come
_ALONE = 60.0  # seconds without any worker until what waits for one is given up
_LOOK = 1.0  # seconds between two looks whether there are workers
_AHEAD = 2  # tasks for each thread of a worker: one runs, one waits
_SENDERS = 8
_ONWARDS = "the same command goes on from there"


class Dask:
    """A scheduler's workers. UsageError without a shared store, ToolError when no scheduler answers."""

    def __init__(
        self,
        address: str,
        store: Store,
        tell: Listener,
        *,
        arrival: float = _ARRIVAL,
        connect: float = _CONNECT,
        alone: float = _ALONE,
    ) -> None:
        if store.shared is None:
            raise UsageError(
                "workers elsewhere need a shared store",
                hint="--store s3://BUCKET/PREFIX or file:///PATH, with --store-key and --trust",
            )
        self._client = _connected(address, connect)
        self._url = store.shared.url
        self._store, self._tell = store, tell
        self._sender = Sender(store)
        self._arrival = arrival
        self._stopped = Event()
        self._pool = ThreadPoolExecutor(_SENDERS)  # sends what is read, and asks the store
        self._running: dict[Any, Task] = {}
        self._begun: set[tuple[str, str]] = set()
        self._asking, self._asked = Lock(), 0.0
        self._known: Mapping[str, Any] = {}
        self._topic = f"imagekit-{token_hex(8)}"
        self._client.subscribe_topic(self._topic, self._heard)
        self._left = Event()
        Thread(target=self._watch, args=(alone,), name="workers", daemon=True).start()

    @property
    def capacity(self) -> int:
        """So many tasks keep all workers at work."""
        threads: int = sum(one["nthreads"] for one in self._workers().values())
        return max(_SENDERS, _AHEAD * threads)

    def submit(self, task: Task) -> Future[Outcome]:
        """Have a worker that can run a task, once what it reads is in the store."""
        future: Future[Outcome] = Future()
        self._pool.submit(self._send, task, future)
        return future

    def stop(self) -> None:
        """Give up what runs; a step that a worker is at goes on to its end there."""
        self._stopped.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
        with suppress(Exception):  # the scheduler may be what is gone
            self._client.cancel(list(self._running))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.stop()

    def close(self) -> None:
        """Leave the scheduler; until then it may be used in one `with` after the other."""
        self._left.set()
        self._pool.shutdown(wait=True)
        with suppress(Exception):  # the scheduler may be what is gone
            self._client.unsubscribe_topic(self._topic)
        self._client.close()

    def _watch(self, patience: float) -> None:
        """Say when no worker is left that can run a step, and give it up when none comes: Dask would wait."""
        since: dict[Any, float] = {}
        while not self._left.wait(_LOOK):
            try:
                able = [set(worker["resources"]) for worker in self._workers().values()]
            except TryAgainError:  # whoever waits is told by the client
                return
            waiting = {
                remote: task
                for remote, task in list(self._running.items())
                if not any(set(task.needs) <= one for one in able)
            }
            if waiting and not since:
                first = next(iter(waiting.values()))
                self._tell(Warned(f"no worker is left that can run {first.step}; waiting {patience:g} s for one"))
            since = {remote: since.get(remote, time.monotonic()) for remote in waiting}
            if given_up := [remote for remote, begun in since.items() if time.monotonic() - begun > patience]:
                self._client.cancel(given_up)

    def _send(self, task: Task, future: Future[Outcome]) -> None:
        try:
            if not movable(task):
                future.set_result(make(task, self._store, self._tell, unwanted=self._stopped.is_set))
                return
            begun = time.time()
            there = self._store.look(task.key).result
            if there is not None:
                future.set_result(Outcome(there.digest, True, begun, time.time(), machine()))  # noqa: FBT003
                return
            self._ship(task, future)
        except BaseException as error:  # noqa: BLE001 -- raised by who waits
            future.set_exception(error)

    def _ship(self, task: Task, future: Future[Outcome]) -> None:
        self._check_needs(task)
        content = {**task.to_json(), "inputs": self._sender.send(task), "topic": self._topic}
        remote = self._client.submit(
            step,
            json.dumps(content),
            self._url,
            key=f"imagekit-{task.key}",
            resources=dict.fromkeys(task.needs, 1) or None,
            pure=False,
        )
        self._running[remote] = task
        remote.add_done_callback(lambda done: self._landed(task, done, future))

    def _landed(self, task: Task, remote: Any, future: Future[Outcome]) -> None:
        """Have an answer looked at: not by the client's own thread, which the store would keep waiting."""
        self._running.pop(remote, None)
        try:
            self._pool.submit(self._arrived, task, remote, future)
        except RuntimeError:  # we are leaving
            self._arrived(task, remote, future)

    def _arrived(self, task: Task, remote: Any, future: Future[Outcome]) -> None:
        try:
            future.set_result(self._believed(task, _outcome(task, remote)))
        except BaseException as error:  # noqa: BLE001 -- raised by who waits
            future.set_exception(error)

    def _believed(self, task: Task, outcome: Outcome) -> Outcome:
        """Return an outcome whose result a trusted writer has signed: a worker's word alone is nobody's."""
        claim = self._store.shared.look_up(task.key) if self._store.shared is not None else None
        if claim is None or (claim.step, claim.digest) != (task.step, outcome.digest):
            raise VerificationError(
                f"{task.image}: {task.step}: no trusted writer has signed what a worker answered",
                hint="--trust names the public keys of the workers, which sign with their --store-key",
            )
        return outcome

    def _check_needs(self, task: Task) -> None:
        """ToolError when no worker can run a task; Dask would wait for one for ever."""
        until = time.monotonic() + self._arrival
        while not self._stopped.is_set():
            workers = self._workers().values()
            if any(set(task.needs) <= set(worker["resources"]) for worker in workers):
                return
            if time.monotonic() > until:
                raise _unable(task, workers)
            self._stopped.wait(0.2)
        raise TryAgainError(f"{task.image}: {task.step} was given up")

    def _workers(self) -> Mapping[str, Any]:
        """Return the workers by their addresses; TryAgainError when the scheduler is gone: then none are told."""
        with self._asking:  # the answer tells of all of them: not for every step
            if time.monotonic() - self._asked > _LOOK:
                told = self._client.scheduler_info(n_workers=-1)
                if "workers" not in told:
                    raise TryAgainError("the scheduler is gone", hint=_ONWARDS)
                self._known, self._asked = told["workers"], time.monotonic()
            return self._known

    def _heard(self, event: tuple[float, Any]) -> None:
        with suppress(ValueError, KeyError, TypeError):  # whoever may talk to the scheduler may have said it
            told = events.from_json(json.loads(event[1]))
            if isinstance(told, StepStarted):
                if (told.step, told.image) in self._begun:
                    self._tell(StepRetried(told.step, told.image, "the worker that ran it is gone"))
                self._begun.add((told.step, told.image))
            self._tell(told)


def _connected(address: str, limit: float) -> Any:
    if not _ADDRESS.fullmatch(address):  # of which distributed's client would leave its thread behind
        raise UsageError(f"{address}: no scheduler's address", hint="tcp://HOST:8786 or tls://HOST:8786")
    try:
        from distributed import Client  # noqa: PLC0415 -- an extra's, and half a second
    except ModuleNotFoundError as error:
        raise missing("a build on more than one machine", error) from None
    try:
        return Client(  # type: ignore[no-untyped-call]
            address, timeout=limit, set_as_default=False
        )
    except OSError as error:
        raise ToolError(
            f"no Dask scheduler answers at {address}",
            details=str(error)[:300],
            hint="`dask scheduler` starts one; tls:// wants DASK_DISTRIBUTED__COMM__TLS__…",
        ) from None


def _outcome(task: Task, remote: Any) -> Outcome:
    if remote.status == "finished":
        answer = json.loads(remote.result())
        if "error" in answer:
            raise errors.from_json(answer)
        return Outcome.from_json(answer)
    if remote.status in {"cancelled", "lost"}:
        raise TryAgainError(
            f"{task.image}: {task.step} was given up: the scheduler, or every worker, is gone", hint=_ONWARDS
        )
    error = remote.exception()
    if type(error).__name__ == "KilledWorker":
        raise BuildError(
            f"{task.image}: {task.step}: workers died over it, one after the other",
            details=str(error)[:300],
            hint="SIGKILL is most often the system's, for want of memory: fewer --threads take less",
        )
    raise BuildError(f"{task.image}: {task.step}: a worker has a fault: {type(error).__name__}: {error}"[:500])


def _unable(task: Task, workers: Collection[Mapping[str, Any]]) -> ToolError:
    can = sorted({name for worker in workers for name in worker["resources"]})
    wanted = ", ".join(task.needs) or "anything"
    return ToolError(
        f"{task.image}: {task.step}: no worker can {wanted}",
        details=f"workers: {len(workers)}; they can: {', '.join(can) or 'the usual only'}",
        hint="`imagekit worker --scheduler ADDRESS` starts one, and says what its machine can",
    )
