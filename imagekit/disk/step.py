"""The disk step: table and file systems, in one sparse file."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from imagekit.disk.grub import put_grub
from imagekit.disk.layout import Layout, Spot, lay_out, partition_offset
from imagekit.disk.table import LVM, write_table
from imagekit.errors import BuildError
from imagekit.filesystem import (
    Lvm,
    Part,
    Place,
    Settings,
    Staged,
    Type,
    filesystem_uuid,
    grouped,
    guestfs,
    identity,
    inodes,
    make,
    measure,
    read_part,
    settled,
    smallest,
    stage,
)
from imagekit.plan import Input, Json
from imagekit.root import Member

Options = Mapping[str, Json]

BOOT_LABEL = "boot"
"""The label of a boot partition's file system."""


@dataclass(frozen=True, slots=True)
class _Work:
    """What is made of what, and where: the step's arguments, and the settings of the root's file system."""

    inputs: Mapping[str, Input]
    out: Path
    options: Options
    settings: Settings

    @property
    def layout(self) -> Layout:
        return cast("Layout", self.options["layout"])

    @property
    def boot(self) -> int:
        return cast("int", self.options.get("boot_size", 0))

    @property
    def lvm(self) -> Lvm | None:
        names = cast("Mapping[str, str] | None", self.options.get("lvm"))
        return Lvm(**names) if names else None

    @property
    def part(self) -> Part:
        return "root" if self.boot else "whole"


def write_disk(inputs: Mapping[str, Input], out: Path, options: Options) -> None:
    """Write a disk image. A step function.

    Inputs: `root`, a root tar, and the folders that it refers to; `core`, what a BIOS starts, where one is to.
    Options: `layout`; `disk_size`, `filesystem_size` (bytes or null), `unit` (bytes; a disk that has no size of
    its own is a multiple), `free` (bytes to leave), `type`, `label`, `block_size`, `epoch`; where wanted
    `boot_size` (bytes of a boot partition), `lvm` ({group, volume}), and `guestfs` (true: a Linux makes the root's
    file system, as it must with LVM).
    """
    work = _Work(inputs, out, options, _settings(options, inputs["root"].digest))
    if options.get("guestfs"):
        _by_guestfs(work)
    else:
        _by_tools(work)
    if work.boot:
        _make_boot(work)
    if "core" in inputs:
        with out.open("r+b") as file:
            put_grub(file, inputs["core"].path.read_bytes(), partition_offset(work.layout))


def boot_uuid(root: str) -> str:
    """Return the UUID of a boot partition's file system, by the digest of the root tar."""
    return filesystem_uuid(root, "boot partition", BOOT_LABEL)


def _by_tools(work: _Work) -> None:
    staged = stage(work.inputs["root"].path, work.inputs, work.out.with_name("staged"), work.part)
    spot = _table(work, staged.members())
    needs, free = measure(staged.members()), cast("int", work.options["free"])
    place = Place(work.out, spot.offset, spot.size)
    make(place, settled(needs, work.settings, free, spot.size), staged)


def _by_guestfs(work: _Work) -> None:
    root = work.inputs["root"].path
    members = [member for member, _ in read_part(root, work.part)]
    spot = _table(work, members)
    number = 0 if work.layout == "plain" else 2 if work.boot else 1
    goods = guestfs.Goods(root, work.inputs, work.part, _xattrs(members), inodes(len(members), spot.size))
    settings = settled(measure(members), work.settings, cast("int", work.options["free"]), spot.size)
    guestfs.make(work.out, number, work.lvm, settings, goods)


def _xattrs(members: Iterable[Member]) -> int:
    """Return how many extended attributes are seen by all names; a hard link is another name for its file's."""
    own: dict[str, int] = {}
    for member in members:  # hard links come last
        own[member.path] = own.get(member.target, 0) if member.kind == "hard" else len(member.xattrs)
    return sum(own.values())


def _table(work: _Work, members: Iterable[Member]) -> Spot:
    """Create the disk, with its table; return where the file systems go."""
    options = work.options
    needed = smallest(measure(members), work.settings, cast("int", options["free"]))
    spot = lay_out(
        work.layout,
        grouped(needed) if work.lvm else needed,
        disk=cast("int | None", options["disk_size"]),
        filesystem=cast("int | None", options["filesystem_size"]),
        unit=cast("int", options["unit"]),
        boot=work.boot,
    )
    with work.out.open("xb") as file:
        os.truncate(file.fileno(), spot.disk)
    if work.layout != "plain":
        kind = LVM if work.lvm else work.settings.type
        write_table(work.out, work.layout, spot, kind, identity(work.inputs["root"].digest, "disk"))
    return spot


def _make_boot(work: _Work) -> None:
    """Make the boot partition: ext2, which every loader reads."""
    root = work.inputs["root"]
    staged: Staged = stage(root.path, work.inputs, work.out.with_name("staged-boot"), "boot")
    settings = Settings("ext2", boot_uuid(root.digest), work.settings.epoch, BOOT_LABEL)
    needs = measure(staged.members())
    needed = smallest(needs, settings, 0)
    if needed > work.boot:
        raise BuildError(
            f"/boot needs a partition of {needed >> 20} MiB",
            details=f"it gets {work.boot >> 20} MiB",
            hint=f'disk.boot = "{needed >> 20}MiB", or more',
        )
    make(Place(work.out, partition_offset(work.layout), work.boot), settled(needs, settings, 0, work.boot), staged)


def _settings(options: Options, root: str) -> Settings:
    kind, label = cast("Type", options["type"]), cast("str", options["label"])
    return Settings(
        type=kind,
        uuid=filesystem_uuid(root, kind, label),
        epoch=cast("int", options["epoch"]),
        label=label,
        block_size=cast("int", options["block_size"]),
    )
