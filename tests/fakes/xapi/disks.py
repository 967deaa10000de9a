"""What VDIs hold: a sparse file each."""

import os
from pathlib import Path


class Disks:
    """A folder of files, named by their VDI's reference."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()

    def path(self, vdi: str) -> Path:
        """Return the file of a VDI."""
        return self._folder / vdi.removeprefix("OpaqueRef:")

    def create(self, vdi: str, size: int) -> None:
        """Make a disk of zeros."""
        with open(self.path(vdi), "xb") as file:
            file.truncate(size)

    def resize(self, vdi: str, size: int) -> None:
        """Make a disk larger."""
        os.truncate(self.path(vdi), size)

    def destroy(self, vdi: str) -> None:
        """Remove a disk."""
        self.path(vdi).unlink(missing_ok=True)

    def clone(self, vdi: str, fresh: str) -> None:
        """Copy a disk, holes kept."""
        with open(self.path(vdi), "rb") as source, open(self.path(fresh), "xb") as copy:
            size = os.fstat(source.fileno()).st_size
            copy.truncate(size)
            at = 0
            while (at := _data(source.fileno(), at)) < size:
                end = os.lseek(source.fileno(), at, os.SEEK_HOLE)
                os.lseek(source.fileno(), at, os.SEEK_SET)
                os.lseek(copy.fileno(), at, os.SEEK_SET)
                while at < end and (sent := os.copy_file_range(source.fileno(), copy.fileno(), end - at)):
                    at += sent

    def used(self, vdi: str) -> int:
        """Return how much room a disk takes, in bytes."""
        return self.path(vdi).stat().st_blocks * 512


def _data(file: int, at: int) -> int:
    """Return where data begins, at or after an offset; the end when there is none."""
    try:
        return os.lseek(file, at, os.SEEK_DATA)
    except OSError:
        return os.fstat(file).st_size
