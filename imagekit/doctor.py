"""What imagekit stands on: which programs and libraries are here, what each is for, and what brings the others."""

import ctypes
import os
import platform
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from tempfile import TemporaryFile

from platformdirs import user_cache_path

from imagekit import command, programs
from imagekit.accelerator import against_kvm
from imagekit.disk import grub_folder
from imagekit.errors import ToolError
from imagekit.prove.lab import HVM, PLAIN, Variant, load
from imagekit.root.run import RANGES, has_range

_PYTHON = (3, 11)
_XEN = "xen-hypervisor-4.17-amd64"
_XLUTIL = "libxlutil.so.4.17"

# program -> what it is for; those of every build first
_PROGRAMS: Mapping[str, str] = {
    "mke2fs": "builds: makes ext2, ext3 and ext4",
    "debugfs": "builds: finishes them",
    "grub-mkimage": "builds: GRUB for the boot sector of an HVM guest's disk",
    "mkfs.fat": "builds: makes FAT",
    "mcopy": "builds: fills it",
    "e2fsck": "verify: checks ext2, ext3 and ext4",
    "fsck.fat": "verify: checks FAT",
    "pygrub": "verify: finds the kernel as Xen does",
    "sfdisk": "verify: reads partition tables",
    "sgdisk": "verify: compares the two copies of a GPT",
    "blkid": "verify: reads UUIDs and labels",
    "virt-xml-validate": "verify: libvirt's schema",
    "guestfish": "builds: makes xfs, btrfs, jfs, reiserfs and LVM; shell, verify --guestfs: mounts them",
    "qemu-system-x86_64": "prove, verify --guestfs: the machine that they run in",
    "sudo": "diskimage-builder: its hooks call it",
    "unshare": "diskimage-builder: namespaces of its own",
    "debootstrap": "diskimage-builder: trees of Debian and Ubuntu",
    "newuidmap": "root.run: user ids of its own, where you are not root",
    "apt-get": "prove --prepare: fetches Xen and dom0",
    "dpkg-deb": "prove --prepare: unpacks them",
}
_NEEDED = {"mke2fs", "debugfs"}
_EXTRAS: Mapping[str, str] = {
    "": "every command",
    "disk": "builds: partition tables",
    "xcp": "publish: Xen hosts over SSH; XVAs of 2022 and later",
    "provenance": "builds and verify: SBOMs, signatures",
    "os": "builds: operating systems from elements, as root",
    "openstack": "publish: OpenStack on Xen, Rackspace",
    "farm": "builds: on more than one machine, by Dask",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that imagekit stands on.

    `version` is "" for what is missing; `remedy` is the command that brings it, or why it does not work; `needed`
    tells that no build goes without it.
    """

    name: str
    version: str
    purpose: str
    remedy: str
    needed: bool
    ok: bool


def examine(cache: Path | None = None) -> list[Finding]:
    """Look at everything once; takes some seconds. `cache` is the folder of the cache, by default the user's."""
    return [
        _python(),
        *_libraries(),
        *map(_program, _PROGRAMS),
        _xlutil(),
        _grub(),
        _ids(),
        _kvm(),
        _lab(cache or user_cache_path("imagekit"), PLAIN, "prove: a Xen and a dom0"),
        _lab(cache or user_cache_path("imagekit"), HVM, "prove: the same with a device model, for HVM guests"),
        _cache(cache or user_cache_path("imagekit")),
    ]


def _python() -> Finding:
    ok = sys.version_info >= _PYTHON
    seen = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return Finding("Python", seen, "imagekit itself", "Python 3.11 or later, on Linux", needed=True, ok=ok)


def _libraries() -> Iterator[Finding]:
    """Yield what the package's own metadata asks for, extras included."""
    try:
        wanted = requires("imagekit") or []
    except PackageNotFoundError:
        wanted = []
    for line in wanted:
        name = re.split(r"[^\w.-]", line, maxsplit=1)[0]
        extra = match[1] if (match := re.search(r"extra == ['\"]([\w-]+)['\"]", line)) else ""
        try:
            seen = version(name)
        except PackageNotFoundError:
            seen = ""
        remedy = f"pip install 'imagekit[{extra}]'" if extra else f"pip install {name}"
        purpose = _EXTRAS.get(extra, f"the extra {extra!r}")
        yield Finding(name, seen, purpose, remedy, needed=not extra, ok=bool(seen))


def _program(name: str) -> Finding:
    path = programs.find(name)
    remedy = f"sudo apt-get install {programs.PACKAGES.get(name, name)}"
    seen = "" if path is None else _version(name, path)
    return Finding(name, seen, _PROGRAMS[name], remedy, needed=name in _NEEDED, ok=path is not None)


def _version(name: str, path: str) -> str:
    if xen := re.search(r"/xen-([\d.]+)/", os.path.realpath(path)):
        return xen[1]  # pygrub does not tell
    try:
        told = re.search(r"\d+(\.\d+)+", command.version(name))
    except ToolError:
        told = None
    return told[0] if told else "unknown"


def _xlutil() -> Finding:
    try:
        ctypes.CDLL(_XLUTIL)
        seen = _XLUTIL.partition(".so.")[2]
    except OSError:
        seen = ""
    remedy = "sudo apt-get install libxenmisc4.17"
    return Finding("libxlutil", seen, "verify: reads xl.cfg as Xen does", remedy, needed=False, ok=bool(seen))


def _grub() -> Finding:
    try:
        grub_folder()
        seen, remedy = "installed", ""
    except ToolError as error:
        seen, remedy = "", error.hint
    purpose = "builds: what the boot sector of an HVM guest's disk is made of"
    return Finding("GRUB for a BIOS", seen, purpose, remedy, needed=False, ok=bool(seen))


def _ids() -> Finding:
    missing = [file for file in RANGES if not has_range(file)]
    ok = not os.geteuid() or not missing
    seen = "root needs none" if not os.geteuid() else "" if missing else "a range"
    remedy = "sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER"
    purpose = "root.run: lines in /etc/subuid and /etc/subgid, where you are not root"
    return Finding("user ids", seen, purpose, remedy, needed=False, ok=ok)


def _kvm() -> Finding:
    why_not = against_kvm()
    purpose = "prove, verify --guestfs: full speed; QEMU emulates (TCG) without it"
    return Finding("KVM", "not used" if why_not else "works", purpose, why_not, needed=False, ok=not why_not)


def _lab(cache: Path, variant: Variant, purpose: str) -> Finding:
    lab = load(cache / variant.name / "dom0", variant)
    seen = f"Xen {lab.versions.get(_XEN, '?')}" if lab else ""
    return Finding(variant.name, seen, purpose, variant.preparing, needed=False, ok=lab is not None)


def _cache(folder: Path) -> Finding:
    try:
        there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    except OSError:  # below a folder that we may not look into
        there = folder
    try:
        TemporaryFile(dir=there).close()  # root may write everywhere, says access(2), and is wrong
        ok = True
    except OSError:
        ok = False
    purpose = f"builds: keeps results in {folder}"
    remedy = f"make {there} writable, or name another place in IMAGEKIT_CACHE_DIR"
    return Finding("cache", "writable" if ok else "", purpose, remedy, needed=True, ok=ok)
