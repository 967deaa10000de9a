"""A shared store in a folder, of NFS or of this machine.

A file is written as tmp/<random> and gets its name by a hard link or a rename, which NFS does whole or not at all;
locks, which NFS may lose, are not needed.
"""

import errno
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from imagekit.errors import BuildError, TryAgainError
from imagekit.store.backend import Item, denied, down
from imagekit.store.blobs import flush

_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_MODE = 0o644


class Folder:
    """A store's folder. It must be there: an NFS that is not mounted is not to be filled beneath."""

    private = True

    def __init__(self, folder: Path) -> None:
        self.url = f"file://{folder}"
        self._folder = folder

    @contextmanager
    def reading(self, name: str) -> Iterator[tuple[IO[bytes], Item] | None]:
        """Lend a file; who has it open reads on when it is removed."""
        with self._told():
            self._check()
            try:
                file = (self._folder / name).open("rb")
            except FileNotFoundError:
                file = None
        if file is None:
            yield None
            return
        with file:
            yield file, _item(name, os.fstat(file.fileno()))

    def has(self, name: str) -> Item | None:
        """Return what is known of a file."""
        with self._told():
            self._check()
            with suppress(FileNotFoundError):
                return _item(name, (self._folder / name).stat())
        return None

    def put(self, name: str, file: Path, *, replace: bool) -> bool:
        """Copy a file in, and name it when it is on the disk."""
        with self._told():
            self._check()
            place, work = self._folder / name, self._folder / "tmp"
            for folder in (place.parent, work):
                folder.mkdir(parents=True, exist_ok=True)
            descriptor, draft = tempfile.mkstemp(dir=work)
            try:
                with open(descriptor, "wb") as out, file.open("rb") as source:
                    shutil.copyfileobj(source, out, 1 << 20)
                    out.flush()
                    os.fchmod(descriptor, _MODE)
                    os.fsync(descriptor)
                done = _name(Path(draft), place, replace=replace)
                flush(place.parent)
            finally:
                Path(draft).unlink(missing_ok=True)
        return done

    def use(self, name: str) -> None:
        """Set a file's time."""
        with self._told(), suppress(FileNotFoundError):
            os.utime(self._folder / name)

    def items(self, folder: str) -> Iterator[Item]:
        """Yield what lies below a folder."""
        with self._told():
            self._check()
            for place, _, names in os.walk(self._folder / folder):
                for name in names:
                    path = Path(place, name)
                    with suppress(FileNotFoundError):
                        yield _item(str(path.relative_to(self._folder)), path.stat())

    def remove(self, names: Iterable[str]) -> None:
        """Unlink files."""
        with self._told():
            for name in names:
                (self._folder / name).unlink(missing_ok=True)

    def sweep(self, age: float) -> int:
        """Remove drafts of the dead: nobody writes one file for so long."""
        old = [item.name for item in self.items("tmp") if time.time() - item.used > age]
        self.remove(old)
        return len(old)

    def _check(self) -> None:
        if not self._folder.is_dir():
            raise down(self.url, "there is no such folder: is it mounted?")

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._error(error) from error

    def _error(self, error: OSError) -> BuildError | TryAgainError:
        return (denied if error.errno in _DENIED else down)(self.url, error.strerror or str(error))


def _name(draft: Path, place: Path, *, replace: bool) -> bool:
    """Give a draft its name; False when another has it and keeps it."""
    if not replace:
        try:
            os.link(draft, place)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
        else:
            return True
    draft.replace(place)
    return True


def _item(name: str, status: os.stat_result) -> Item:
    return Item(name, status.st_size, status.st_mtime)
