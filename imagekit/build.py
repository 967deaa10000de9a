"""Run a plan's steps, each as soon as its inputs are there, and place the results.

Nothing is decided here. A step runs when its key has no result; a key is made of the digests of what the step
reads, so it is known once they are.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from imagekit.artifact import Artifact
from imagekit.errors import ImagekitError
from imagekit.events import Listener, Placed, StepDone, StepStarted, silent
from imagekit.executor import Executor, Processes, Threads
from imagekit.failures import Failure
from imagekit.place import deliver, place_all
from imagekit.plan import Delivery, Output, Plan, Step
from imagekit.runner import Planned, Runner
from imagekit.schedule import Ran, Terms, run_all
from imagekit.sparse import allocated
from imagekit.store import Store, Stored

__all__ = ["Built", "Planned", "Runner", "Terms", "Workers", "attempt", "build", "executor"]

# Processors and steps from which on processes pay: of a step's time a third is Python's, which one process has one
# at a time, and a worker takes a quarter of a second to start.
_SEVERAL, _MANY = 4, 200

Workers = Literal["auto", "threads", "processes"]


@dataclass(frozen=True, slots=True)
class Built:
    """The artifacts that are in their places, what failed, and what was not made since the run was to end."""

    artifacts: tuple[Artifact, ...]
    failures: tuple[Failure, ...] = ()
    missing: tuple[Output, ...] = ()


def build(
    plan: Plan, store: Store, listener: Listener = silent, *, jobs: int = 2, runner: Runner | None = None
) -> list[Artifact]:
    """Make a plan's artifacts, `jobs` steps at a time, and return them in the plan's order.

    `runner` is the one that the plan was prepared with, so that sources are hashed once, and a kernel that changed
    since its facts were read is noticed. The first error ends the build; what was made until then stays in the
    store, so the next build goes on there.
    """
    runner = runner or Runner(store, listener)
    return list(attempt(plan, runner, executor(runner, jobs)).artifacts)


def executor(runner: Runner, jobs: int, workers: Workers = "auto") -> Callable[[int], Executor]:
    """Return what makes the executor for a number of steps: `auto` is processes where they pay, else threads.

    It is who runs them elsewhere, where the runner has one.
    """
    several = min(jobs, os.cpu_count() or 1) >= _SEVERAL

    def made(steps: int) -> Executor:
        if runner.elsewhere is not None:
            return runner.elsewhere
        many = several and steps >= _MANY
        kind = Processes if workers == "processes" or (workers == "auto" and many) else Threads
        return kind(runner.store, jobs, runner.tell)

    return made


_ONE_BY_ONE = Terms()


def attempt(plan: Plan, runner: Runner, executor: Callable[[int], Executor], terms: Terms = _ONE_BY_ONE) -> Built:
    """Make what can be made of a plan's artifacts, as the terms have it."""
    begun, store = time.monotonic(), runner.store
    artifacts, failures, missing = list[Artifact](), list[Failure](), list[Output]()
    with store.in_use():
        ran = run_all(plan, runner, executor, terms)
        for output in plan.outputs:
            steps = [step for _, step in output.files()]
            try:
                for step in steps:
                    if step in ran.failed:
                        raise ran.failed[step]
                if any(step not in ran.made for step in steps):
                    missing.append(output)
                    continue
                artifacts.append(_artifact(output, ran, runner, begun))
            except ImagekitError as error:
                if not terms.keep_going:
                    raise
                failures.append(Failure(output.image, output.target, error))
                runner.tell(failures[-1].event())
    return Built(tuple(artifacts), tuple(failures), tuple(missing))


def _artifact(output: Output, ran: Ran, runner: Runner, begun: float) -> Artifact:
    made = {step: runner.store.here(ran.made[step]) for _, step in output.files()}
    if output.delivery is None:
        companions, there = _placed(output, made, runner.store)
    else:
        companions, there = _delivered(output, output.delivery, made, runner.store, runner.tell)
    # A delivery's main file is small: its data lies in what it was made with.
    content = [output.path] if output.delivery is None else [output.path, *companions]
    artifact = Artifact(
        image=output.image,
        target=output.target,
        path=output.path,
        companions=companions,
        digest=ran.made[output.main].digest,
        size=sum(path.stat().st_size for path in content),
        on_disk=sum(map(allocated, content)),
        seconds=time.monotonic() - begun,
        cached=there and all(ran.cached[step] for _, step in output.files()),
    )
    runner.tell(Placed(artifact))
    return artifact


def _placed(output: Output, made: dict[Step, Stored], store: Store) -> tuple[tuple[Path, ...], bool]:
    files = [(made[step], path) for path, step in output.files()]
    place_all(files, store.root)
    return tuple(path for _, path in files[:-1]), True


def _delivered(
    output: Output, delivery: Delivery, made: dict[Step, Stored], store: Store, listener: Listener
) -> tuple[tuple[Path, ...], bool]:
    """Make the artifact in its place; return its companions, and whether it was there."""
    begun = time.monotonic()
    listener(StepStarted(delivery.name, output.image, f"made in its place, {output.path.parent}"))
    companions = [(made[step], path) for path, step in output.files() if path != output.path]
    others, there = deliver(delivery, made[output.main], output.path, companions, store.root)
    listener(StepDone(delivery.name, output.image, there, time.monotonic() - begun))
    return (*(path for _, path in companions), *others), there
