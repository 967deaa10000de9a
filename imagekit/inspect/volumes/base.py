"""What a file system offers to be looked through: nodes, their runs on the disk, and which blocks are in use.

The readers behind it (ext.py, fat.py) are our own, pure and bounded, because the images are other people's:
debugfs and mtools print names raw and files without an end mark, so an image could forge what we would parse. The
tests hold our readers against those very tools.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from imagekit.inspect.report import Filesystem, Segment
from imagekit.inspect.window import Window

NodeKind = Literal["file", "directory", "link", "other"]

_MOST_LINKS = 16


class Run(NamedTuple):
    """Bytes of a file that lie together: at `logical` in the file, at `start` in the window."""

    logical: int
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class Node:
    """A file, a folder or a link; `number` is the file system's own name for it."""

    number: int
    kind: NodeKind
    size: int
    inline: bytes | None = None


@dataclass(slots=True)
class Budget:
    """How much of a hostile file system is read before it is left: blocks of maps and of folders."""

    blocks: int = 300_000

    def spend(self, blocks: int = 1) -> bool:
        """Take from the budget; False when it is used up."""
        self.blocks -= blocks
        return self.blocks >= 0


@dataclass
class Volume(ABC):
    """One readable file system in a window; nothing here raises on broken data, `problems` gathers it."""

    window: Window
    problems: list[str] = field(default_factory=list)
    budget: Budget = field(default_factory=Budget)

    @abstractmethod
    def describe(self, partition: int) -> Filesystem:
        """Return the file system without its tree."""

    @abstractmethod
    def root(self) -> Node:
        """Return the root folder."""

    @abstractmethod
    def children(self, folder: Node) -> Iterator[tuple[bytes, Node]]:
        """Yield the entries of a folder in its own order, without `.` and `..`."""

    @abstractmethod
    def runs(self, node: Node) -> Sequence[Run]:
        """Return where a node's content lies, in order; runs that are next to each other are one."""

    @abstractmethod
    def fixed(self) -> Iterable[Segment]:
        """Yield what the file system keeps for itself, in bytes of the window."""

    @abstractmethod
    def used(self) -> Iterable[tuple[int, int]]:
        """Yield (start, length) of all that is in use, in bytes of the window."""

    def upkeep(self, node: Node) -> Sequence[Run]:
        """Return the blocks that only say where a node's content lies."""
        del node
        return ()

    def read(self, node: Node, limit: int) -> bytes:
        """Return a node's first bytes, holes as zeros; what the window lacks is cut off."""
        size = min(node.size, limit)
        if node.inline is not None:
            return node.inline[:size]
        content = bytearray(size)
        for run in self.runs(node):
            data = self.window.read(run.start, min(run.length, size - run.logical))
            content[run.logical : run.logical + len(data)] = data
        return bytes(content[:size])

    def find(self, path: str) -> Node | None:
        """Return the node at an absolute path, links followed; None when there is none."""
        wanted = _split(path)
        trail = [self.root()]
        links = 0
        while wanted:
            name = wanted.pop(0)
            if name == b"..":
                trail = trail[:-1] or trail
                continue
            node = self._child(trail[-1], name)
            if node is None:
                return None
            if node.kind != "link":
                trail.append(node)
                continue
            links += 1
            target = self.read(node, 4096)
            if links > _MOST_LINKS:
                return None
            trail = trail[:1] if target.startswith(b"/") else trail
            wanted = _split(target) + wanted
        return trail[-1]

    def _child(self, folder: Node, name: bytes) -> Node | None:
        if folder.kind != "directory":
            return None
        wanted = self.fold(name)
        return next((node for found, node in self.children(folder) if self.fold(found) == wanted), None)

    def fold(self, name: bytes) -> bytes:
        """Return the form of a name by which it is found."""
        return name


def _split(path: str | bytes) -> list[bytes]:
    raw = path.encode("utf-8", "surrogateescape") if isinstance(path, str) else path
    return [part for part in raw.split(b"/") if part not in {b"", b"."}]


def joined(runs: Iterable[Run]) -> list[Run]:
    """Return runs with neighbours made one."""
    found: list[Run] = []
    for run in runs:
        last = found[-1] if found else None
        if last and (last.logical + last.length, last.start + last.length) == (run.logical, run.start):
            found[-1] = last._replace(length=last.length + run.length)
        else:
            found.append(run)
    return found
