"""A source of the user's, as the steps that read it get it."""

import errno
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from imagekit.errors import RecipeError, TryAgainError
from imagekit.sparse import BlockMap, digest_file, digest_tree, fingerprint, map_blocks


@dataclass(frozen=True)
class SourceInput:
    """A source as its readers get it; hashed once a run, when the first key needs it."""

    path: Path
    kept: bool = False

    @classmethod
    def known(cls, path: Path, *, kept: bool, digest: str, state: bytes) -> "SourceInput":
        """Return a source that was hashed elsewhere, when it looked like `state`."""
        source = cls(path, kept)
        source.__dict__.update(digest=digest, state=state)  # where cached_property looks first
        return source

    @cached_property
    def digest(self) -> str:
        """The content's digest; of a folder, that of all it holds. RecipeError when it cannot be read."""
        try:
            return digest_tree(self.path, kept=self.kept) if self.path.is_dir() else digest_file(self.path)
        except OSError as error:
            self.check()
            raise unreadable(self.path, error, kept=self.kept) from error

    @cached_property
    def state(self) -> bytes:
        """What the source looked like before it was first read."""
        return fingerprint(self.path)

    def blocks(self) -> BlockMap:
        """A file's block map."""
        return map_blocks(self.path)

    def check(self) -> None:
        """TryAgainError when the source is no longer what was hashed."""
        try:
            same = fingerprint(self.path) == self.state
        except OSError:
            same = False
        if not same:
            raise TryAgainError(f"{self.path} changed while it was read", hint="run it again when it is at rest")


def unreadable(path: Path, error: OSError, *, kept: bool) -> RecipeError:
    """Return the error for a source that cannot be read; `kept` is a system's folder."""
    hint = "a system's folder wants root, or comes as a tar" if kept and error.errno == errno.EACCES else ""
    return RecipeError(f"{error.filename or path} cannot be read", details=str(error.strerror), hint=hint)
