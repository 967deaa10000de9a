"""Steps in threads of this process: nothing has to be started, and tools run beside each other."""

from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from types import TracebackType
from typing import Self

from imagekit.events import Listener
from imagekit.executor.making import make
from imagekit.executor.task import Outcome, Task
from imagekit.store import Store


class Threads:
    """So many threads. An Executor."""

    def __init__(self, store: Store, jobs: int, tell: Listener) -> None:
        self.capacity = jobs
        self._store, self._tell = store, tell
        self._pool = ThreadPoolExecutor(jobs)
        self._stopped = Event()

    def submit(self, task: Task) -> Future[Outcome]:
        """Run a task when a thread is free."""
        return self._pool.submit(make, task, self._store, self._tell, unwanted=self._stopped.is_set)

    def stop(self) -> None:
        """Start no more, and wait for nobody; a step function that runs cannot be stopped but by its tools."""
        self._stopped.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.stop()
        self._pool.shutdown(wait=True)
