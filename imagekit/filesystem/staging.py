"""The part of a tree that mke2fs and mtools can copy from a folder, unpacked beside the disk."""

import os
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Self

from imagekit.errors import BuildError
from imagekit.filesystem.parts import Part, read_part
from imagekit.plan import Input
from imagekit.root import Member, Reference

_PIECE = 1 << 20  # bytes
_COPIERS = 2  # one reads while the other writes; more only wait for the disk
_ROUND = 256  # files


@dataclass
class Staged:
    """A tree, ready to be put into a file system.

    `inside` are the members that were unpacked into `folder`, where all belongs to `owner`, (uid, gid), or that
    every file system has; `outside` those that must be written from where `sources` says, or made by name.
    """

    folder: Path
    owner: tuple[int, int] = (-1, -1)
    inside: list[Member] = field(default_factory=list)
    outside: list[Member] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)

    def members(self) -> Iterator[Member]:
        """Yield all members."""
        yield from self.inside
        yield from self.outside


def stage(root: Path, inputs: Mapping[str, Input], folder: Path, part: Part = "whole") -> Staged:
    """Unpack a root tar's files and links below a new folder, with the folders they need; refer to the rest.

    `inputs` are the folders and tars that it refers to; what lies in tars is unpacked, too. BuildError when one of
    their files is of another size now.
    """
    folder.mkdir()
    status = folder.stat()
    staged = Staged(folder, (status.st_uid, status.st_gid))
    unpacked: set[str] = set()
    folders: list[Member] = []
    with _Tars(inputs) as tars:
        for member, content in read_part(root, part):
            found = member.reference
            if member.kind == "dir":
                folders.append(member)
                continue
            if found is not None and found.offset is None:
                staged.sources[member.path] = source_of(member, found, inputs)
            elif found is not None or member.kind in {"file", "link"} or member.target in unpacked:
                if found is not None:
                    tars.copy(member, found, _below(folder, member.path))
                else:
                    tars.wait()  # for what a hard link names
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


class _Tars:
    """The tars that a root tar refers to, each opened once; reading and writing go on at the same time."""

    def __init__(self, inputs: Mapping[str, Input]) -> None:
        self._inputs, self._stack = inputs, ExitStack()
        self._open: dict[str, int] = {}
        self._folders: set[Path] = set()
        self._copies: list[tuple[int, int, Member, Path]] = []
        self._pool = self._stack.enter_context(ThreadPoolExecutor(_COPIERS))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_rest: object) -> None:
        with self._stack:
            if kind is None:
                self.wait()

    def copy(self, member: Member, place: Reference, path: Path) -> None:
        """Copy a file's bytes out of its tar to a new file, and make the folders above; `wait` sees it done."""
        tar = self._open.get(place.input)
        if tar is None:
            file = self._stack.enter_context(self._inputs[place.input].path.open("rb"))
            tar = self._open[place.input] = file.fileno()
        if path.parent not in self._folders:
            _make_folders(path.parent)
            self._folders.add(path.parent)
        self._copies.append((tar, place.offset or 0, member, path))
        if len(self._copies) == _ROUND:
            self.wait()

    def wait(self) -> None:
        """Make the copies that were asked for; BuildError when a tar is shorter now."""
        some, self._copies = self._copies, []
        for _ in self._pool.map(_copy, some):
            pass


def _copy(what: tuple[int, int, Member, Path]) -> None:
    tar, start, member, path = what
    size = member.size
    with open(path, "xb", buffering=0, opener=_private) as file:
        for at in range(start, start + size, _PIECE):
            length = min(_PIECE, start + size - at)
            if file.write(os.pread(tar, length, at)) != length:
                raise BuildError("a tar changed while the image was built", hint="run the build again")
        _dress(file.fileno(), member)


def carries_mode(member: Member) -> bool:
    """Tell whether a staged file is given its own mode and time: the tools must be able to read it.

    setuid and setgid are not everybody's to give.
    """
    return member.kind == "file" and bool(member.mode & 0o400) and not member.mode & 0o7000


def _dress(descriptor: int, member: Member) -> None:
    if carries_mode(member):
        os.fchmod(descriptor, member.mode)
    os.utime(descriptor, (member.mtime, member.mtime))


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)  # its real mode is set afterwards: the tools must be able to read it


def _unpack(member: Member, content: IO[bytes] | None, folder: Path) -> None:
    path = _below(folder, member.path)
    _make_folders(path.parent)
    if member.kind == "link":
        path.symlink_to(member.target)
    elif member.kind == "hard":
        os.link(_below(folder, member.target), path, follow_symlinks=False)
    elif content is not None:
        with path.open("xb") as file:
            path.chmod(0o600)
            shutil.copyfileobj(content, file, 1 << 20)
            file.flush()
            _dress(file.fileno(), member)


def _make_folders(path: Path) -> None:
    """Make a folder and those above. Their real modes are set afterwards: we must be able to write into them."""
    if not path.is_dir():
        _make_folders(path.parent)
        path.mkdir()
        path.chmod(0o700)


def source_of(member: Member, reference: Reference, inputs: Mapping[str, Input]) -> str:
    """Return the path of a file that a root tar refers to; BuildError when it is of another size now."""
    source = os.path.join(os.path.abspath(inputs[reference.input].path), reference.path)
    if os.lstat(source).st_size != member.size:
        raise BuildError(f"{source} changed while the image was built", hint="run the build again")
    return source


def _below(folder: Path, path: str) -> Path:
    if not path or path.startswith("/") or ".." in path.split("/"):
        raise BuildError(f"the root tar names {path!r}, outside of the tree")
    return folder / path
