"""What could not be made while the rest was, and what a shell is told of it."""

from collections.abc import Iterable
from dataclasses import dataclass

from imagekit.errors import ExitCode, ImagekitError
from imagekit.events import ImageFailed


@dataclass(frozen=True, slots=True)
class Failure:
    """An image that is not made for a target, or (target "") for none, or a recipe by its path; and why."""

    image: str
    target: str
    error: ImagekitError

    def event(self) -> ImageFailed:
        """Return what a listener is told."""
        error = self.error
        code = int(error.exit_code)
        return ImageFailed(self.image, self.target, error.brief, error.details, error.hint, code)

    def to_json(self) -> dict[str, str | int]:
        """Return the failure as `json` can write it."""
        return {"image": self.image, "target": self.target, **self.error.to_json()}


def exit_code(failures: Iterable[Failure]) -> ExitCode:
    """Return the code of a build that kept going: the one that all failures share, else 1."""
    codes = {failure.error.exit_code for failure in failures}
    return codes.pop() if len(codes) == 1 else ExitCode.BUILD_FAILED if codes else ExitCode.DONE
