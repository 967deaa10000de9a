"""Disks that are full, and folders that cannot be used."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from imagekit.errors import BuildError, ImagekitError, TryAgainError

_FULL = {errno.ENOSPC, errno.EDQUOT}
_ROOM = "`imagekit cache prune --keep 1GiB` makes room; IMAGEKIT_CACHE_DIR names another place"


def full_disk(folder: Path, hint: str = _ROOM) -> TryAgainError:
    """Return the error for a disk without room; the hint is the cache's."""
    status = os.statvfs(next(there for there in (folder.absolute(), *folder.absolute().parents) if there.exists()))
    return TryAgainError(
        f"the disk of {folder} is full",
        details=f"{status.f_bavail * status.f_frsize >> 20} MiB left",
        hint=hint,
    )


def unusable(root: Path, error: OSError) -> ImagekitError:
    """Return the error for a cache that cannot be written."""
    if error.errno in _FULL:
        return full_disk(root)
    return BuildError(
        f"the cache {root} cannot be used",
        details=str(error),
        hint="set IMAGEKIT_CACHE_DIR to a folder that you can write to",
    )


@contextmanager
def room(root: Path) -> Iterator[None]:
    """Tell a full disk from other failures, of ours and of the tools."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise full_disk(root) from error
        raise
    except ImagekitError as error:
        if any(os.strerror(number) in error.details for number in _FULL):
            raise full_disk(root) from error
        raise
