"""What a build tells while it works, as plain values; a listener shows them, or writes them down."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from imagekit.artifact import Artifact


@dataclass(frozen=True, slots=True)
class StepStarted:
    """A step runs: its name, what it is for, and why it runs and is not taken from the cache."""

    step: str
    image: str
    reason: str


@dataclass(frozen=True, slots=True)
class StepDone:
    """A step's result is there, after `seconds`; `cached` tells that it was there before.

    `machine` is who worked, host and process; `begun` when, in seconds since 1970 (0: not known).
    """

    step: str
    image: str
    cached: bool
    seconds: float
    machine: str = ""
    begun: float = 0.0


@dataclass(frozen=True, slots=True)
class StepWaits:
    """Somebody else is making the same thing; we wait for it."""

    step: str
    image: str


@dataclass(frozen=True, slots=True)
class StepRetried:
    """A step is run again, since who ran it is gone; `reason` says how."""

    step: str
    image: str
    reason: str


@dataclass(frozen=True, slots=True)
class StepPhase:
    """A long step is at another part of its work; what its tools say goes to the file `log`."""

    step: str
    image: str
    phase: str
    log: str


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that the user should know and that stops nothing."""

    message: str


@dataclass(frozen=True, slots=True)
class Placed:
    """An artifact is in its place."""

    artifact: Artifact


@dataclass(frozen=True, slots=True)
class ImageFailed:
    """An image will not be made for a target, or (target "") for none: why, and the exit code of that alone."""

    image: str
    target: str
    brief: str
    details: str
    hint: str
    exit_code: int


@dataclass(frozen=True, slots=True)
class RunFailed:
    """The last event of a run that an error ended: why, and its exit code."""

    brief: str
    details: str
    hint: str
    exit_code: int


Event = StepStarted | StepDone | StepWaits | StepRetried | StepPhase | Warned | Placed | ImageFailed | RunFailed
Listener = Callable[[Event], None]


def to_json(event: Event) -> dict[str, object]:
    """Return an event as `json` can write it."""
    content = event.artifact.to_json() if isinstance(event, Placed) else asdict(event)
    return {"event": event_name(type(event)), **content}


def from_json(content: Mapping[str, Any]) -> Event:
    """Read an event of a step back."""
    kinds: dict[str, Callable[..., Event]] = {event_name(one): one for one in get_args(Event) if one is not Placed}
    return kinds[content["event"]](**{name: value for name, value in content.items() if name != "event"})


def event_name(event: type) -> str:
    """Return what a kind of event is called in JSON: StepDone is `step-done`."""
    return "".join("-" + letter.lower() if letter.isupper() else letter for letter in event.__name__)[1:]


def silent(_: Event) -> None:
    """Listen to nothing."""


@dataclass(frozen=True, slots=True)
class Course:
    """Where the step function that runs in this thread tells of its phases, and keeps its tools' log."""

    phase: Callable[[str], None]
    log: Path


_course: ContextVar[Course] = ContextVar("course", default=Course(lambda _: None, Path(os.devnull)))  # noqa: B039


@contextmanager
def course(one: Course) -> Iterator[None]:
    """Set the course of what runs in this thread."""
    token = _course.set(one)
    try:
        yield
    finally:
        _course.reset(token)


def phase(name: str) -> None:
    """Tell, from within a step function, what it is at."""
    _course.get().phase(name)


def log() -> Path:
    """Return, to a step function, the file that its tools' output is to go to; its folder is there."""
    path = _course.get().log
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
