"""What diskimage-builder needs of the machine: root, namespaces, programs. Looked at before anything starts."""

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from imagekit.command import run
from imagekit.errors import ToolError
from imagekit.programs import PACKAGES, find

_ALWAYS = ("sudo", "unshare", "losetup", "mkfs.ext4", "fstrim", "tar")
# element -> the programs of the host that its hooks call; their README files tell
_OF_ELEMENTS = {
    "debootstrap": ("debootstrap",),
    "cache-url": ("curl",),
    "debian": ("qemu-img", "kpartx"),
    "ubuntu": ("qemu-img", "kpartx"),
    "fedora": ("qemu-img", "kpartx"),
    "centos": ("qemu-img", "kpartx"),
    "rhel": ("qemu-img", "kpartx"),
    "opensuse": ("qemu-img", "kpartx"),
    "vm": ("kpartx",),
    "yum-minimal": ("yumdownloader",),
    "zypper-minimal": ("zypper",),
}


def builder() -> str | None:
    """Return the path of disk-image-create: of this Python's environment, or of PATH."""
    own = Path(sys.executable).with_name("disk-image-create")
    return str(own) if own.exists() else find("disk-image-create")


def lacking(elements: Iterable[str]) -> list[str]:
    """Return what is missing for these elements, each with what brings it; empty when a build can start."""
    return list(_lacking(elements))


def refused(missing: Iterable[str]) -> ToolError:
    """Return the error for what is missing."""
    return ToolError("diskimage-builder cannot run here", details="\n".join(missing))


def _lacking(elements: Iterable[str]) -> Iterator[str]:
    if builder() is None:
        yield "disk-image-create is not installed: pip install 'imagekit[os]'"
    programs = dict.fromkeys((*_ALWAYS, *(one for name in elements for one in _OF_ELEMENTS.get(name, ()))))
    for program in programs:
        if find(program) is None:
            yield f"{program} is not installed: sudo apt-get install {PACKAGES.get(program, program)}"
    if os.geteuid() != 0:
        yield "it needs root, for its mounts, loop devices and chroots: run imagekit as root"
    elif find("unshare") and run("unshare", "--mount", "--pid", "--fork", "true", ok=range(256)).status:
        yield "root may not make namespaces and mounts here: a container wants --privileged, or CAP_SYS_ADMIN"
