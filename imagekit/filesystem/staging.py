"""The part of a tree that mke2fs and mtools can copy from a folder, unpacked beside the disk."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from imagekit.errors import BuildError
from imagekit.filesystem.settings import Content
from imagekit.plan import Input
from imagekit.root import Member, read_root


@dataclass
class Staged:
    """A folder with what lies in the tar itself, and the members, by path.

    `inside` were unpacked, `outside` must be written from where `sources` says, or made by name.
    """

    folder: Path
    inside: list[Member] = field(default_factory=list)
    outside: list[Member] = field(default_factory=list)
    sources: dict[str, Path] = field(default_factory=dict)


def stage(tree: Content, folder: Path) -> Staged:
    """Unpack a root tar's own files, folders and links below a new folder; refer to the rest."""
    folder.mkdir()
    staged = Staged(folder)
    kinds: dict[str, str] = {}
    for member, content in read_root(tree.root):
        path = _below(folder, member.path)
        here = member.reference is None and member.kind in {"dir", "file", "link"}
        if member.kind == "hard":
            here = kinds.get(member.target) == "inside"
        kinds[member.path] = "inside" if here else "outside"
        if here:
            _unpack(member, path, folder)
            if content is not None:
                with path.open("xb") as file:
                    shutil.copyfileobj(content, file, 1 << 20)
                path.chmod(member.mode)
        elif member.reference is not None:
            staged.sources[member.path] = _source(member, tree.inputs)
        (staged.inside if here else staged.outside).append(member)
    return staged


def _unpack(member: Member, path: Path, folder: Path) -> None:
    if member.kind == "dir":
        # Its real mode is set afterwards: we must be able to write into it.
        path.mkdir(mode=0o755)
    elif member.kind == "link":
        path.symlink_to(member.target)
    elif member.kind == "hard":
        os.link(_below(folder, member.target), path, follow_symlinks=False)


def _source(member: Member, inputs: Mapping[str, Input]) -> Path:
    assert member.reference is not None  # noqa: S101 -- for the type checker
    source = inputs[member.reference.input].path / member.reference.path
    status = source.lstat()
    if status.st_size != member.size:
        raise BuildError(f"{source} changed while the image was built", hint="run the build again")
    return source


def _below(folder: Path, path: str) -> Path:
    if not path or path.startswith("/") or ".." in path.split("/"):
        raise BuildError(f"the root tar names {path!r}, outside of the tree")
    return folder / path
