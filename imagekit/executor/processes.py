"""Steps in processes of their own: more than one step's Python at a time.

Each worker is a program that is told a task a line on its standard input, as JSON, and answers on its standard
output: events, then the outcome or the error. It ends when its input does, so none outlives us.
"""

import json
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from queue import Empty, SimpleQueue
from threading import Event, Lock
from types import TracebackType
from typing import Self

from imagekit import command, errors, events
from imagekit.errors import BuildError, TryAgainError
from imagekit.events import Listener, StepRetried
from imagekit.executor.making import make
from imagekit.executor.task import Outcome, Task
from imagekit.store import Store

_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop()); "
    "from imagekit.executor.worker import main; main(*sys.argv[1:])"
)
_TRIES = 2


class Processes:
    """So many worker processes, each started when it is first needed. An Executor."""

    def __init__(self, store: Store, jobs: int, tell: Listener) -> None:
        self.capacity = jobs
        self._store, self._tell = store, tell
        self._pool = ThreadPoolExecutor(jobs)  # a thread talks with one worker at a time
        self._idle: SimpleQueue[command.Worker] = SimpleQueue()
        self._workers: list[command.Worker] = []
        self._started = ExitStack()  # holds them all
        self._starting = Lock()
        self._stopped = Event()

    def submit(self, task: Task) -> Future[Outcome]:
        """Run a task when a worker is free; one whose function no other process can find runs in this one."""
        return self._pool.submit(self._done, task)

    def stop(self) -> None:
        """Have the workers end their tools, sweep up and end."""
        self._stopped.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.stop()
        self._pool.shutdown(wait=True)
        self._end()

    def _end(self) -> None:
        with self._starting:
            for worker in self._workers:  # all at once, and then wait
                worker.hang_up()
            self._started.close()

    def _done(self, task: Task) -> Outcome:
        if not task.travels:
            return make(task, self._store, self._tell, unwanted=self._stopped.is_set)
        for last in range(1, _TRIES + 1):
            worker = self._worker()
            outcome = self._told(task, worker)
            if outcome is not None:
                return outcome
            fate = worker.end()
            if self._stopped.is_set():
                raise TryAgainError(f"{task.image}: {task.step} was given up")
            if last < _TRIES:
                self._tell(StepRetried(task.step, task.image, f"its process {fate}"))
        raise BuildError(
            f"{task.image}: {task.step}: its process {fate}, {_TRIES} times",
            hint="SIGKILL is most often the system's, for want of memory: fewer --jobs take less",
        )

    def _worker(self) -> command.Worker:
        try:
            return self._idle.get_nowait()
        except Empty:
            access = self._store.shared.access if self._store.shared is not None else ""
            argv = ("-P", "-c", _START, str(self._store.root), access, json.dumps(sys.path))
            with self._starting:
                if self._stopped.is_set():
                    raise TryAgainError("no more is started") from None
                worker = self._started.enter_context(command.worker(sys.executable, *argv))
                self._workers.append(worker)
            return worker

    def _told(self, task: Task, worker: command.Worker) -> Outcome | None:
        """Have a worker run a task; None when it died over it. The error that the step had is raised here."""
        worker.send(json.dumps(task.to_json()).encode() + b"\n")
        while (line := worker.line()).endswith(b"\n"):  # half a line is a killed one's last
            answer = json.loads(line)
            if "event" in answer:
                self._tell(events.from_json(answer))
                continue
            self._idle.put(worker)
            if "error" in answer:
                raise errors.from_json(answer)
            return Outcome.from_json(answer)
        return None
