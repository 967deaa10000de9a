"""The part of a tree that one file system takes, where /boot has a partition of its own.

On that partition lies a link, `boot -> .`: what a loader or a menu calls /boot/x is found there as it is in the
whole tree.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Literal

from imagekit.errors import RecipeError
from imagekit.root import Member, read_root

Part = Literal["whole", "boot", "root"]

_BOOT = "boot/"
_HERE = Member("boot", "link", 0o777, target=".")


def read_part(root: Path, part: Part) -> Iterator[tuple[Member, IO[bytes] | None]]:
    """Yield the members of a part, and their content, as `read_root` does; RecipeError for what ties two parts."""
    if part == "whole":
        yield from read_root(root)
        return
    for member, content in read_root(root):
        inside = member.path.startswith(_BOOT)
        if member.path == "boot" and member.kind != "dir":
            raise RecipeError(
                f"/boot is a {member.kind} in this tree, and is to be a partition", hint="no disk.boot"
            )
        if part == "boot" and member.path == "boot":
            yield replace(_HERE, mtime=member.mtime), None
        elif inside == (part == "boot"):
            yield (_moved(member) if inside else _checked(member)), content


def _moved(member: Member) -> Member:
    """Return a member of /boot with its place on the partition."""
    path, target = member.path.removeprefix(_BOOT), member.target
    if path == "boot":
        if (member.kind, target) in {("link", "."), ("link", "./")}:
            raise RecipeError(
                "the tree has a /boot/boot of its own", hint="leave it out: imagekit makes that link"
            )
        raise RecipeError(f"/boot/boot is a {member.kind} in this tree, and is to be a link to itself")
    if member.kind == "hard":
        if not target.startswith(_BOOT):
            raise _parted(member)
        target = target.removeprefix(_BOOT)
    return replace(member, path=path, target=target)


def _checked(member: Member) -> Member:
    if member.kind == "hard" and member.target.startswith(_BOOT):
        raise _parted(member)
    return member


def _parted(member: Member) -> RecipeError:
    return RecipeError(
        f"/{member.path} is a hard link to /{member.target}, and only one of them is on the boot partition",
        hint="make it a symbolic link, or leave out disk.boot",
    )
