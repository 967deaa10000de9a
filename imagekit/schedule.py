"""All steps of a plan, each as soon as its inputs are there: looked up here, and what is missing given out."""

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field, replace

from imagekit import command
from imagekit.errors import BuildError, ImagekitError
from imagekit.executor import Executor, Outcome, Task
from imagekit.plan import Plan, Step
from imagekit.runner import Runner, done, found, images_of
from imagekit.store import Stored

# Seconds. A signal that comes just before a thread goes to wait is not noticed until it wakes.
_PATIENCE = 0.5


@dataclass(frozen=True, slots=True)
class Ran:
    """The results that are there, which of them were there before, and the errors of steps that have none.

    A step that is in neither was not begun, or was given up: the run was to end early.
    """

    made: dict[Step, Stored] = field(default_factory=dict)
    cached: dict[Step, bool] = field(default_factory=dict)
    failed: dict[Step, ImagekitError] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Terms:
    """How a plan is run: whether one failure ends it, when it is to end early, and how long that may take."""

    keep_going: bool = False
    draining: Callable[[], bool] = lambda: False
    grace: float = 25.0  # seconds


def run_all(plan: Plan, runner: Runner, executor: Callable[[int], Executor], terms: Terms) -> Ran:
    """Run a plan's steps. `executor` makes who runs them, told how many have no result yet; not if none has."""
    schedule = _Schedule(plan, runner, terms)
    schedule.look_up()
    if schedule.missing:
        with executor(schedule.missing) as pool:
            schedule.run(pool)
    return schedule.ran


class _Schedule:
    """What is done, what runs, and what waits for what."""

    def __init__(self, plan: Plan, runner: Runner, terms: Terms) -> None:
        self.ran = Ran()
        self._runner, self._terms = runner, terms
        self._images = images_of(plan)
        steps = plan.steps()
        self._waits_for = {step: sum(isinstance(one, Step) for one in step.inputs.values()) for step in steps}
        self._readers: dict[Step, list[Step]] = {step: [] for step in steps}
        for step in steps:
            for source in step.inputs.values():
                if isinstance(source, Step):
                    self._readers[source].append(step)
        self._ready = deque(step for step, count in self._waits_for.items() if not count)
        self._tasks: deque[Task] = deque()
        self._makers: dict[str, list[Step]] = {}  # by key: steps that come to the same are made once

    @property
    def missing(self) -> int:
        """How many steps have neither result nor error yet."""
        return len(self._waits_for) - len(self.ran.made) - len(self.ran.failed)

    def look_up(self) -> None:
        """Look up every step whose inputs are there; what has no result becomes a task."""
        while self._ready:
            step, begun = self._ready.popleft(), time.time()
            try:
                task = self._runner.task(step, self.ran.made, self._images[step])
            except ImagekitError as error:
                self._fail(step, error)
                continue
            there = self._runner.store.find(task.key)
            if there.result is not None:
                self._finish(step, found(there.result, begun))
            elif task.key in self._makers:
                self._makers[task.key].append(step)
            else:
                self._makers[task.key] = [step]
                self._tasks.append(replace(task, reason=there.reason, damaged=there.damaged))

    def run(self, pool: Executor) -> None:
        """Give the tasks out, never more than can run, until all is done or the run is to end."""
        running: dict[Future[Outcome], Task] = {}
        until: float | None = None
        while self._tasks or running:
            if until is None and self._terms.draining():
                self._tasks.clear()
                until = time.monotonic() + self._terms.grace
            if until is not None and time.monotonic() > until:
                command.stop_children()
                pool.stop()
                return
            while self._tasks and until is None and len(running) < pool.capacity:
                task = self._tasks.popleft()
                running[pool.submit(task)] = task
            ended, _ = wait(running, _PATIENCE, FIRST_COMPLETED)
            for future in ended:
                self._end(running.pop(future), future)
            if until is None:
                self.look_up()

    def _end(self, task: Task, future: Future[Outcome]) -> None:
        first, *others = self._makers.pop(task.key)
        error = future.exception()
        if error is None:
            outcome = future.result()
            self._finish(first, outcome)
            for step in others:
                self._finish(step, found(self._runner.store.stored(outcome.digest), time.time()))
            return
        if not isinstance(error, ImagekitError) and self._terms.keep_going:
            error = BuildError(f"a step has a fault: {type(error).__name__}: {error}")
        if not isinstance(error, ImagekitError):
            raise error
        for step in (first, *others):
            self._fail(step, error)

    def _finish(self, step: Step, outcome: Outcome) -> None:
        self.ran.made[step] = self._runner.store.stored(outcome.digest)
        self.ran.cached[step] = outcome.cached
        self._runner.tell(done(step, self._images[step], outcome))
        for reader in self._readers[step]:
            self._waits_for[reader] -= 1
            if not self._waits_for[reader]:
                self._ready.append(reader)

    def _fail(self, step: Step, error: ImagekitError) -> None:
        """Note an error for a step and all that would read its result; raise it where one ends the run."""
        if not self._terms.keep_going:
            if len(set(self._images.values())) > 1:
                error.about(self._images[step])
            raise error
        left = [step]
        while left:
            one = left.pop()
            if one not in self.ran.failed:
                self.ran.failed[one] = error
                left += self._readers[one]
