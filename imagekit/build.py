"""Run a plan's steps, each as soon as its inputs are there, and place the results.

Nothing is decided here. A step runs when its key has no result; a key is made of the digests of what the step
reads, so it is known once they are.
"""

import errno
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from threading import Event, Lock

from imagekit import command, events
from imagekit.artifact import Artifact
from imagekit.disk import libparted_version
from imagekit.errors import RecipeError, TryAgainError
from imagekit.events import (
    Course,
    Listener,
    Placed,
    StepDone,
    StepPhase,
    StepStarted,
    StepWaits,
    Warned,
    course,
    silent,
)
from imagekit.place import deliver, delivered, place_all
from imagekit.plan import Delivery, Input, Output, Plan, Source, Step, key
from imagekit.sparse import BlockMap, allocated, digest_file, digest_tree, fingerprint, map_blocks
from imagekit.store import Store, Stored

# Seconds. A signal that comes just before a thread goes to wait is not noticed until it wakes.
_PATIENCE = 0.5

_VERSIONS: Mapping[str, Callable[[], str]] = {
    "libparted": libparted_version,
    "zlib": lambda: zlib.ZLIB_RUNTIME_VERSION,
}


@dataclass(frozen=True)
class SourceInput:
    """A source as its readers get it; hashed once a run, when the first key needs it."""

    path: Path
    kept: bool = False

    @cached_property
    def digest(self) -> str:
        """The content's digest; of a folder, that of all it holds. RecipeError when it cannot be read."""
        try:
            return digest_tree(self.path, kept=self.kept) if self.path.is_dir() else digest_file(self.path)
        except OSError as error:
            self.check()
            raise _unreadable(self, error) from error

    @cached_property
    def state(self) -> bytes:
        """What the source looked like before it was first read."""
        return fingerprint(self.path)

    def blocks(self) -> BlockMap:
        """A file's block map."""
        return map_blocks(self.path)

    def check(self) -> None:
        """TryAgainError when the source is no longer what was hashed."""
        try:
            same = fingerprint(self.path) == self.state
        except OSError:
            same = False
        if not same:
            raise TryAgainError(f"{self.path} changed while it was read", hint="run it again when it is at rest")


@dataclass(frozen=True, slots=True)
class Planned:
    """What `plan` tells of one step: what it is for, whether its result is there, and why not."""

    step: str
    image: str
    targets: tuple[str, ...]
    cached: bool
    reason: str
    key: str | None


class Runner:
    """Runs steps against one store."""

    def __init__(self, store: Store, listener: Listener = silent) -> None:
        self.store = store
        self.stopped = Event()
        self._listener = listener
        self._sources: dict[tuple[Path, bool], SourceInput] = {}
        self._telling = Lock()

    def run(
        self, step: Step, made: Mapping[Step, Stored], image: str, *, telling: bool = True
    ) -> tuple[Stored, bool]:
        """Return a step's result, and whether it was there; `made` has those of the steps that it reads.

        The listener hears of it unless `telling` is false.
        """
        tell = self._tell if telling else silent
        begun = time.monotonic()
        inputs = self._inputs(step, made)
        its_key = self._key(step, inputs)

        def produce(out: Path, reason: str) -> None:
            tell(StepStarted(step.name, image, reason))
            log = self.store.root / "logs" / f"{step.name}-{its_key[:16]}.log"
            told = Course(lambda phase: tell(StepPhase(step.name, image, phase, str(log))), log)
            try:
                with course(told):
                    step.run(inputs, out, step.options)
            except Exception:
                _check(inputs)  # an input that changes is a better reason than what comes of it
                raise
            _check(inputs)

        stored, cached = self.store.make(
            its_key,
            step.name,
            produce,
            waiting=lambda: tell(StepWaits(step.name, image)),
            damaged=lambda what: tell(Warned(f"{image}: {step.name}: {what}; it is made again")),
            unwanted=self.stopped.is_set,
        )
        tell(StepDone(step.name, image, cached, time.monotonic() - begun))
        return stored, cached

    def look_up(self, step: Step, image: str, targets: tuple[str, ...]) -> Planned:
        """Tell of a step that reads sources only what `look` tells of those of a plan."""
        its_key = self._key(step, self._inputs(step, {}))
        found = self.store.find(its_key)
        return Planned(step.name, image, targets, found.result is not None, found.reason, its_key)

    def warn(self, message: str) -> None:
        """Tell the listener what the user should know."""
        self._tell(Warned(message))

    def look(self, plan: Plan) -> Iterator[Planned]:
        """Tell of each step whether it would run, and why. Nothing is made."""
        made: dict[Step, Stored] = {}
        images, its_targets = _images(plan), _targets(plan)
        for step in plan.steps():
            about = (step.name, images[step], its_targets[step])
            missing = [
                source.name for source in step.inputs.values() if isinstance(source, Step) and source not in made
            ]
            if missing:
                reason = f"{' and '.join(missing)} will be made"
                yield Planned(*about, cached=False, reason=reason, key=None)
                continue
            its_key = self._key(step, self._inputs(step, made))
            found = self.store.find(its_key)
            if found.result is not None:
                made[step] = found.result
            cached = found.result is not None
            yield Planned(*about, cached=cached, reason=found.reason, key=its_key)
        yield from self._look_at_deliveries(plan, made)

    def _look_at_deliveries(self, plan: Plan, made: Mapping[Step, Stored]) -> Iterator[Planned]:
        for output in plan.outputs:
            if output.delivery is None:
                continue
            about = (output.delivery.name, output.image, (output.target,))
            main = made.get(output.main)
            if main is None:
                reason = f"{output.main.name} will be made"
                yield Planned(*about, cached=False, reason=reason, key=None)
                continue
            there = delivered(output.delivery, main.digest, output.path, self.store.root) is not None
            reason = "in its place" if there else f"{output.path} is not there, or another"
            yield Planned(*about, cached=there, reason=reason, key=output.delivery.key(main.digest))

    def _tell(self, event: events.Event) -> None:
        with self._telling:  # a listener need not think of threads
            self._listener(event)

    def _inputs(self, step: Step, made: Mapping[Step, Stored]) -> dict[str, Input]:
        return {
            name: self.source(source) if isinstance(source, Source) else made[source]
            for name, source in step.inputs.items()
        }

    def source(self, source: Source) -> SourceInput:
        """Return a source as an input; RecipeError when it is not there."""
        known = self._sources.get((source.path, source.kept))
        if known is None:
            try:
                _check_kind(source.path)
                known = SourceInput(source.path, source.kept)
                known.state  # noqa: B018 -- its state before anything is read
            except OSError as error:
                raise _unreadable(source, error) from error
            self._sources[source.path, source.kept] = known
        return known

    def _key(self, step: Step, inputs: Mapping[str, Input]) -> str:
        digests = {name: source.digest for name, source in inputs.items()}
        versions = {tool: _VERSIONS.get(tool, lambda tool=tool: command.version(tool))() for tool in step.tools}
        return key(step, digests, versions)


def _check_kind(path: Path) -> None:
    """Refuse what would never end, before it is opened: a pipe, a device."""
    mode = path.stat().st_mode
    if not (S_ISREG(mode) or S_ISDIR(mode)):
        raise RecipeError(f"{path} is neither a file nor a folder")


def build(
    plan: Plan, store: Store, listener: Listener = silent, *, jobs: int = 2, runner: Runner | None = None
) -> list[Artifact]:
    """Make a plan's artifacts, `jobs` steps at a time, and return them in the plan's order.

    `runner` is the one that the plan was prepared with, so that sources are hashed once, and a kernel that changed
    since its facts were read is noticed. The first error ends the build; what was made until then stays in the
    store, so the next build goes on there.
    """
    begun = time.monotonic()
    runner = runner or Runner(store, listener)
    with store.in_use():
        made, cached = _run_all(plan, runner, jobs)
        artifacts = []
        for output in plan.outputs:
            if output.delivery is None:
                companions, there = _placed(output, made, store)
            else:
                companions, there = _delivered(output, output.delivery, made, store, listener)
            # A delivery's main file is small: its data lies in what it was made with.
            content = [output.path] if output.delivery is None else [output.path, *companions]
            artifact = Artifact(
                image=output.image,
                target=output.target,
                path=output.path,
                companions=companions,
                digest=made[output.main].digest,
                size=sum(path.stat().st_size for path in content),
                on_disk=sum(map(allocated, content)),
                seconds=time.monotonic() - begun,
                cached=there and all(cached[step] for _, step in output.files()),
            )
            artifacts.append(artifact)
            listener(Placed(artifact))
    return artifacts


def _run_all(plan: Plan, runner: Runner, jobs: int) -> tuple[dict[Step, Stored], dict[Step, bool]]:
    images = _images(plan)
    made: dict[Step, Stored] = {}
    cached: dict[Step, bool] = {}
    left = list(plan.steps())
    running: dict[Future[tuple[Stored, bool]], Step] = {}
    with ThreadPoolExecutor(jobs) as pool:
        try:
            while left or running:
                for step in [step for step in left if _ready(step, made)]:
                    left.remove(step)
                    running[pool.submit(runner.run, step, dict(made), images[step])] = step
                done, _ = wait(running, _PATIENCE, FIRST_COMPLETED)
                for future in done:
                    step = running.pop(future)
                    made[step], cached[step] = future.result()
        except BaseException:
            runner.stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return made, cached


def _ready(step: Step, made: Mapping[Step, Stored]) -> bool:
    return all(source in made for source in step.inputs.values() if isinstance(source, Step))


def _placed(output: Output, made: Mapping[Step, Stored], store: Store) -> tuple[tuple[Path, ...], bool]:
    files = [(made[step], path) for path, step in output.files()]
    place_all(files, store.root)
    return tuple(path for _, path in files[:-1]), True


def _delivered(
    output: Output, delivery: Delivery, made: Mapping[Step, Stored], store: Store, listener: Listener
) -> tuple[tuple[Path, ...], bool]:
    """Make the artifact in its place; return its companions, and whether it was there."""
    begun = time.monotonic()
    listener(StepStarted(delivery.name, output.image, f"made in its place, {output.path.parent}"))
    companions = [(made[step], path) for path, step in output.files() if path != output.path]
    others, there = deliver(delivery, made[output.main], output.path, companions, store.root)
    listener(StepDone(delivery.name, output.image, there, time.monotonic() - begun))
    return (*(path for _, path in companions), *others), there


def _check(inputs: Mapping[str, Input]) -> None:
    for source in inputs.values():
        if isinstance(source, SourceInput | Stored):
            source.check()


def _unreadable(source: Source | SourceInput, error: OSError) -> RecipeError:
    hint = "a system's folder wants root, or comes as a tar" if source.kept and error.errno == errno.EACCES else ""
    return RecipeError(f"{error.filename or source.path} cannot be read", details=str(error.strerror), hint=hint)


def _images(plan: Plan) -> dict[Step, str]:
    """Return which image each step is for, the first where several share it."""
    images: dict[Step, str] = {}
    for output in plan.outputs:
        for step in Plan((output,)).steps():
            images.setdefault(step, output.image)
    return images


def _targets(plan: Plan) -> dict[Step, tuple[str, ...]]:
    """Return which targets each step is for."""
    wanted: dict[Step, dict[str, None]] = {}
    for output in plan.outputs:
        for step in Plan((output,)).steps():
            wanted.setdefault(step, {})[output.target] = None
    return {step: tuple(names) for step, names in wanted.items()}
