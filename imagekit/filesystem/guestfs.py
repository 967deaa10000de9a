"""What Linux makes, LVM included, in libguestfs' appliance: formatted, filled and checked in one launch.

What guestfish has no command for (a UUID at formatting, the clock) goes through its `debug sh`, a shell in the
appliance. Its clock is set to the epoch: the times which Linux keeps for itself are within a minute of that. They,
and UUIDs of LVM's and btrfs' own, differ from run to run.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from imagekit.appliance import fish
from imagekit.command import Completed
from imagekit.errors import BuildError, ImagekitError, RecipeError, ToolError
from imagekit.filesystem.ext import FEATURES
from imagekit.filesystem.parts import Part
from imagekit.filesystem.settings import Lvm, Settings
from imagekit.filesystem.stream import write_stream
from imagekit.plan import Input

_PACKAGES: Mapping[str, str] = {
    "xfs": "libguestfs-xfs",
    "jfs": "libguestfs-jfs",
    "reiserfs": "libguestfs-reiserfs",
    "btrfs": "btrfs-progs",
}
# What checks it, and changes nothing.
CHECKS: Mapping[str, str] = {
    "ext": "e2fsck -fn",
    "xfs": "xfs_repair -n",
    "btrfs": "btrfs check --readonly",
    "jfs": "fsck.jfs -n",
    "reiserfs": "reiserfsck --check --yes",
}
_ABLE = "able"
_MADE = "made"


@dataclass(frozen=True, slots=True)
class Goods:
    """What goes into the file system: a part of a root tar, the folders that it refers to, and what it needs.

    `xattrs` is the number of its extended attributes, by all names; `inodes` how many an ext file system gets.
    """

    root: Path
    inputs: Mapping[str, Input]
    part: Part
    xattrs: int
    inodes: int


def make(disk: Path, number: int, lvm: Lvm | None, settings: Settings, goods: Goods) -> None:
    """Make and fill a file system on partition `number` (0: the whole disk) of a disk, whose table is written.

    ToolError for an appliance that does not start, or lacks what makes this type; BuildError when the tree does
    not fit, or loses what this type cannot hold.
    """
    device = f"/dev/sda{number or ''}"
    volume = lvm.device if lvm else device
    done = fish(
        disk,
        [
            _shell(_asked(settings.type, lvm=lvm is not None)),
            ("echo", _ABLE),
            _shell(f"date -u -s @{settings.epoch}"),
            *_volumes(device, lvm),
            _shell(_format(settings, goods.inodes, volume)),
            ("mount-options", mount_options(settings.type) or "rw", volume, "/"),
            ("tar-in", "-", "/", "xattrs:true"),
            _shell(_counted(goods.xattrs)),
            ("umount-all",),
            _shell(checking(CHECKS["ext" if settings.type.startswith("ext") else settings.type], volume)),
            *([("vg-activate-all", "false")] if lvm else []),
            ("echo", _MADE),
        ],
        folder=disk.parent,
        write=True,
        feed=partial(write_stream, goods.root, goods.inputs, goods.part, settings.epoch),
    )
    if done.status or not done.stdout.endswith(f"{_MADE}\n".encode()):
        raise _explained(done, settings.type)


def _shell(script: str) -> tuple[str, ...]:
    # guestfish splits it into words and guestfsd joins them again, for /bin/sh: no quotes and no braces in it.
    return "debug", "sh", script


def _asked(kind: str, *, lvm: bool) -> str:
    wanted = [f"mkfs.{kind}", *(["lvm"] if lvm else [])]
    have = " && ".join(f"command -v {program}" for program in wanted)
    return f"{have} && ( grep -qw {kind} /proc/filesystems || modprobe {kind} )"


def _volumes(device: str, lvm: Lvm | None) -> list[tuple[str, ...]]:
    if lvm is None:
        return []
    return [
        ("pvcreate", device),
        ("vgcreate", lvm.group, device),
        ("lvcreate-free", lvm.volume, lvm.group, "100"),
    ]


def _format(settings: Settings, inodes: int, volume: str) -> str:
    label, uuid, block = settings.label, settings.uuid, settings.block_size
    named = f"-L {label}" if label else ""
    if settings.type == "xfs":
        size = f"-b size={block}" if block else ""
        return f"mkfs.xfs -q -f -m uuid={uuid} {size} {named} {volume}"
    if settings.type == "btrfs":
        return f"mkfs.btrfs -q -f -U {uuid} {named} {volume}"
    if settings.type == "jfs":
        return f"mkfs.jfs -q {named} {volume} && jfs_tune -U {uuid} {volume}"
    if settings.type == "reiserfs":
        return f"mkfs.reiserfs -q -ff -u {uuid} {'-l ' + label if label else ''} {volume}"
    features, blocks = FEATURES[settings.type], f"-b {block}" if block else ""
    own = f"-t {settings.type} -O {features} -I 256 -N {inodes} -m 0 -U {uuid} -E hash_seed={uuid} {blocks}"
    return f"E2FSPROGS_FAKE_TIME={settings.epoch} mke2fs -q -F -F {own} {named} {volume}"


def mount_options(kind: str) -> str:
    """Return the options with which Linux shows all that a file system of this type holds."""
    return "user_xattr,acl" if kind == "reiserfs" else ""


def _counted(xattrs: int) -> str:
    """Return a script that fails unless so many extended attributes are there: tar only warns of lost ones."""
    if not xattrs:
        return "true"
    count = "n=$(getfattr -Rhm - /sysroot 2>/dev/null | grep -cv -e ^# -e ^$)"
    return f"{count} ; test $n -ge {xattrs} || ( echo lost $n >&2 ; false )"


def checking(check: str, volume: str) -> str:
    """Return a script for the appliance's shell that says nothing unless the check fails; then why, on stderr."""
    return f"{check} {volume} </dev/null >/tmp/check 2>&1 || ( tail -n 5 /tmp/check >&2 ; false )"


def _explained(done: Completed, kind: str) -> ImagekitError:
    said = done.complaint()
    if _ABLE not in done.text().splitlines():
        package = _PACKAGES.get(kind, "lvm2")
        return ToolError(
            f"libguestfs' machine cannot make {kind} as it is",
            details=said,
            hint=f"sudo apt-get install {package}: it puts that in",
        )
    if "No space left on device" in said:
        return BuildError(
            f"the tree does not fit into the {kind} file system",
            details=said,
            hint='leave disk.size at "auto", or give it more',
        )
    if "lost" in said:
        return BuildError(
            f"{kind} did not keep all extended attributes of the tree", details=said, hint="take another type"
        )
    if "vgcreate" in said or "lvcreate" in said:
        return RecipeError("LVM did not take the names, or the room", details=said, hint="[disk.lvm] names them")
    return BuildError(f"Linux could not make the {kind} file system", details=said)
