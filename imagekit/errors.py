"""The tree of errors, and the one table of exit codes.

ImagekitError
├── UsageError              2  the command line
│   └── RecipeError         2  a recipe, with file, key and line
│       └── UnsuitedError   2  settings that one system cannot have, and another can
├── BuildError              1  a step failed
├── KernelError             3  this kernel cannot boot there, or is no kernel
├── ToolError               4  a tool is missing or failed
├── PublishError            5  an upload or a registration failed
├── VerificationError       6  an artifact is not what it says
├── TryAgainError          75  a passing state: locked, changed meanwhile, disk full
└── InterruptedByUser     130  Ctrl-C
    └── TerminatedError   143  SIGTERM

A build that keeps going after failures exits with the code that they share, or 1 (imagekit.failures).
"""

from collections.abc import Iterator, Mapping
from enum import IntEnum


class ExitCode(IntEnum):
    """What a shell sees; the man page prints this table."""

    DONE = 0
    BUILD_FAILED = 1
    USAGE = 2
    CANNOT_BOOT = 3
    TOOL = 4
    PUBLISH = 5
    VERIFICATION = 6
    TRY_AGAIN = 75
    INTERRUPTED = 130
    TERMINATED = 143

    @property
    def meaning(self) -> str:
        """One line for the man page and the reference."""
        return _MEANINGS[self]


_MEANINGS = {
    ExitCode.DONE: "done",
    ExitCode.BUILD_FAILED: "a build step failed",
    ExitCode.USAGE: "wrong usage, or a wrong recipe",
    ExitCode.CANNOT_BOOT: "this kernel cannot boot there",
    ExitCode.TOOL: "a tool is missing or failed",
    ExitCode.PUBLISH: "publishing failed",
    ExitCode.VERIFICATION: "verification failed, or was demanded and is missing",
    ExitCode.TRY_AGAIN: "try again later",
    ExitCode.INTERRUPTED: "interrupted (SIGINT)",
    ExitCode.TERMINATED: "terminated (SIGTERM)",
}


class ImagekitError(Exception):
    """What is wrong (`brief`), what was seen (`details`), what to do about it (`hint`)."""

    exit_code = ExitCode.BUILD_FAILED

    def __init__(self, brief: str, *, details: str = "", hint: str = "") -> None:
        super().__init__(brief)
        self.brief = brief
        self.details = details
        self.hint = hint

    def __str__(self) -> str:
        lines = [self.brief]
        if self.details:
            lines.append(self.details.rstrip())
        if self.hint:
            lines.append(f"hint: {self.hint}")
        return "\n".join(lines)

    def about(self, image: str) -> None:
        """Say which image it is about, before all else."""
        self.brief = f"{image}: {self.brief}"

    def to_json(self) -> dict[str, str | int]:
        """Return the error as `json` can write it: its class, its words and its exit code."""
        words = {"brief": self.brief, "details": self.details, "hint": self.hint}
        return {"error": type(self).__name__, **words, "exit_code": int(self.exit_code)}


def from_json(content: Mapping[str, object]) -> ImagekitError:
    """Return the error that `to_json` told of; a BuildError where its class is not known here."""
    kinds: dict[str, type[ImagekitError]] = {one.__name__: one for one in _below(ImagekitError)}
    kind = kinds.get(str(content["error"]), BuildError)
    return kind(str(content["brief"]), details=str(content["details"]), hint=str(content["hint"]))


def _below(kind: type[ImagekitError]) -> Iterator[type[ImagekitError]]:
    for one in kind.__subclasses__():
        yield one
        yield from _below(one)


class UsageError(ImagekitError):
    """A command line that cannot be meant."""

    exit_code = ExitCode.USAGE


class RecipeError(UsageError):
    """A recipe that cannot be meant."""


class UnsuitedError(RecipeError):
    """Settings that one system cannot have, and another can."""

    @property
    def reason(self) -> str:
        """Why, in the word that a kernel's refusal has for it."""
        return self.brief


class BuildError(ImagekitError):
    """A step failed."""

    exit_code = ExitCode.BUILD_FAILED


class KernelError(ImagekitError):
    """A kernel that cannot boot there, or a file that is no kernel."""

    exit_code = ExitCode.CANNOT_BOOT


class ToolError(ImagekitError):
    """A program of the system is missing, or failed."""

    exit_code = ExitCode.TOOL


class PublishError(ImagekitError):
    """An upload or a registration failed."""

    exit_code = ExitCode.PUBLISH


class VerificationError(ImagekitError):
    """An artifact is not what it says it is."""

    exit_code = ExitCode.VERIFICATION


class TryAgainError(ImagekitError):
    """A passing state: the same command may work later."""

    exit_code = ExitCode.TRY_AGAIN


class InterruptedByUser(ImagekitError):  # noqa: N818 -- it is no fault
    """SIGINT."""

    exit_code = ExitCode.INTERRUPTED


class TerminatedError(InterruptedByUser):
    """SIGTERM."""

    exit_code = ExitCode.TERMINATED
