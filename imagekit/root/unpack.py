"""Unpack a root tar as root, or as root of a user namespace: with owners, modes, times, devices and attributes."""

import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from imagekit.errors import BuildError
from imagekit.root.tree import Member, read_root

_NODES = {"char": stat.S_IFCHR, "block": stat.S_IFBLK, "fifo": stat.S_IFIFO}
_PIECE = 1 << 20  # bytes


def unpack(root: Path, inputs: Mapping[str, Path], folder: Path) -> list[Member]:
    """Unpack below a new folder; `inputs` are what the root tar refers to. BuildError for what cannot be made.

    Returns the device nodes that only the machine's own root can make, where we are not. Names are those of a root
    tar, in which nothing lies below a link: so nothing is written outside of the folder.
    """
    folder.mkdir(mode=0o755)
    members: list[Member] = []
    nodes: list[Member] = []
    for member, content in read_root(root):
        path = folder / member.path
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        try:
            _make(member, content, path, folder, inputs)
        except PermissionError:
            if member.kind not in {"char", "block"}:
                raise
            nodes.append(member)
            continue
        except OSError as error:
            raise BuildError(f"/{member.path} cannot be unpacked", details=str(error)) from error
        members.append(member)
    # Folders last: what is put into one changes its time, and a mode may keep us out.
    for member in sorted(members, key=lambda one: one.kind == "dir"):
        if member.kind != "hard":
            _settle(member, folder / member.path)
    return nodes


def _make(member: Member, content: IO[bytes] | None, path: Path, folder: Path, inputs: Mapping[str, Path]) -> None:
    if member.kind == "dir":
        path.mkdir(exist_ok=True)
    elif member.kind == "link":
        path.symlink_to(member.target)
    elif member.kind == "hard":
        os.link(folder / member.target, path, follow_symlinks=False)
    elif member.kind in _NODES:
        os.mknod(path, 0o600 | _NODES[member.kind], os.makedev(*member.device))
    else:
        with path.open("xb") as out:
            if content is not None:
                shutil.copyfileobj(content, out, _PIECE)
            else:
                _copy(member, out, inputs)


def _copy(member: Member, out: IO[bytes], inputs: Mapping[str, Path]) -> None:
    found = member.reference
    assert found is not None  # noqa: S101 -- else it has a content
    with inputs[found.input].joinpath(found.path).open("rb") as file:
        file.seek(found.offset or 0)
        left = member.size
        while left and (piece := file.read(min(left, _PIECE))):
            out.write(piece)
            left -= len(piece)
    if left:
        raise BuildError(f"/{member.path} changed while the image was built", hint="run the build again")


def _settle(member: Member, path: Path) -> None:
    """Set what a member has beside its bytes; the owner first, which takes setuid and capabilities away."""
    try:
        os.chown(path, member.uid, member.gid, follow_symlinks=False)
        if member.kind != "link":
            path.chmod(member.mode)
        for name, value in sorted(member.xattrs.items()):
            os.setxattr(path, name, value, follow_symlinks=False)
        os.utime(path, (member.mtime, member.mtime), follow_symlinks=False)
    except OSError as error:
        raise BuildError(f"/{member.path} cannot be made as it is", details=str(error)) from error
