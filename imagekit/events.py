"""What a build tells while it works, as plain values; a listener shows them, or writes them down."""

from collections.abc import Callable
from dataclasses import dataclass

from imagekit.artifact import Artifact


@dataclass(frozen=True, slots=True)
class StepStarted:
    """A step runs: its name, what it is for, and why it runs and is not taken from the cache."""

    step: str
    image: str
    reason: str


@dataclass(frozen=True, slots=True)
class StepDone:
    """A step's result is there, after `seconds`; `cached` tells that it was there before."""

    step: str
    image: str
    cached: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class StepWaits:
    """Somebody else is making the same thing; we wait for it."""

    step: str
    image: str


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that the user should know and that stops nothing."""

    message: str


@dataclass(frozen=True, slots=True)
class Placed:
    """An artifact is in its place."""

    artifact: Artifact


Event = StepStarted | StepDone | StepWaits | Warned | Placed
Listener = Callable[[Event], None]


def silent(_: Event) -> None:
    """Listen to nothing."""
