"""One step at a time: its inputs, its key, whether its result is there, and the making of it."""

import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from threading import Lock

from imagekit import command, events
from imagekit.disk import grub_version, libparted_version
from imagekit.errors import RecipeError
from imagekit.events import Listener, StepDone, Warned, silent
from imagekit.executor import Executor, Given, Outcome, SourceInput, Task, machine, make
from imagekit.executor.inputs import unreadable
from imagekit.place import delivered
from imagekit.plan import Input, Plan, Source, Step, key
from imagekit.store import Store, Stored

_VERSIONS: Mapping[str, Callable[[], str]] = {
    "grub": grub_version,
    "libparted": libparted_version,
    "zlib": lambda: zlib.ZLIB_RUNTIME_VERSION,
}


def tool_version(tool: str) -> str:
    """Return a tool's version, as keys count it; ToolError when it is not there."""
    return _VERSIONS.get(tool, lambda: command.version(tool))()


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
        self.elsewhere: Executor | None = None  # who runs what not every machine can
        self._listener = listener
        self._sources: dict[tuple[Path, bool], SourceInput] = {}
        self._telling = Lock()
        self._warned: set[str] = set()
        if store.shared is not None:
            store.shared.warn = self.warn

    def run(
        self, step: Step, made: Mapping[Step, Stored], image: str, *, telling: bool = True
    ) -> tuple[Stored, bool]:
        """Return a step's result, and whether it was there; `made` has those of the steps that it reads.

        The listener hears of it unless `telling` is false.
        """
        tell = self.tell if telling else silent
        task = self.task(step, made, image)
        if self.elsewhere is not None and task.needs:  # which this machine may not be able to
            outcome = self.elsewhere.submit(task).result()
            self.store.here(self.store.stored(outcome.digest))
        else:
            outcome = make(task, self.store, tell)
        tell(done(step, image, outcome))
        return self.store.stored(outcome.digest), outcome.cached

    def task(self, step: Step, made: Mapping[Step, Stored], image: str) -> Task:
        """Return a step as its data, its key among them."""
        inputs = self._inputs(step, made)
        versions = {tool: tool_version(tool) for tool in step.tools}
        given = {name: Given.of(source) for name, source in inputs.items()}
        its_key = key(step, {name: one.digest for name, one in given.items()}, versions)
        return Task(
            step.name, step.run, step.options, step.revision, versions, given, its_key, image, needs=step.needs
        )

    def look_up(self, step: Step, image: str, targets: tuple[str, ...]) -> Planned:
        """Tell of a step that reads sources only what `look` tells of those of a plan."""
        its_key = self._key(step, self._inputs(step, {}))
        found = self.store.look(its_key)
        return Planned(step.name, image, targets, found.result is not None, found.reason, its_key)

    def warn(self, message: str) -> None:
        """Tell the listener what the user should know."""
        self.tell(Warned(message))

    def look(self, plan: Plan) -> Iterator[Planned]:
        """Tell of each step whether it would run, and why. Nothing is made."""
        made: dict[Step, Stored] = {}
        images, its_targets = images_of(plan), _targets(plan)
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
            found = self.store.look(its_key)
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

    def tell(self, event: events.Event) -> None:
        """Tell the listener, which need not think of threads; each warning once, whoever has it."""
        with self._telling:
            if isinstance(event, Warned):
                if event.message in self._warned:
                    return
                self._warned.add(event.message)
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
                raise unreadable(source.path, error, kept=source.kept) from error
            self._sources[source.path, source.kept] = known
        return known

    def _key(self, step: Step, inputs: Mapping[str, Input]) -> str:
        digests = {name: source.digest for name, source in inputs.items()}
        return key(step, digests, {tool: tool_version(tool) for tool in step.tools})


def done(step: Step, image: str, outcome: Outcome) -> StepDone:
    """Return what a listener is told of a step's end."""
    seconds = max(0.0, outcome.ended - outcome.begun)
    return StepDone(step.name, image, outcome.cached, seconds, outcome.machine, outcome.begun)


def found(stored: Stored, begun: float) -> Outcome:
    """Return the outcome of a look-up that was enough."""
    return Outcome(stored.digest, cached=True, begun=begun, ended=time.time(), machine=machine())


def _check_kind(path: Path) -> None:
    """Refuse what would never end, before it is opened: a pipe, a device."""
    mode = path.stat().st_mode
    if not (S_ISREG(mode) or S_ISDIR(mode)):
        raise RecipeError(f"{path} is neither a file nor a folder")


def images_of(plan: Plan) -> dict[Step, str]:
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
