"""The report: what a file is, as a tree of plain values. Offsets and sizes are bytes from the image's start."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Literal, cast

SCHEMA = 1
"""Rises when a field of the JSON form changes its meaning or goes."""


class Kind(StrEnum):
    """What a segment of the disk holds."""

    TABLE = "table"
    SUPERBLOCK = "superblock"
    DESCRIPTORS = "descriptors"
    BITMAP = "bitmap"
    INODES = "inodes"
    JOURNAL = "journal"
    DIRECTORY = "directory"
    KERNEL = "kernel"
    BOOT = "boot"
    FILE = "file"
    OTHER = "other"
    """In use, but not told in detail: files past the limit, and file systems that are only named."""
    FREE = "free"
    GAP = "gap"
    """Outside every partition, and yet written."""
    HOLE = "hole"
    """Never written: takes no room on the host's disk and reads as zeros."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of the disk that holds one thing."""

    start: int
    length: int
    kind: Kind
    label: str = ""

    @property
    def end(self) -> int:
        """The first byte after it."""
        return self.start + self.length


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition; `type` in words, `guid` its own (empty in an MBR)."""

    number: int
    start: int
    size: int
    type: str
    name: str = ""
    guid: str = ""
    bootable: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """The partition table; `identity` is the MBR's signature (8 hex digits) or the GPT's GUID."""

    kind: Literal["none", "mbr", "gpt"]
    identity: str = ""
    partitions: tuple[Partition, ...] = ()
    problems: tuple[str, ...] = ()
    areas: tuple[Segment, ...] = ()


@dataclass(frozen=True, slots=True)
class File:
    """One entry of a file system; `pieces` is its number of runs on the disk, `allocated` their bytes."""

    path: str
    kind: Literal["file", "directory", "link", "other"]
    size: int
    allocated: int = 0
    pieces: int = 0
    target: str = ""
    role: Literal["", "kernel", "boot"] = ""


@dataclass(frozen=True, slots=True)
class Tree:
    """The entries of a file system: the first ones told in `entries`, all counted (unless `complete` is false)."""

    entries: tuple[File, ...]
    files: int
    directories: int
    size: int
    complete: bool


@dataclass(frozen=True, slots=True)
class Filesystem:
    """One file system. `partition` is 0 for the whole disk. Counts are in its own blocks; 0 where unknown."""

    kind: str
    partition: int
    start: int
    size: int
    label: str = ""
    uuid: str = ""
    block_size: int = 0
    blocks: int = 0
    free_blocks: int = 0
    inodes: int = 0
    free_inodes: int = 0
    features: tuple[str, ...] = ()
    tree: Tree | None = None
    problems: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """Where it lies, for people."""
        return f"partition {self.partition}" if self.partition else "whole disk"


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a boot menu: `kernel` by `command`, below `root` where the entry names one."""

    title: str
    root: str = ""
    command: str = ""
    kernel: str = ""
    arguments: str = ""
    modules: tuple[str, ...] = ()
    boots: bool = True


@dataclass(frozen=True, slots=True)
class Menu:
    """A boot menu file; `root` is set outside its entries, for those that set none.

    `timeout` is in seconds, None where it has none: a boot loader then waits for a key.
    """

    path: str
    partition: int
    dialect: Literal["menu.lst", "grub.cfg"]
    default: int
    timeout: int | None
    entries: tuple[Entry, ...]
    root: str = ""
    problems: tuple[str, ...] = ()

    @property
    def chosen(self) -> Entry | None:
        """The entry that starts by itself; past the end is the first, as boot loaders have it."""
        if not self.entries:
            return None
        return self.entries[self.default if 0 <= self.default < len(self.entries) else 0]


@dataclass(frozen=True, slots=True)
class Way:
    """One way of booting a kernel: possible, or why not and what it lacks.

    `name` is imagekit.kernel's; `door` is where the kernel is entered, such as `PV entry at 0x100000`.
    """

    name: str
    title: str
    boots: bool
    why: str = ""
    missing: str = ""
    door: str = ""


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel; `facts` are names and values for people, `partition` is -1 for a plain file."""

    path: str
    partition: int
    size: int
    summary: str
    facts: tuple[tuple[str, str], ...] = ()
    ways: tuple[Way, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Link:
    """One link of a boot chain: what is reached, and whether it holds."""

    what: Literal["loader", "disk", "menu", "entry", "kernel", "start"]
    text: str
    holds: bool = True


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a boot loader brings this disk up (None: cannot be told), why, and the chain as far as it goes.

    `starts` is the ways by which it starts the kernel, by imagekit.kernel's names, where it does.
    """

    loader: str
    boots: bool | None
    why: tuple[str, ...]
    chain: tuple[Link, ...] = ()
    starts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """All that is known of one file. `allocated` is what it takes on the host's disk.

    `wrapping` is names and values of what the disk is in, a VHD say; the rest is of the disk itself.
    """

    name: str
    kind: Literal["kernel", "disk"]
    size: int
    allocated: int
    table: Table | None = None
    filesystems: tuple[Filesystem, ...] = ()
    menus: tuple[Menu, ...] = ()
    kernels: tuple[Kernel, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    segments: tuple[Segment, ...] = ()
    problems: tuple[str, ...] = ()
    wrapping: tuple[tuple[str, str], ...] = ()

    def to_json(self) -> Mapping[str, object]:
        """Return the report as what `json.dumps` takes, with `schema` first."""
        return {"schema": SCHEMA, **cast("dict[str, object]", json.loads(json.dumps(asdict(self))))}
