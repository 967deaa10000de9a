"""The part of a tree that mke2fs and mtools can copy from a folder, unpacked beside the disk."""

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from imagekit.errors import BuildError
from imagekit.filesystem.parts import Part, read_part
from imagekit.plan import Input
from imagekit.root import Member, Reference


@dataclass
class Staged:
    """A tree, ready to be put into a file system.

    `inside` are the members that were unpacked into `folder`, or that every file system has; `outside` those that
    must be written from where `sources` says, by path, or made by name.
    """

    folder: Path
    inside: list[Member] = field(default_factory=list)
    outside: list[Member] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)

    def members(self) -> Iterator[Member]:
        """Yield all members."""
        yield from self.inside
        yield from self.outside


def stage(root: Path, inputs: Mapping[str, Input], folder: Path, part: Part = "whole") -> Staged:
    """Unpack a root tar's own files and links below a new folder, in folders as needed; refer to the rest.

    `inputs` are the folders that the tar refers to. BuildError when one of their files is of another size now.
    """
    folder.mkdir()
    staged = Staged(folder)
    unpacked: set[str] = set()
    folders: list[Member] = []
    for member, content in read_part(root, part):
        if member.kind == "dir":
            folders.append(member)
            continue
        if member.reference is not None:
            staged.sources[member.path] = source_of(member, member.reference, inputs)
        elif member.kind in {"file", "link"} or member.target in unpacked:
            _unpack(member, content, folder)
            if member.kind == "file":  # mke2fs makes two of a symbolic link with two names
                unpacked.add(member.path)
            staged.inside.append(member)
            continue
        staged.outside.append(member)
    for member in folders:  # those that nothing was unpacked into are made by name: a call of the system less
        made = _below(folder, member.path).is_dir() or member.path == "lost+found"
        (staged.inside if made else staged.outside).append(member)
    return staged


def _unpack(member: Member, content: IO[bytes] | None, folder: Path) -> None:
    path = _below(folder, member.path)
    _make_folders(path.parent)
    if member.kind == "link":
        path.symlink_to(member.target)
    elif member.kind == "hard":
        os.link(_below(folder, member.target), path, follow_symlinks=False)
    elif content is not None:
        with path.open("xb") as file:
            shutil.copyfileobj(content, file, 1 << 20)
        # Its real mode, too, is set afterwards: the tools must be able to read it.
        path.chmod(0o600)


def _make_folders(path: Path) -> None:
    """Make a folder and those above. Their real modes are set afterwards: we must be able to write into them."""
    if not path.is_dir():
        _make_folders(path.parent)
        path.mkdir()
        path.chmod(0o700)


def source_of(member: Member, reference: Reference, inputs: Mapping[str, Input]) -> str:
    """Return the path of a file that a root tar refers to; BuildError when it is of another size now."""
    source = os.path.join(inputs[reference.input].path.absolute(), reference.path)
    if os.lstat(source).st_size != member.size:
        raise BuildError(f"{source} changed while the image was built", hint="run the build again")
    return source


def _below(folder: Path, path: str) -> Path:
    if not path or path.startswith("/") or ".." in path.split("/"):
        raise BuildError(f"the root tar names {path!r}, outside of the tree")
    return folder / path
