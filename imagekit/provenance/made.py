"""What an artifact was made of: its plan's sources, tools and results, looked up after the build."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import imagekit
from imagekit.errors import TryAgainError
from imagekit.plan import Output, Plan, Source, Step
from imagekit.provenance.contents import Contents, contents
from imagekit.runner import Runner, tool_version
from imagekit.store import Stored

_OURS = Path(imagekit.__file__).parent


@dataclass(frozen=True)
class Made:
    """One output of a plan that was run, and the runner that ran it."""

    output: Output
    runner: Runner

    @cached_property
    def plan(self) -> Plan:
        """The part of the plan that is this output's."""
        return Plan((self.output,))

    @cached_property
    def results(self) -> Mapping[Step, Stored]:
        """The result of each step; TryAgainError when one was taken away since."""
        found = {}
        for step, looked in zip(self.plan.steps(), self.runner.look(self.plan), strict=False):
            stored = self.runner.store.look(looked.key).result if looked.key else None
            if stored is None:
                raise TryAgainError(
                    f"{self.output.image}: the result of {step.name} is gone", hint="build it again"
                )
            found[step] = stored
        return found

    def sources(self) -> Iterator[Source]:
        """Yield the user's files and folders that were read; those that come with imagekit are not among them."""
        for source in sorted(self.plan.sources(), key=lambda source: str(source.path)):
            if not source.path.is_relative_to(_OURS):
                yield source

    def tools(self) -> dict[str, str]:
        """Return the line in which each tool that the bytes depend on tells its version."""
        names = {name for step in self.plan.steps() for name in step.tools}
        return {name: tool_version(name) for name in sorted(names)}

    def contents(self) -> Contents:
        """Return what lies in the root file system."""
        root = next((step for step in self.plan.steps() if step.name == "root"), None)
        if root is None:  # a kernel without a disk
            return Contents()
        return contents(self.path(root), {name: self.path(one) for name, one in root.inputs.items()})

    def kernel(self) -> Path:
        """Return where the kernel lies."""
        sidecar = next(step for step in self.plan.steps() if step.name == "sidecar")
        return self.path(sidecar.inputs["kernel"])

    def core(self) -> Path | None:
        """Return where GRUB's boot sector and core lie, where the disk has them."""
        core = next((step for step in self.plan.steps() if step.name == "grub-core"), None)
        return None if core is None else self.path(core)

    def path(self, one: Source | Step) -> Path:
        """Return where a step's input lies."""
        return one.path if isinstance(one, Source) else self.runner.store.here(self.results[one]).path
