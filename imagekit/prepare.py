"""From what a user asks for to a plan: recipes read, kernels judged, targets chosen, artifacts named."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from imagekit import recipe, root, stages, targets, trees
from imagekit.build import Planned, Runner
from imagekit.candidate import Candidate, find
from imagekit.errors import ImagekitError, InterruptedByUser, KernelError, UnsuitedError, UsageError
from imagekit.failures import Failure
from imagekit.guests import scarce_memory
from imagekit.kernel import KernelFacts, Refusal
from imagekit.plan import Output, Plan
from imagekit.recipe import Image

ALL = "all"


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for: kernels and recipes, targets (none: the recipe's), the -o, settings over the recipe.

    `images` are built, too: resolved recipes, which settings do not change. With `keep_going`, what cannot be
    built is a failure beside the plan, and no error.
    """

    paths: Sequence[Path]
    targets: Sequence[str] = ()
    out: str | None = None
    settings: Mapping[str, object] | None = None
    images: Sequence[Image] = ()
    keep_going: bool = False


@dataclass(frozen=True, slots=True)
class Skipped:
    """A target that `--target all` left out, and why: it cannot boot the kernel, or have the settings."""

    image: str
    target: str
    refusal: Refusal | UnsuitedError

    @property
    def reason(self) -> str:
        """Why, in a line."""
        return self.refusal.reason


@dataclass(frozen=True, slots=True)
class Pending:
    """An image whose kernel is not known before its system is made, the step that makes it, and what comes of it.

    `outputs` are pairs of target and path; none with `--target all`, as the kernel decides.
    """

    image: str
    step: Planned
    outputs: tuple[tuple[str, Path], ...]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A plan, the facts of each image's kernel, what was left out, and the files that it was all read from.

    `pending` is what a plan alone leaves open; `remarks` what is missing here to make it, a guest's memory that is
    perhaps too small, and other news; `origins` tells which file each image was read from; `failures` what cannot
    be built, where the request is to go on.
    """

    plan: Plan
    facts: Mapping[str, KernelFacts]
    skipped: tuple[Skipped, ...]
    recipes: tuple[Path, ...]
    images: Mapping[str, Image]
    pending: tuple[Pending, ...] = ()
    remarks: tuple[str, ...] = ()
    origins: Mapping[str, Path] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()


def prepare(request: Request, runner: Runner, environment: Mapping[str, str], *, making: bool = True) -> Prepared:
    """Return the plan for a request; unless `making`, an image whose system is not made yet is only `pending`.

    KernelError when a kernel cannot boot on a target that was named, or on any with `all`; UnsuitedError likewise,
    for settings; RecipeError and UsageError for what cannot be meant; ToolError when a system cannot be made here.
    Nothing is made but, in the cache, operating systems and the kernels' facts.
    """
    preparing = _Preparing(request, runner, environment, making=making)
    images = preparing.images()
    made = preparing.systems(images)
    chosen = [(job, target) for image in images for job, target in preparing.jobs(image, made.get(_name(image)))]
    places = _places([(job.image, target) for job, target in chosen], request.out)
    outputs: list[Output] = []
    for (job, target), out in zip(chosen, places, strict=True):
        with preparing.going_on(job.name, target):
            outputs.append(targets.load(target).plan(replace(job, out=out)))
    recipes = tuple(path for path in map(Path, request.paths) if _is_recipe(path))
    plan = Plan.of(outputs)
    _check_places(plan, recipes)
    return Prepared(
        plan,
        preparing.facts,
        tuple(preparing.skipped),
        recipes,
        preparing.described,
        tuple(preparing.pending),
        preparing.remarks,
        preparing.origins,
        tuple(preparing.failures),
    )


class _Preparing:
    """What is found out on the way to a plan."""

    def __init__(self, request: Request, runner: Runner, environment: Mapping[str, str], *, making: bool) -> None:
        self._request, self._runner, self._environment = request, runner, environment
        self._epoch = recipe.epoch(environment)
        self._making = making
        self.facts: dict[str, KernelFacts] = {}
        self.described: dict[str, Image] = {}
        self.skipped: list[Skipped] = []
        self.pending: list[Pending] = []
        self.failures: list[Failure] = []
        self.remarks: tuple[str, ...] = ()
        self.origins: dict[str, Path] = {}
        self._lacking: list[str] = []

    @contextmanager
    def going_on(self, image: str, target: str = "") -> Iterator[None]:
        """Note an error for an image, where the request is to go on, and tell of it; else let it through."""
        try:
            yield
        except InterruptedByUser:
            raise
        except ImagekitError as error:
            if not self._request.keep_going:
                raise
            self.failures.append(Failure(image, target, error))
            self._runner.tell(self.failures[-1].event())

    def images(self) -> list[Image]:
        """Return the images of all that was named, each with a name of its own."""
        recipe.check_sources(self._request.images, None)
        found = {_name(image): image for image in self._request.images}
        for path in map(Path, self._request.paths):
            with self.going_on(str(path)):
                for image in _images(path, self._request, self._environment):
                    with self.going_on(str(path)):
                        _check_name(image, found)
                        found[_name(image)] = image
                        self.origins[_name(image)] = path
        return list(found.values())

    def systems(self, images: Sequence[Image]) -> dict[str, trees.Tree]:
        """Return the systems that are made here, and see whether they can be."""
        made: dict[str, trees.Tree] = {}
        for image in images:
            with self.going_on(_name(image)):
                made |= trees.find([image], self._runner, self._epoch)
        self.remarks = trees.remarks(made, making=self._making)
        commanded = [image for image in images if image.root.run]
        self._lacking = root.lacking() if commanded and self._runner.elsewhere is None else []
        if self._making:
            if not self._request.keep_going:
                trees.check(made)  # all that is missing, at once
                if self._lacking:
                    root.check_able()
            for one in self.remarks:
                self._runner.warn(one)
        self.remarks += tuple(f"{_name(image)}: root.run: {one}" for image in commanded for one in self._lacking)
        return made

    def jobs(self, image: Image, tree: trees.Tree | None) -> Iterator[tuple[stages.Job, str]]:
        """Yield an image's job for each target that it is built for."""
        name, request = _name(image), self._request
        if tree is None and image.root.source == recipe.DISKIMAGE_BUILDER:
            return  # that it cannot be made is noted
        if tree is not None and not self._making and image.kernel is None and not tree.planned.cached:
            self.pending.append(_pending(image, tree.planned, request))
            return
        if image.root.run and self._lacking and not self._making and image.kernel is None:
            cannot = Planned("run", name, image.targets, cached=False, reason="it cannot run here", key=None)
            self.pending.append(_pending(image, cannot, request))
            return
        with self.going_on(name):
            if tree is not None and self._making:
                trees.check({name: tree})
            if image.root.run and self._lacking and self._making:
                root.check_able()
            candidate = find(image, self._runner, self._epoch, tree.step if tree else None)
            self.facts[name], self.described[name] = candidate.job.facts, candidate.job.image
            chosen = self._targets(candidate, request.targets or image.targets)
            self._note_memory(name)
            for target in chosen:
                yield candidate.job_for(target), target

    def _note_memory(self, name: str) -> None:
        """Tell of a guest whose memory is perhaps too small for its kernel."""
        if note := scarce_memory(self.facts[name], self.described[name]):
            self.remarks += (f"{name}: {note}",)
            if self._making:
                self._runner.warn(self.remarks[-1])

    def _targets(self, candidate: Candidate, wanted: Iterable[str]) -> list[str]:
        """Return the targets that boot a candidate; of `all` the others are left out, of named ones refused."""
        job = candidate.job
        wanted = list(dict.fromkeys(wanted))
        if ALL in wanted:
            verdicts = {name: _objection(candidate.job_for(name), name) for name in targets.names()}
            bad = [Skipped(job.name, name, objection) for name, objection in verdicts.items() if objection]
            good = [name for name, objection in verdicts.items() if objection is None]
            if not good:
                raise _nothing_left(job, bad)
            self.skipped += bad
            return good
        good = []
        for name in wanted:
            with self.going_on(job.name, name):
                refusal = targets.load(name).refusal(candidate.job_for(name).facts, job.image)
                if refusal is not None:
                    raise _refused(job.image, name, refusal, job.facts)
                good.append(name)
        return good


def judge(facts: KernelFacts, image: Image) -> Mapping[str, Refusal | None]:
    """Return for each target why it cannot boot this kernel, or None."""
    return {name: targets.load(name).refusal(facts, image) for name in targets.names()}


def _images(path: Path, request: Request, environment: Mapping[str, str]) -> tuple[Image, ...]:
    settings = {**_of_environment(environment), **(request.settings or {})}
    images = (recipe.read if _is_recipe(path) else recipe.from_kernel)(path, settings, environment)
    recipe.check_sources(images, path if _is_recipe(path) else None)
    return images


def _of_environment(environment: Mapping[str, str]) -> dict[str, object]:
    """Return the settings that Amazon's old tools took from the environment, which go before the recipe's."""
    found: dict[str, object] = {}
    for name, setting in (("EC2_PRIVATE_KEY", "private_key"), ("EC2_CERT", "cert"), ("EC2_USER", "user")):
        if value := environment.get(name):
            found[f"ami.{setting}"] = value if setting == "user" else str(Path(value).absolute())
    return found


def _is_recipe(path: Path) -> bool:
    return path.suffix == ".toml"


def _check_name(image: Image, others: Mapping[str, Image]) -> None:
    if _name(image) in others:
        raise UsageError(f"two images are named {_name(image)!r}", hint="build them one after the other")


def _pending(image: Image, step: Planned, request: Request) -> Pending:
    wanted = tuple(dict.fromkeys(request.targets or image.targets))
    chosen = [] if ALL in wanted else [(image, target) for target in wanted]
    places = _places(chosen, request.out)
    outputs = tuple((target, place) for (_, target), place in zip(chosen, places, strict=True))
    return Pending(_name(image), replace(step, targets=wanted), outputs)


def _name(image: Image) -> str:
    return image.name or ""


def _objection(job: stages.Job, name: str) -> Refusal | UnsuitedError | None:
    target = targets.load(name)
    refusal = target.refusal(job.facts, job.image)
    if refusal is None:
        try:
            target.plan(job)  # as data: nothing runs, and where it would go does not matter yet
        except UnsuitedError as error:
            return error
    return refusal


def _nothing_left(job: stages.Job, bad: Iterable[Skipped]) -> KernelError | UnsuitedError:
    """Return the error that is mended sooner: settings can be changed, a kernel is what it is."""
    item = min(bad, key=lambda item: not isinstance(item.refusal, UnsuitedError))
    if isinstance(item.refusal, UnsuitedError):
        return item.refusal
    return _refused(job.image, item.target, item.refusal, job.facts)


def _refused(image: Image, target: str, refusal: Refusal, facts: KernelFacts) -> KernelError:
    working = [name for name, other in judge(facts, image).items() if other is None]
    return KernelError(
        f"{image.kernel or image.root.source} cannot boot on {target}: {refusal.reason}",
        details=f"missing: {refusal.missing}" if refusal.missing else "",
        hint=_way_out(image, target, facts, working),
    )


def _way_out(image: Image, target: str, facts: KernelFacts, working: Sequence[str]) -> str:
    free = image.model_copy(update={"boot": "auto"})
    if targets.load(target).refusal(facts, free) is None:
        return 'boot = "auto" boots it'
    return f"--target {_either(working)} boots it" if working else "no target of today boots it"


def _either(names: Sequence[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


def _places(chosen: Sequence[tuple[Image, str]], out: str | None) -> list[Path]:
    """Return where each artifact goes: -o FILE for one, -o DIR/ for many, else here."""
    if chosen and out is not None and not out.endswith("/") and not Path(out).is_dir():
        if len(chosen) > 1:
            raise UsageError(
                f"-o {out} names one file, and {len(chosen)} artifacts are to be made",
                hint=f"-o {out}/ puts them into a folder",
            )
        return [Path(out)]
    folder = Path(out or ".")
    return [folder / f"{_name(image)}{_ending(target, image)}" for image, target in chosen]


def _check_places(plan: Plan, recipes: Iterable[Path]) -> None:
    """Refuse a plan that would write a file twice, or over what it reads."""
    read = {os.path.realpath(path) for path in (*recipes, *(source.path for source in plan.sources()))}
    written: set[str] = set()
    for path in (path for output in plan.outputs for path, _ in output.files()):
        place = os.path.realpath(path)
        if place in read:
            raise UsageError(f"{path} would be written over, and is an input", hint="-o names another file")
        if place in written:
            raise UsageError(f"{path} would be written twice", hint="-o names another file")
        written.add(place)


def _ending(target: str, image: Image) -> str:
    """Return what follows the image's name: the target and its extension, unless that says it alone."""
    extension = targets.extension(target, image)
    return extension if extension == f".{target}" or extension.count(".") > 1 else f".{target}{extension}"
