"""An image that may be built: its kernel found and read beforehand, since all that follows depends on it."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from imagekit import stages, targets
from imagekit.build import Runner
from imagekit.errors import ImagekitError, RecipeError
from imagekit.filesystem import Lvm
from imagekit.kernel import KernelFacts, can_repack, repacked
from imagekit.plan import Source, Step
from imagekit.recipe import Image
from imagekit.root import Boot, read_boot, system
from imagekit.store import Stored


@dataclass
class Kernels:
    """Runs the steps that a plan needs beforehand: they find a kernel, and read it."""

    runner: Runner
    image: str
    made: dict[Step, Stored] = field(default_factory=dict)

    def run(self, step: Step, *, telling: bool = False) -> Stored:
        """Run one step, and those before it that have not run; `telling` has the listener hear of it."""
        for source in step.inputs.values():
            if isinstance(source, Step) and source not in self.made:
                self.run(source)
        self.made[step], _ = self.runner.run(step, self.made, self.image, telling=telling)
        return self.made[step]

    def run_for_user(self, step: Step) -> None:
        """Run a step that the user waits for, and whose errors come from what is his."""
        try:
            self.run(step, telling=True)
        except ImagekitError as error:
            error.about(self.image)
            raise

    def facts(self, kernel: Source | Step) -> KernelFacts:
        """Return a kernel's facts."""
        stored = self.run(stages.facts_step(kernel))
        with stored.reading():
            return stages.read_facts(stored.path)


@dataclass
class Candidate:
    """An image's job, and the same with its bzImage repacked, once a target's loader cannot unpack that."""

    job: stages.Job
    kernels: Kernels

    def job_for(self, target: str) -> stages.Job:
        """Return the job as the target boots it; as it is where nothing helps.

        A guest type that comes first by the kernel packed anew comes before a later one by the kernel as it is.
        """
        job, module = self.job, targets.load(target)
        if not can_repack(job.facts):
            return job
        refusal = module.refusal
        for guest in targets.guests(target, job.image):
            image = job.image.model_copy(update={"boot": guest})
            if refusal(job.facts, image) is None:
                return job
            if refusal(repacked(job.facts), image) is None:
                return self.repacked
        return job

    @cached_property
    def repacked(self) -> stages.Job:
        """The job with the kernel packed by gzip."""
        step = stages.repack_step(self.job.kernel)
        return replace(self.job, kernel=step, facts=self.kernels.facts(step), repacked=True)


def find(image: Image, runner: Runner, epoch: int, made: Step | None) -> Candidate:
    """Return an image's job, its kernel read; one that lies in a tree is found, and taken out of it.

    `made` is the step that makes that tree, where one does; it runs here where the kernel lies in it.
    """
    name = image.name or ""
    kernels = Kernels(runner, name)
    kernel: Source | Step = Source(image.kernel or Path())
    boot, tree = None, system(image, epoch, made)
    if made is not None:
        image = _labelled(image)  # its fstab says so
    if image.kernel is None and tree is not None:
        for step in tree.slow:
            kernels.run_for_user(step)
        found = stages.boot_step(image, epoch, tree)
        stored = kernels.run(found)
        with stored.reading():
            boot = read_boot(stored.path)
        kernel = stages.kernel_step(found)
        image = _with_root(image, boot)
    facts = kernels.facts(kernel)
    job = stages.Job(image=image, kernel=kernel, facts=facts, out=Path(name), epoch=epoch, boot=boot, system=tree)
    return Candidate(job, kernels)


def _labelled(image: Image) -> Image:
    label = image.filesystem.label or "root"
    return image.model_copy(update={"filesystem": image.filesystem.model_copy(update={"label": label})})


def _with_root(image: Image, boot: Boot) -> Image:
    """Return the image with a command line by which an operating system finds its root.

    By its label where an initrd looks for that, or by its volume; Linux alone knows only devices.
    """
    words = image.cmdline.split()
    if any(word.startswith("root=") for word in words):
        return image
    filesystem, lvm = image.filesystem, image.disk.lvm
    initrd = boot.ramdisk or image.ramdisk
    if lvm is not None:
        if not initrd:
            raise RecipeError(
                "Linux alone opens no LVM, and the tree has no initrd", hint="leave out disk.lvm, or add an initrd"
            )
        root = Lvm(lvm.group, lvm.volume).device
    elif initrd:
        filesystem = _labelled(image).filesystem
        root = f"LABEL={filesystem.label}"
    else:
        root = "/dev/xvda" if image.disk.table == "plain" else f"/dev/xvda{2 if image.disk.boot else 1}"
    cmdline = " ".join([f"root={root}", *(words or [stages.WORDS])])
    return image.model_copy(update={"cmdline": cmdline, "filesystem": filesystem})
