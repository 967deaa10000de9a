"""Put a result where the user wants it: whole or not at all, holes kept, and not again when it is there."""

import errno
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import get_ident

from imagekit.errors import BuildError, ImagekitError, UsageError
from imagekit.sparse import copy
from imagekit.store import Stored, full_disk

_NO_TMPFILE = {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT}
_HOUR = 3600


def place(result: Stored, path: Path, store: Path) -> None:
    """Copy a result to `path`, or only touch what is there when it is the same already (make wants it newer).

    The copy has no name until it is whole. What we placed last is remembered in the store, by path.
    """
    memory = store / "placed" / hashlib.sha256(os.fsencode(path.absolute())).hexdigest()
    try:
        if _state(path, result.digest) == _remembered(memory):
            os.utime(path)
        else:
            _copy(result.path, path)
    except OSError as error:
        raise unwritten(error, path) from error
    with suppress(OSError):  # it is in its place, remembered or not
        memory.parent.mkdir(exist_ok=True)
        memory.write_text(json.dumps(_state(path, result.digest)))


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


def _copy(source: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise UsageError(f"{path} is a folder", hint=f"-o {path}/ puts artifacts into it by their default names")
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} is a device, a pipe or a socket: an artifact is a file with others beside it")
    beside = path.with_name(f".{path.name}.{os.getpid()}.{get_ident()}.imagekit")
    _sweep(path)
    try:
        with _unnamed(path.parent, beside) as descriptor:
            copy(source, descriptor)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


@contextmanager
def _unnamed(folder: Path, name: Path) -> Iterator[int]:
    """Open a file that gets its name only at the end, so that a kill leaves nothing, where the system can."""
    try:
        descriptor = os.open(folder, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o666)
        named = False
    except OSError as error:
        if error.errno not in _NO_TMPFILE:
            raise
        descriptor = os.open(name, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o666)
        named = True
    try:
        yield descriptor
        if not named:
            name.unlink(missing_ok=True)
            # The descriptor of a folder makes this linkat(2), which alone follows the link in /proc.
            root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.link(f"/proc/self/fd/{descriptor}", name.absolute(), src_dir_fd=root)
            finally:
                os.close(root)
    finally:
        os.close(descriptor)


def _sweep(path: Path) -> None:
    """Remove what a killed build left beside `path`."""
    for left in path.parent.glob(f".{path.name}.*.imagekit"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _HOUR:
                left.unlink()


def unwritten(error: OSError, path: Path) -> ImagekitError:
    """Return the error for a file that could not be written where the user wants it."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return full_disk(path.parent, "make room there, or name another place with -o")
    return BuildError(f"{path} cannot be written", details=error.strerror or str(error))
