"""A result as its readers get it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from imagekit.errors import TryAgainError
from imagekit.sparse import BlockMap
from imagekit.store.blobs import map_path


@dataclass(frozen=True, slots=True)
class Stored:
    """A step's result in the store, as a later step reads it."""

    path: Path
    digest: str

    def blocks(self) -> BlockMap:
        """The block map that was made when the result was; TryAgainError when it was taken away."""
        try:
            return BlockMap.from_bytes(map_path(self.path).read_bytes())
        except FileNotFoundError:
            raise self._gone() from None

    def check(self) -> None:
        """TryAgainError when the result was taken away: another build found it damaged."""
        if not self.path.exists():
            raise self._gone()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Say TryAgainError where the result was taken away before its reader opened it."""
        try:
            yield
        except FileNotFoundError as error:
            if error.filename != str(self.path):
                raise
            raise self._gone() from None

    def _gone(self) -> TryAgainError:
        return TryAgainError(
            "a cached result was found damaged by another build, and taken away",
            details=str(self.path),
            hint="run it again: the result is made anew",
        )
