"""Who may do what at once: one maker a key; many readers, or one who prunes."""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from imagekit.errors import TryAgainError
from imagekit.store.room import unusable

_PATIENCE = 0.2  # seconds between two looks whether a wait is still wanted


@contextmanager
def one_maker(path: Path, waiting: Callable[[], None], unwanted: Callable[[], bool]) -> Iterator[None]:
    """Hold a key's lock. `waiting` is called when somebody else does; TryAgainError once `unwanted` is true."""
    from filelock import FileLock, Timeout  # noqa: PLC0415 -- 8 ms that a build of cached results can do without

    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        waiting()
        while not lock.is_locked:
            if unwanted():
                raise TryAgainError("the wait for another build's result was given up") from None
            with suppress(Timeout):
                lock.acquire(timeout=_PATIENCE)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def readers(root: Path) -> Iterator[None]:
    """Hold off who prunes; many may at once."""
    with _in_use(root, fcntl.LOCK_SH):
        yield


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """Be the only one; TryAgainError when somebody reads."""
    with _in_use(root, fcntl.LOCK_EX | fcntl.LOCK_NB):
        yield


@contextmanager
def _in_use(root: Path, kind: int) -> Iterator[None]:
    try:
        opened = (root / "in-use").open("a")
    except OSError as error:
        raise unusable(root, error) from error
    with opened as file:
        try:
            fcntl.flock(file, kind)
        except BlockingIOError:
            raise TryAgainError(f"the cache {root} is in use", hint="prune it when no build is running") from None
        yield
