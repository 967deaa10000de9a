"""A folder of our own to look at an image from, and sparse copies in it for tools that write, or know no offset.

In it the image is a link of a fixed name: tools that read meaning into `?`, `@@` or a leading hyphen never see the
user's file name.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from imagekit import sparse
from imagekit.command import Completed, run
from imagekit.programs import require

DISK = "disk"
"""The image's name in a scratch folder."""

_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Scratch:
    """The folder; DISK in it leads to the image."""

    folder: Path

    def run(self, program: str, *arguments: str, limit: int | None = None, ok: range = range(1)) -> Completed:
        """Run a program here. One that writes more than `limit` bytes to a file fails, or is killed by SIGXFSZ."""
        if limit is None:
            return run(program, *arguments, cwd=self.folder, ok=ok, timeout=_SECONDS)
        bounded = (f"--fsize={limit}", require(program), *arguments)
        return run("prlimit", *bounded, cwd=self.folder, ok=ok, timeout=_SECONDS)

    def copy(self, name: str) -> None:
        """Copy the whole image to a new file of this name."""
        with (self.folder / name).open("xb") as target:
            sparse.copy(self.folder / DISK, target.fileno())

    def copy_part(self, name: str, offset: int, length: int) -> None:
        """Copy that part of the image, in bytes, to a new file; holes stay holes."""
        with (self.folder / DISK).open("rb") as source, (self.folder / name).open("xb") as target:
            os.ftruncate(target.fileno(), length)
            for start, end in sparse.extents(source.fileno(), offset + length):
                for at in range(max(start, offset), end, sparse.BLOCK):
                    data = os.pread(source.fileno(), min(sparse.BLOCK, end - at), at)
                    os.pwrite(target.fileno(), data, at - offset)


@contextmanager
def scratch(image: Path) -> Iterator[Scratch]:
    """Lend a scratch folder for an image; nothing of it is left."""
    with TemporaryDirectory(prefix="imagekit-verify-") as folder:
        (Path(folder) / DISK).symlink_to(image)
        yield Scratch(Path(folder))
