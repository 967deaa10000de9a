"""A step shipped by its data, what comes of it, and who runs it."""

import os
import re
import socket
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import asdict, dataclass, fields
from functools import cache
from importlib import import_module
from pathlib import Path
from types import FunctionType, TracebackType
from typing import Any, Protocol, Self, cast

from imagekit.errors import BuildError
from imagekit.executor.inputs import SourceInput
from imagekit.plan import Input, Json, Run
from imagekit.store import Store, Stored

GROUP = "imagekit.targets"
"""The entry-point group of the packages whose functions may run beside ours."""

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Given:
    """One input of a task: a result of the store by its digest alone, or a source by its path.

    A source comes with its digest, whether it is `kept` as it is, and what it looked like when it was hashed
    (`imagekit.sparse.fingerprint`, in hex).
    """

    digest: str
    source: str | None = None
    kept: bool = False
    state: str = ""

    @classmethod
    def of(cls, source: Input) -> "Given":
        """Return what tells of an input."""
        if isinstance(source, SourceInput):
            return cls(source.digest, str(source.path.absolute()), source.kept, source.state.hex())
        return cls(source.digest)

    def input(self, store: Store) -> SourceInput | Stored:
        """Return the input as a step function reads it."""
        if self.source is None:
            return store.here(store.stored(self.digest))  # what another machine made is fetched by who reads it
        state = bytes.fromhex(self.state)
        return SourceInput.known(Path(self.source), kept=self.kept, digest=self.digest, state=state)


@dataclass(frozen=True, slots=True)
class Task:
    """One step to run: its name, function and settings, its key, and what it reads.

    `tools` says with which version of each tool the key counts; `image` is what the step is for. `reason` is why
    a look-up found no result, "" where nobody has looked; `damaged` tells that one was there and is taken away.
    `needs` are what the machine must be able to do.
    """

    step: str
    run: Run
    options: Mapping[str, Json]
    revision: int
    tools: Mapping[str, str]
    inputs: Mapping[str, Given]
    key: str
    image: str
    reason: str = ""
    damaged: bool = False
    needs: tuple[str, ...] = ()

    @property
    def function(self) -> str:
        """The function's name, "module:qualname"."""
        return f"{self.run.__module__}:{self.run.__qualname__}"

    @property
    def travels(self) -> bool:
        """Whether another process can find the function by its name."""
        try:
            return _resolved(self.function) is self.run
        except BuildError:
            return False

    def to_json(self) -> dict[str, Json]:
        """Return the task as `json` can write it."""
        inputs = {name: asdict(given) for name, given in self.inputs.items()}
        plain = {one.name: getattr(self, one.name) for one in fields(self)}
        return {**plain, "run": self.function, "inputs": inputs}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Task":
        """Read a task back; BuildError for a function that is none of imagekit's, or of its plug-ins'."""
        inputs = {name: Given(**given) for name, given in content["inputs"].items()}
        needs = tuple(content["needs"])
        return cls(**{**content, "run": _resolved(content["run"]), "inputs": inputs, "needs": needs})


@cache
def _resolved(function: str) -> Run:
    """Return a function of a module's top level; nothing is imported but imagekit and packages of targets."""
    module, _, name = function.partition(":")
    if module.partition(".")[0] in _packages() and name.isidentifier():
        found = getattr(import_module(module), name, None)
        if isinstance(found, FunctionType):
            return cast("Run", found)
    raise BuildError(
        f"{function} is no step function that can be shipped",
        hint=f"a function of a module's top level, in imagekit or in a package of the group {GROUP}",
    )


@cache
def _packages() -> frozenset[str]:
    from importlib.metadata import entry_points  # noqa: PLC0415 -- 10 ms, for those that ship steps

    return frozenset({"imagekit", *(entry.value.partition(".")[0] for entry in entry_points(group=GROUP))})


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a task: the result's digest, whether it was there, and who worked from when to when.

    `begun` and `ended` are seconds since 1970, by the clock of `machine`.
    """

    digest: str
    cached: bool
    begun: float
    ended: float
    machine: str
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Json]:
        """Return the outcome as `json` can write it."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Outcome":
        """Read an outcome back."""
        found = cls(**{**content, "warnings": tuple(content["warnings"])})
        if not _DIGEST.fullmatch(found.digest):
            raise BuildError("a step was answered with what is no digest", details=repr(found.digest)[:100])
        return found


class Executor(Protocol):
    """Who runs tasks. Used in a `with`; at its end nothing runs any more, or nobody waits for it."""

    @property
    def capacity(self) -> int:
        """How many tasks run at a time: more need not be submitted."""

    def submit(self, task: Task) -> Future[Outcome]:
        """Run a task when there is room; all its inputs are there."""

    def stop(self) -> None:
        """Give up what runs."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def machine() -> str:
    """Return who works here: host and process."""
    return f"{socket.gethostname()}:{os.getpid()}"
