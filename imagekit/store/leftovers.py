"""What a folder of the dead may still hold: mounts below it, and loop devices on its files. They go first.

To remove files below a mount would remove what is mounted there, which may be the machine's own /dev.
"""

import fcntl
import os
import shutil
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from imagekit import command
from imagekit.errors import ToolError

# linux/loop.h. A loop_info64 begins with the device and the inode of the file, 8 bytes each.
_GET_STATUS, _DETACH = 0x4C05, 0x4C01
_INFO = 232
_ATTACHED = "loop[0-9]*/loop"


def remove(folder: Path) -> None:
    """Remove a folder with all that it holds; it stays where a mount below it cannot be undone."""
    # Nobody but root mounts, or attaches; and who does has folders for it.
    if os.geteuid() == 0 and _has_folders(folder):
        with suppress(ToolError):
            for place in sorted(_mounts(folder), reverse=True):  # what is mounted in another one first
                command.run("umount", "--lazy", place)
        _detach(folder)
        if any(_mounts(folder)):
            return
    shutil.rmtree(folder, ignore_errors=True)


def _has_folders(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return any(entry.is_dir(follow_symlinks=False) for entry in entries)
    except OSError:
        return False


def _mounts(folder: Path) -> Iterator[str]:
    """Yield where something is mounted below a folder (proc(5), mountinfo: the fifth field, blanks in octal)."""
    below = f"{folder}/"
    for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
        place = os.fsdecode(line.split(b" ")[4].decode("unicode_escape").encode("latin-1"))
        if place.startswith(below):
            yield place


def _detach(folder: Path) -> None:
    """Detach the loop devices on a folder's files, told by device and inode: a namespace may have other paths."""
    attached = [Path("/dev", place.parent.name) for place in Path("/sys/block").glob(_ATTACHED)]
    files = set(_files(folder)) if attached else set()
    for device in attached:
        with suppress(OSError), device.open("rb") as loop:
            told = fcntl.ioctl(loop, _GET_STATUS, bytes(_INFO))
            if struct.unpack_from("QQ", told) in files:
                fcntl.ioctl(loop, _DETACH)


def _files(folder: Path) -> Iterator[tuple[int, int]]:
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                status = os.lstat(os.path.join(place, name))
                yield status.st_dev, status.st_ino
