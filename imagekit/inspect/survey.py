"""Looks at one file, from the outside in, and writes the report."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from imagekit import sparse
from imagekit.errors import KernelError, UsageError, VerificationError
from imagekit.inspect import boot, kernels
from imagekit.inspect.bios import read_boot_sector
from imagekit.inspect.map import cover, merge
from imagekit.inspect.report import Filesystem, Kind, Partition, Report, Segment, Table
from imagekit.inspect.table import read_table
from imagekit.inspect.tree import Walk, walk
from imagekit.inspect.volumes import Volume, named, open_volume
from imagekit.inspect.window import Window
from imagekit.kernel import read_kernel

_TAR = "a tar"
# What starts so is a disk in a wrapping, or a thing of its own: (place, magic, what it is).
_WRAPPINGS = (
    (0, b"QFI\xfb", "a qcow image"),
    (0, b"KDMV", "a VMDK"),
    (0, b"vhdxfile", "a VHDX"),
    (257, b"ustar", _TAR),
    (0, b"PK\3\4", "a zip"),
)
_MOST_RUNS = 50_000


def survey(path: Path, called: str = "") -> Report:
    """Inspect one file; see imagekit.inspect.inspect. `called` is what errors call it, the path otherwise."""
    try:
        if not path.is_file():
            raise UsageError(f"{path}: no file" if path.exists() else f"{path}: no such file")
        with path.open("rb") as file:
            return _survey(path, file, called or str(path))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read", details=error.strerror or str(error)) from error


def _survey(path: Path, file: BinaryIO, called: str) -> Report:
    disk = Window.whole(file)
    table = read_table(file)
    sites = list(_sites(disk, table))
    allocated = min(os.fstat(file.fileno()).st_blocks * 512, disk.length)
    if table.kind == "none" and not sites:
        return _kernel(path, disk, allocated, called)
    return _disk(Report(path.name, "disk", disk.length, allocated, table), file, disk, sites)


def _kernel(path: Path, disk: Window, allocated: int, called: str) -> Report:
    try:
        kernel = kernels.tell(path.name, -1, read_kernel(path))
    except KernelError as error:
        wrapped = next((what for at, magic, what in _WRAPPINGS if disk.read(at, len(magic)) == magic), "")
        if wrapped:
            hint = "inspect takes raw disks, VHDs and XVAs: qemu-img convert makes one of it"
            if wrapped == _TAR:
                hint = f'a recipe with root.from = "{path}" makes an image of a system in it'
            raise VerificationError(
                f"{called}: {wrapped}, neither a kernel nor a raw disk image", hint=hint
            ) from error
        as_kernel = error.brief.removeprefix(f"{path}: ")
        details = f"no partition table, no file system that we know; as a kernel: {as_kernel}"
        raise VerificationError(f"{called}: neither a kernel nor a raw disk image", details=details) from error
    return Report(path.name, "kernel", disk.length, allocated, kernels=(kernel,))


_Place = tuple[Window, Filesystem, Volume | None]


def _sites(disk: Window, table: Table) -> Iterator[_Place]:
    whole = Partition(0, 0, disk.length, "")
    for partition in table.partitions if table.kind != "none" else (whole,):
        window = disk.part(partition.start, partition.size)
        volume = open_volume(window)
        found = volume.describe(partition.number) if volume else named.name(window, partition.number)
        if found:
            yield window, found, volume


def _disk(report: Report, file: BinaryIO, disk: Window, places: list[_Place]) -> Report:
    sector = read_boot_sector(disk)
    scene = boot.Scene([boot.Site(found.partition, found.kind, volume) for _, found, volume in places], sector)
    menus = scene.menus
    verdicts = boot.judge_all(scene)
    claims = [*_holes(file, disk.length), *sector.segments(), *(report.table.areas if report.table else ())]
    filesystems = []
    for window, found, volume in places:
        if volume is None:
            claims.append(Segment(window.start, window.length, Kind.OTHER, f"{found.kind}, {found.place}"))
            filesystems.append(found)
            continue
        seen = walk(volume, _kernel_nodes(scene, found.partition, volume))
        claims += _claims(found, volume, seen)
        filesystems.append(replace(found, tree=seen.tree(), problems=tuple(volume.problems)))
    if report.table:
        claims += _unread(report.table, filesystems)
    return replace(
        report,
        filesystems=tuple(filesystems),
        menus=menus,
        kernels=scene.kernels,
        verdicts=verdicts,
        segments=tuple(merge(cover(disk.length, claims))),
    )


def _kernel_nodes(scene: boot.Scene, partition: int, volume: Volume) -> set[int]:
    paths = [kernel.path for kernel in scene.kernels if kernel.partition == partition]
    return {node.number for node in map(volume.find, paths) if node}


def _claims(found: Filesystem, volume: Volume, seen: Walk) -> Iterator[Segment]:
    start = volume.window.start
    place = found.place
    yield Segment(found.start, found.size, Kind.FREE, f"free ({place})")
    for at, length in volume.used():
        yield Segment(start + at, length, Kind.OTHER, f"in use ({place})")
    for segment in (*volume.fixed(), *seen.segments):
        yield replace(segment, start=start + segment.start)


def _unread(table: Table, filesystems: Iterable[Filesystem]) -> Iterator[Segment]:
    """Yield the partitions that hold nothing known; logical ones lie in no other, so order does not matter."""
    known = {found.partition for found in filesystems}
    for partition in table.partitions:
        if partition.number not in known:
            label = f"partition {partition.number}: {partition.type}, nothing known in it"
            yield Segment(partition.start, partition.size, Kind.OTHER, label)


def _holes(file: BinaryIO, length: int) -> Iterator[Segment]:
    """Yield what was never written: it takes no room on the host's disk."""
    end = 0
    for index, (start, stop) in enumerate(sparse.extents(file.fileno(), length)):
        if index > _MOST_RUNS:
            return
        yield Segment(end, start - end, Kind.HOLE, "never written")
        end = stop
    yield Segment(end, length - end, Kind.HOLE, "never written")
