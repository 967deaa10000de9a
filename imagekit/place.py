"""Put a result where the user wants it: whole or not at all, holes kept, and not again when it is there."""

import errno
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import get_ident

from imagekit.errors import BuildError, ImagekitError, UsageError
from imagekit.plan import Delivery
from imagekit.sparse import copy
from imagekit.store import Stored, full_disk

_NO_TMPFILE = {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT}
_HOUR = 3600
_PAIR = 2  # a name and its state, of a file that a delivery made


def place(result: Stored, path: Path, store: Path) -> None:
    """Place one file; see `place_all`."""
    place_all(((result, path),), store)


def place_all(files: Sequence[tuple[Stored, Path]], store: Path) -> None:
    """Copy results to their paths, or only touch what is there when it is the same already (make wants it newer).

    The copies have no names until all of them are whole: a full disk leaves what was there as it was. They appear
    in the order of `files`. What we placed last is remembered in the store, by path.
    """
    with _ready(files, store) as appear:
        appear()


def deliver(
    delivery: Delivery, main: Stored, path: Path, companions: Sequence[tuple[Stored, Path]], store: Path
) -> tuple[tuple[Path, ...], bool]:
    """Place companions, and what a delivery makes of a result, or only touch what is there when it is the same.

    Return the paths of the files that the delivery made beside the main one, and whether they were there.
    """
    found = delivered(delivery, main.digest, path, store)
    if found is not None:
        place_all(companions, store)
        for one in (*found, path):
            with _explained(one):
                os.utime(one)
    with ExitStack() as stack:
        if found is None:
            appear_first = stack.enter_context(_ready(companions, store))
            _check_place(path)
            with main.reading():
                appear = stack.enter_context(delivery.run(main, path, delivery.options))
            appear_first()
            made = tuple(appear())
    others = made if found is None else found
    key = delivery.key(main.digest)
    _remember(store, path, [[one.name, _state(one, key)] for one in (*others, path)])
    return others, found is not None


def delivered(delivery: Delivery, digest: str, path: Path, store: Path) -> tuple[Path, ...] | None:
    """Return the files beside `path` when they and it are what a delivery made of this digest; else None."""
    remembered = _remembered(_memory(store, path))
    if not isinstance(remembered, list) or not all(
        isinstance(one, list) and len(one) == _PAIR for one in remembered
    ):
        return None
    key = delivery.key(digest)
    files = [path.with_name(str(name)) for name, _ in remembered]
    if any(_state(one, key) != state for one, (_, state) in zip(files, remembered, strict=True)):
        return None
    return tuple(files[:-1])


@contextmanager
def _ready(files: Sequence[tuple[Stored, Path]], store: Path) -> Iterator[Callable[[], None]]:
    """Make the copies that are not there; the function that is lent gives them their names."""
    with ExitStack() as stack:
        ready: list[Callable[[], object]] = []
        for result, path in files:
            with _explained(path):
                if _state(path, result.digest) == _remembered(_memory(store, path)):
                    ready.append(partial(os.utime, path))
                else:
                    ready.append(stack.enter_context(_copied(result, path)))

        def appear() -> None:
            for one, (result, path) in zip(ready, files, strict=True):
                with _explained(path):
                    one()
                _remember(store, path, _state(path, result.digest))

        yield appear


def _remember(store: Path, path: Path, what: object) -> None:
    with suppress(OSError):  # it is in its place, remembered or not
        memory = _memory(store, path)
        memory.parent.mkdir(exist_ok=True)
        memory.write_text(json.dumps(what))


def _memory(store: Path, path: Path) -> Path:
    return store / "placed" / hashlib.sha256(os.fsencode(path.absolute())).hexdigest()


def _state(path: Path, digest: str) -> list[object] | None:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    # The ctime tells of every write, whatever is done to the mtime.
    return [digest, status.st_size, status.st_ino, status.st_ctime_ns]


def _remembered(memory: Path) -> object:
    try:
        return json.loads(memory.read_bytes()) or False
    except (OSError, ValueError):
        return False  # equal to no state


@contextmanager
def _copied(result: Stored, path: Path) -> Iterator[Callable[[], object]]:
    """Copy to a file that has no name until the function that is yielded is called."""
    with drafted(path) as (descriptor, appear):
        with result.reading():
            copy(result.path, descriptor)
        yield appear


@contextmanager
def drafted(path: Path) -> Iterator[tuple[int, Callable[[], object]]]:
    """Lend a descriptor of a file that has no name, where the system can, until the function is called.

    UsageError where no file can be; OSError as the system has it (see `unwritten`).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _check_place(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}.{get_ident()}.imagekit")
    _sweep(path)
    descriptor, named = _opened(path.parent, beside)

    def appear() -> None:
        if not named:
            _name(descriptor, beside)
        beside.replace(path)

    try:
        yield descriptor, appear
    finally:
        os.close(descriptor)
        with suppress(OSError):  # it has its place, or never had a name
            beside.unlink()


def _check_place(path: Path) -> None:
    if path.is_dir():
        raise UsageError(f"{path} is a folder", hint=f"-o {path}/ puts artifacts into it by their default names")
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} is a device, a pipe or a socket: an artifact is a file with others beside it")


def _opened(folder: Path, name: Path) -> tuple[int, bool]:
    """Open a file without a name, so that a kill leaves nothing; else one with a name, and say so."""
    try:
        return os.open(folder, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o666), False
    except OSError as error:
        if error.errno not in _NO_TMPFILE:
            raise
    return os.open(name, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o666), True


def _name(descriptor: int, name: Path) -> None:
    name.unlink(missing_ok=True)
    # The descriptor of a folder makes this linkat(2), which alone follows the link in /proc.
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.link(f"/proc/self/fd/{descriptor}", name.absolute(), src_dir_fd=root)
    finally:
        os.close(root)


def _sweep(path: Path) -> None:
    """Remove what a killed build left beside `path`."""
    for left in path.parent.glob(f".{path.name}.*.imagekit"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _HOUR:
                left.unlink()


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise unwritten(error, path) from error


def unwritten(error: OSError, path: Path) -> ImagekitError:
    """Return the error for a file that could not be written where the user wants it."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return full_disk(path.parent, "make room there, or name another place with -o")
    return BuildError(f"{path} cannot be written", details=error.strerror or str(error))
