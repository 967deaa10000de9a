"""One check that passed, or that could not be made."""

from dataclasses import dataclass
from typing import Literal

from imagekit.programs import PACKAGES

Verdict = Literal["ok", "skipped"]


@dataclass(frozen=True, slots=True)
class Check:
    """What was checked, and what was seen; of a skipped one, what is missing. A lie is no Check but an error."""

    name: str
    verdict: Verdict
    seen: str


def passed(name: str, seen: str) -> Check:
    """Return a check that passed."""
    return Check(name, "ok", seen)


def skipped(name: str, why: str) -> Check:
    """Return a check that was not made."""
    return Check(name, "skipped", why)


def missing(name: str, program: str) -> Check:
    """Return a check that was not made for want of a program, and what brings it."""
    package = PACKAGES.get(program, program)
    return skipped(name, f"{program} is not installed: sudo apt-get install {package}")
