"""Files in an image, by debugfs (ext) or mtools (FAT): one out of it, or one away from a copy of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from imagekit.errors import ToolError, VerificationError
from imagekit.verify.scratch import Scratch

LONGEST = 64 * 1024
"""Bytes of the longest file that is read: a menu has some hundred."""

_OUT = "out"


class Files(Protocol):
    """The files of one file system. Paths are absolute, without line breaks."""

    def read(self, path: str) -> bytes | None:
        """Return a file's content, None where there is none; VerificationError for more than LONGEST bytes."""

    def take(self, path: str, name: str, limit: int) -> Path | None:
        """Copy a file into the room, under a name; None where there is none; VerificationError over the limit."""

    def exists(self, path: str) -> bool:
        """Tell whether there is something of this name."""

    def remove(self, path: str) -> None:
        """Remove a file: for copies only."""


def files(room: Scratch, disk: str, offset: int, kind: str) -> Files | None:
    """Return the files of a file system at `offset` bytes of a disk in the room, None for other kinds."""
    if kind.startswith("ext"):
        return _Ext(room, f"{disk}?offset={offset}")
    return _Fat(room, f"{disk}@@{offset}") if kind.startswith("fat") else None


@dataclass(frozen=True, slots=True)
class _Ext:
    room: Scratch
    image: str

    def read(self, path: str) -> bytes | None:
        return _read(self, path)

    def take(self, path: str, name: str, limit: int) -> Path | None:
        return _taken(self.room, path, name, limit, "debugfs", "-R", f"dump {_quoted(path)} {name}", self.image)

    def exists(self, path: str) -> bool:
        return b"Inode:" in self.room.run("debugfs", "-R", f"stat {_quoted(path)}", self.image).stdout

    def remove(self, path: str) -> None:
        self.room.run("debugfs", "-w", "-R", f"rm {_quoted(path)}", self.image)


@dataclass(frozen=True, slots=True)
class _Fat:
    room: Scratch
    image: str

    def read(self, path: str) -> bytes | None:
        return _read(self, path)

    def take(self, path: str, name: str, limit: int) -> Path | None:
        return _taken(self.room, path, name, limit, "mcopy", "-n", "-i", self.image, f"::{path}", name)

    def exists(self, path: str) -> bool:
        return not self.room.run("mdir", "-b", "-i", self.image, f"::{path}", ok=range(2)).status

    def remove(self, path: str) -> None:
        self.room.run("mdel", "-i", self.image, f"::{path}")


def _read(there: Files, path: str) -> bytes | None:
    out = there.take(path, _OUT, LONGEST)
    if out is None:
        return None
    content = out.read_bytes()
    out.unlink()
    return content


def _taken(room: Scratch, path: str, name: str, limit: int, program: str, *arguments: str) -> Path | None:
    """Run a program that writes a file, or does not; neither tells by its status which."""
    out = room.folder / name
    try:
        room.run(program, *arguments, limit=limit, ok=range(2))
    except ToolError as error:
        out.unlink(missing_ok=True)
        if "SIGXFSZ" not in error.brief:
            raise
        raise VerificationError(f"{path} is longer than {limit} bytes") from None
    return out if out.exists() else None


def _quoted(path: str) -> str:
    return '"' + path.replace('"', '""') + '"'
