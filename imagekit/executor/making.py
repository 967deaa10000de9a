"""Make what a task asks for, in this process."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from imagekit.events import Course, Listener, StepPhase, StepStarted, StepWaits, Warned, course
from imagekit.executor.inputs import SourceInput
from imagekit.executor.task import Outcome, Task, machine
from imagekit.store import Found, Store, Stored


def make(task: Task, store: Store, tell: Listener, *, unwanted: Callable[[], bool] = lambda: False) -> Outcome:
    """Find a task's result, or make it. Call it inside the store's `in_use`.

    TryAgainError when a source is no longer what was hashed; the wait for somebody else who makes the same ends
    with one when it is `unwanted`.
    """
    begun, warnings = time.time(), list[str]()
    inputs = {name: given.input(store) for name, given in task.inputs.items()}

    def damaged(what: str) -> None:
        warnings.append(f"{task.image}: {task.step}: {what}; it is made again")
        tell(Warned(warnings[-1]))

    result, cached = store.make(
        task.key,
        task.step,
        lambda out, reason: _produce(task, inputs, store.root, tell, out, reason),
        waiting=lambda: tell(StepWaits(task.step, task.image)),
        damaged=damaged,
        unwanted=unwanted,
        found=Found(None, task.reason, task.damaged) if task.reason else None,
    )
    return Outcome(result.digest, cached, begun, time.time(), machine(), tuple(warnings))


def _produce(
    task: Task, inputs: Mapping[str, SourceInput | Stored], root: Path, tell: Listener, out: Path, reason: str
) -> None:
    tell(StepStarted(task.step, task.image, reason))
    log = root / "logs" / f"{task.step}-{task.key[:16]}.log"
    told = Course(lambda phase: tell(StepPhase(task.step, task.image, phase, str(log))), log)
    try:
        with course(told):
            task.run(inputs, out, task.options)
    except Exception:
        _check(inputs)  # an input that changes is a better reason than what comes of it
        raise
    _check(inputs)


def _check(inputs: Mapping[str, SourceInput | Stored]) -> None:
    for source in inputs.values():
        source.check()
