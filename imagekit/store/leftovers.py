"""What a folder of the dead may still hold: mounts below it, and loop devices on its files. They go first.

To remove files below a mount would remove what is mounted there, which may be the machine's own /dev.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from imagekit import command
from imagekit.errors import ToolError

_LOOPS = "loop[0-9]*/loop/backing_file"  # there for those that are attached


def remove(folder: Path) -> None:
    """Remove a folder with all that it holds; it stays where a mount below it cannot be undone."""
    if os.geteuid() == 0:  # nobody else mounts, or attaches
        with suppress(ToolError):
            for place in sorted(_mounts(folder), reverse=True):  # what is mounted in another one first
                command.run("umount", "--lazy", place)
            for device in _loops(folder):
                command.run("losetup", "--detach", device)
    if not any(_mounts(folder)):
        shutil.rmtree(folder, ignore_errors=True)


def _mounts(folder: Path) -> Iterator[str]:
    """Yield where something is mounted below a folder (proc(5), mountinfo: the fifth field, blanks in octal)."""
    below = f"{folder}/"
    for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
        place = os.fsdecode(line.split(b" ")[4].decode("unicode_escape").encode("latin-1"))
        if place.startswith(below):
            yield place


def _loops(folder: Path) -> Iterator[str]:
    """Yield the loop devices on a folder's files, told by device and inode: a namespace may have other paths."""
    if not any(Path("/sys/block").glob(_LOOPS)):
        return
    files = {(status.st_dev, status.st_ino) for status in _files(folder)}
    told = command.run(
        "losetup", "--list", "--noheadings", "--raw", "--output", "NAME,BACK-MAJ:MIN,BACK-INO"
    ).text()
    for line in told.splitlines():
        name, device, inode = line.split()
        major, minor = map(int, device.split(":"))
        if (os.makedev(major, minor), int(inode)) in files:
            yield name


def _files(folder: Path) -> Iterator[os.stat_result]:
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                yield os.lstat(os.path.join(place, name))
