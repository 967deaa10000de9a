"""The plan as data: sources, steps and their keys. Nothing here reads or writes; `imagekit.build` runs it."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from imagekit.sparse import BlockMap

Json = object
"""What `json` can write: step options are made of it, so that a plan can be printed, keyed and shipped."""


class Input(Protocol):
    """What a step is handed for each of its inputs: a path to read, and the digest of what is there."""

    @property
    def path(self) -> Path:
        """A file, or a source folder."""

    @property
    def digest(self) -> str:
        """64 hex characters."""

    def blocks(self) -> BlockMap:
        """Its block map; known without reading the file when a step made it."""


Run = Callable[[Mapping[str, Input], Path, Mapping[str, Json]], None]
"""A step's function: (inputs, out, options). A module-level function that writes one file at `out`."""


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A file or folder of the user's, an input of a plan.

    Of a folder that is `kept` as it is, modes, owners and extended attributes are part of the content.
    """

    path: Path
    kept: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One step: its function, what it reads, its settings, its revision, and the tools that its bytes depend on.

    A change of `revision` says that the same inputs now give other bytes. `needs` are what a machine must be able
    to do to run it, by the names of `imagekit.farm.abilities`; bytes do not depend on them.
    """

    name: str
    run: Run
    inputs: Mapping[str, "Source | Step"]
    options: Mapping[str, Json] = field(default_factory=dict)
    revision: int = 1
    tools: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()


Deliver = Callable[[Input, Path, Mapping[str, Json]], AbstractContextManager[Callable[[], Sequence[Path]]]]
"""A delivery's function: (main step's result, main file's path, options). A module-level function.

It makes the files where they go, without their names; what it lends names them, the main file last, and returns
the paths of the others.
"""


@dataclass(frozen=True, slots=True, eq=False)
class Delivery:
    """How an artifact's files are made of its main step's result, in their place, instead of being a copy of it.

    For files that nobody can count before they are made, or that take a secret, which no plan and no cache holds.
    `options` say all that the bytes depend on beside that result, a secret by its fingerprint.
    """

    name: str
    run: Deliver
    options: Mapping[str, Json]
    revision: int = 1

    def key(self, digest: str) -> str:
        """Return the key of the files that a result of this digest comes to, 64 hex characters."""
        function = f"{self.run.__module__}.{self.run.__qualname__}"
        parts = [self.name, function, self.revision, self.options, digest]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Output:
    """One artifact to come: its main file at `path`, its companions beside it by suffix, and its sidecar.

    The main file is a copy of the main step's result, or what `delivery` makes of that.
    """

    image: str
    target: str
    path: Path
    main: Step
    companions: Mapping[str, Step]
    delivery: Delivery | None = None

    def files(self) -> Iterator[tuple[Path, Step]]:
        """Yield (final path, step), companions first, the main file last: the order in which they appear."""
        for suffix, step in sorted(self.companions.items()):
            yield self.path.with_name(self.path.name + suffix), step
        yield self.path, self.main


@dataclass(frozen=True, slots=True)
class Plan:
    """All artifacts to make."""

    outputs: tuple[Output, ...]

    @classmethod
    def of(cls, outputs: Iterable[Output]) -> "Plan":
        """Return the plan in which equal steps and sources are one, so that each runs, or is hashed, once."""
        known: dict[str, Source | Step] = {}

        def merged(step: Step) -> Step:
            inputs = {name: one(source) for name, source in step.inputs.items()}
            parts = (
                step.name,
                step.revision,
                _function(step),
                json.dumps(step.options, sort_keys=True),
                *step.tools,
                *(f"{name}={id(source)}" for name, source in sorted(inputs.items())),
            )
            found = known.setdefault("\0".join(map(str, parts)), replace(step, inputs=inputs))
            assert isinstance(found, Step)  # noqa: S101 -- for the type checker
            return found

        def one(source: Source | Step) -> Source | Step:
            return (
                merged(source)
                if isinstance(source, Step)
                else known.setdefault(f"{source.path}\0{source.kept}", source)
            )

        return cls(
            tuple(
                replace(
                    output,
                    main=merged(output.main),
                    companions={suffix: merged(step) for suffix, step in output.companions.items()},
                )
                for output in outputs
            )
        )

    def steps(self) -> tuple[Step, ...]:
        """Every step once, each after those that it reads."""
        seen: dict[Step, None] = {}

        def visit(step: Step) -> None:
            if step in seen:
                return
            for source in step.inputs.values():
                if isinstance(source, Step):
                    visit(source)
            seen[step] = None

        for output in self.outputs:
            for _, step in output.files():
                visit(step)
        return tuple(seen)

    def sources(self) -> tuple[Source, ...]:
        """Every source once."""
        return tuple(
            {
                source: None
                for step in self.steps()
                for source in step.inputs.values()
                if isinstance(source, Source)
            }
        )


def key(step: Step, digests: Mapping[str, str], versions: Mapping[str, str]) -> str:
    """Return a step's key: SHA-256 over all that its bytes depend on, 64 hex characters."""
    parts = {
        "step": step.name,
        "run": _function(step),
        "revision": step.revision,
        "options": step.options,
        "inputs": dict(digests),
        "tools": dict(versions),
    }
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _function(step: Step) -> str:
    """Return the whole name of a step's function: steps of two plug-ins may share a name, and nothing else."""
    return f"{step.run.__module__}.{step.run.__qualname__}"
