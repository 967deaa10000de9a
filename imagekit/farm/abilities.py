"""What a machine can do beside the usual steps, as it finds out by itself: what steps declare as their `needs`."""

import os
from collections.abc import Callable, Mapping

from imagekit import programs
from imagekit.disk import grub_folder
from imagekit.errors import ToolError
from imagekit.root.run import check_able
from imagekit.systems import lacking


def _namespaces() -> bool:
    try:
        check_able()
    except ToolError:
        return False
    return True


def _grub() -> bool:
    try:
        grub_folder()
    except ToolError:
        return False
    return programs.find("grub-mkimage") is not None


_PROBES: Mapping[str, Callable[[], bool]] = {
    "root": lambda: os.geteuid() == 0,
    "os": lambda: not lacking(()),  # diskimage-builder, its programs, root and namespaces
    "namespaces": _namespaces,
    "grub": _grub,
    "qemu": lambda: programs.find("guestfish") is not None and programs.find("qemu-system-x86_64") is not None,
}
NAMES = tuple(_PROBES)
"""The abilities that there are."""


def abilities() -> tuple[str, ...]:
    """Return what this machine can do."""
    return tuple(name for name, probe in _PROBES.items() if probe())
