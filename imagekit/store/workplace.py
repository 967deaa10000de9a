"""Folders for work under way, and what becomes of those of the dead."""

import fcntl
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from imagekit.store.leftovers import remove

_NEW = "new-"
_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Workplaces:
    """The folder that workplaces are made in."""

    folder: Path

    @contextmanager
    def new(self) -> Iterator[Path]:
        """Make a folder for one piece of work, which goes when the work ends."""
        folder = Path(tempfile.mkdtemp(prefix=_NEW, dir=self.folder))
        try:
            with (folder / "lock").open("w") as lock:
                # Locked before it is seen under its own name: a sweeper never takes living work for dead.
                fcntl.flock(lock, fcntl.LOCK_EX)
                folder = folder.rename(folder.with_name(folder.name.removeprefix(_NEW)))
                yield folder
        finally:
            remove(folder)

    def sweep(self) -> None:
        """Remove what killed builds left: work whose lock nobody holds."""
        for folder in self.folder.iterdir():
            with suppress(OSError):
                if folder.name.startswith(_NEW):
                    if time.time() - folder.stat().st_mtime > _HOUR:
                        remove(folder)
                    continue
                with suppress(FileNotFoundError), (folder / "lock").open("r") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Without a lock file it is being taken away, or was when the one who did it died.
                remove(folder)
