"""Which blob is the result of which key, as the blob was when that was written down."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from imagekit.store.workplace import Workplaces


@dataclass(frozen=True, slots=True)
class Record:
    """What results/<key> holds."""

    step: str
    digest: str
    length: int
    mtime_ns: int
    inode: int

    def fits(self, status: os.stat_result) -> bool:
        """Tell whether a blob looks as it did: then its bytes need not be read."""
        return (status.st_size, status.st_mtime_ns, status.st_ino) == (self.length, self.mtime_ns, self.inode)


@dataclass(frozen=True, slots=True)
class Records:
    """The folder of the records."""

    folder: Path
    workplaces: Workplaces

    def read(self, key: str) -> Record | None:
        """Return a key's record, or None."""
        try:
            return Record(**json.loads((self.folder / key).read_bytes()))
        except (OSError, ValueError, TypeError):
            return None  # none, or torn by a power cut: the step runs again

    def write(self, key: str, step: str, digest: str, status: os.stat_result) -> None:
        """Write down that a key's result is the blob of this digest and status."""
        record = Record(step, digest, status.st_size, status.st_mtime_ns, status.st_ino)
        with self.workplaces.new() as folder:
            path = folder / "record"
            path.write_text(json.dumps(asdict(record)))
            path.replace(self.folder / key)

    def __iter__(self) -> Iterator[tuple[str, Record]]:
        """Yield each key and its record."""
        for path in sorted(self.folder.iterdir()):
            record = self.read(path.name)
            if record is not None:
                yield path.name, record

    def forget(self, gone: Callable[[str], bool]) -> None:
        """Remove the records of digests that are gone."""
        for key, record in self:
            if gone(record.digest):
                (self.folder / key).unlink(missing_ok=True)
