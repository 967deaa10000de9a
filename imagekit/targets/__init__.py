"""The systems that images are built for: one module each, its name its registration.

A target is a module with SUMMARY, EXTENSION (and, where it depends on the image, a function `extension`),
`refusal` and `plan`; one that is uploaded has PUBLISHER, too
("package.module:function", an `imagekit.publish.Publisher`), and KEEPER ("package.module:class", an
`imagekit.publish.keeping.Keeper`), which takes back what that made; one that is not may say in BY_HAND what to do
instead, with `{out}` where the artifact's path belongs. Ours say in WAYS which guests their system starts, and how
(`imagekit.guests`). Those of other packages are found by the entry-point group `imagekit.targets`.
"""

from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Protocol, cast, get_args

from imagekit.errors import ToolError, UsageError
from imagekit.kernel import KernelFacts, Refusal
from imagekit.plan import Output
from imagekit.recipe import Image
from imagekit.stages import Guest, Job

GROUP = "imagekit.targets"


class Target(Protocol):
    """What a target's module has."""

    SUMMARY: str
    """One line for `imagekit targets`."""

    EXTENSION: str
    """The main file's ending, with its dot."""

    @staticmethod
    def refusal(facts: KernelFacts, image: Image) -> Refusal | None:
        """Tell why this kernel cannot boot here as the image wants it, or None when it can."""

    @staticmethod
    def plan(job: Job) -> Output:
        """Return the steps to the artifact; UnsuitedError for settings that this system cannot have."""


def names() -> tuple[str, ...]:
    """Return the names of all targets."""
    return tuple(sorted({**_of_others(), **_ours()}))


def load(name: str) -> Target:
    """Return a target by its name; UsageError when there is none."""
    path = _ours().get(name) or _of_others().get(name)
    if path is None:
        raise UsageError(f"no target is named {name!r}", hint=f"one of {', '.join(names())}, or all")
    try:
        return cast("Target", import_module(path))
    except ImportError as error:
        raise ToolError(f"the target {name} cannot be used", details=f"{path}: {error}") from error


def extension(target: str, image: Image) -> str:
    """Return the ending of the main file that a target makes of an image."""
    module = load(target)
    by_image = getattr(module, "extension", None)
    return str(by_image(image)) if by_image else module.EXTENSION


def guests(target: str, image: Image) -> tuple[Guest, ...]:
    """Return the guest types that an image allows, in the order in which a target tries them."""
    known = getattr(load(target), "WAYS", get_args(Guest))
    return tuple(known) if image.boot == "auto" else (image.boot,)


@cache
def _ours() -> dict[str, str]:
    return {module.name: f"{__name__}.{module.name}" for module in iter_modules(__path__)}


@cache
def _of_others() -> dict[str, str]:
    from importlib.metadata import entry_points  # noqa: PLC0415 -- 10 ms, and a look at every package there is

    return {entry.name: entry.value for entry in entry_points(group=GROUP)}
