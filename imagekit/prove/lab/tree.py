"""A tree of files being put together for an initramfs, with /bin, /sbin, /lib and /lib64 merged into /usr."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from imagekit.errors import ToolError
from imagekit.prove.lab import cpio
from imagekit.prove.lab.cpio import Entry

_MERGED = ("bin", "sbin", "lib", "lib64")
_SPLIT = re.compile(rf"^(?={'|'.join(f'{name}/' for name in _MERGED)})")


def merged(name: str) -> str:
    """Return where a name of an unmerged package lies in a merged tree: lib/x -> usr/lib/x."""
    return _SPLIT.sub("usr/", name)


class Tree:
    """Entries by name; folders on the way to them come by themselves."""

    def __init__(self, unpacked: Path) -> None:
        self._unpacked = unpacked
        self._entries: dict[str, Entry] = {}
        for name in _MERGED:
            self.folder(f"usr/{name}")
            self.link(name, f"usr/{name}")

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def entries(self) -> Iterator[Entry]:
        """Yield all."""
        yield from self._entries.values()

    def file(self, name: str, data: bytes, *, executable: bool = False) -> None:
        """Put a file there."""
        self._put(cpio.file(name, data, executable=executable))

    def folder(self, *names: str) -> None:
        """Put empty folders there."""
        for name in names:
            self._put(cpio.folder(name))

    def link(self, name: str, target: str) -> None:
        """Put a symbolic link there."""
        self._put(cpio.link(name, target))

    def take(self, name: str, to: str | None = None) -> None:
        """Take a file or a link out of the unpacked packages; ToolError when they lack it."""
        path = self._unpacked / name
        if path.is_symlink():
            self.link(to or merged(name), os.readlink(path))
        elif path.is_file():
            self.file(to or merged(name), path.read_bytes(), executable=bool(path.stat().st_mode & 0o111))
        else:
            raise ToolError(f"the packages bring no /{name}", hint="the lab is made of Debian 12's packages")

    def take_all(self, name: str, wanted: Callable[[str], bool]) -> None:
        """Take what lies below a folder and is wanted by its path from there."""
        base = self._unpacked / name
        for folder, _, files in os.walk(base):
            for file in files:
                path = Path(folder, file).relative_to(base).as_posix()
                if wanted(path):
                    self.take(f"{name}/{path}")

    def _put(self, entry: Entry) -> None:
        for parent in PurePosixPath(entry.name).parents:
            if parent.name:
                self._entries.setdefault(str(parent), cpio.folder(str(parent)))
        self._entries[entry.name] = entry
