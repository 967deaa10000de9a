"""The walk through a file system: what is in it, and which file lies where on the disk."""

from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from imagekit.inspect.report import File, Kind, Segment, Tree
from imagekit.inspect.volumes import Node, Volume

DETAILED = 2_000
"""Entries told one by one; the rest are counted."""

_MOST_ENTRIES = 200_000
_LONGEST_PATH = 4096
_MOST_PIECES = 20_000  # segments of one file system's files
_BOOT_FOLDERS = ("/boot/", "/grub/")
_LONGEST_TARGET = 4096


@dataclass(slots=True)
class Walk:
    """A walk under way: the tree so far, and the segments of its files in bytes of the window."""

    entries: list[File] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    files: int = 0
    directories: int = 0
    size: int = 0
    complete: bool = True

    def tree(self) -> Tree:
        """Return the tree, sorted by path."""
        entries = tuple(sorted(self.entries, key=lambda entry: entry.path))
        return Tree(entries, self.files, self.directories, self.size, self.complete)


def walk(volume: Volume, kernels: Collection[int]) -> Walk:
    """Walk a file system, boot folders first; nodes numbered in `kernels` are marked as kernels."""
    result = Walk()
    for path, node in _entries(volume, result):
        _count(result, node)
        if len(result.entries) < DETAILED:
            _detail(volume, result, path, node, is_kernel=node.number in kernels)
    return result


def decode(name: bytes) -> str:
    """Return a name as text; what is not UTF-8 is escaped."""
    return name.decode(errors="backslashreplace")


def _entries(volume: Volume, result: Walk) -> Iterator[tuple[str, Node]]:
    root = volume.root()
    waiting, seen, count = deque([("/", root)]), {root.number}, 0
    while waiting:
        folder, node = waiting.popleft()
        yield folder, node
        for name, child in volume.children(node):
            path = folder + decode(name)
            count += 1
            if count > _MOST_ENTRIES or len(path) > _LONGEST_PATH:
                result.complete = False
                return
            if child.kind != "directory":
                yield path, child
            elif child.number not in seen:
                seen.add(child.number)
                first = f"{path}/".startswith(_BOOT_FOLDERS)
                (waiting.appendleft if first else waiting.append)((f"{path}/", child))
    result.complete = volume.budget.blocks >= 0


def _count(result: Walk, node: Node) -> None:
    if node.kind == "directory":
        result.directories += 1
    else:
        result.files += 1
        result.size += node.size


def _detail(volume: Volume, result: Walk, path: str, node: Node, *, is_kernel: bool) -> None:
    runs = [*volume.runs(node), *volume.upkeep(node)]
    is_boot = node.kind == "file" and path.startswith(_BOOT_FOLDERS)
    kind = (
        Kind.DIRECTORY
        if node.kind == "directory"
        else Kind.KERNEL
        if is_kernel
        else Kind.BOOT
        if is_boot
        else Kind.FILE
    )
    room = max(_MOST_PIECES - len(result.segments), 0)
    result.segments += [Segment(run.start, run.length, kind, path) for run in runs[:room]]
    result.entries.append(
        File(
            path,
            node.kind,
            node.size,
            sum(run.length for run in runs),
            len(runs),
            decode(volume.read(node, _LONGEST_TARGET)) if node.kind == "link" else "",
            "kernel" if is_kernel else "boot" if is_boot else "",
        )
    )
