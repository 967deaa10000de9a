"""The root step: kernel, boot files and the user's own, merged into one tar."""

import io
import os
import tarfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, cast

from imagekit.errors import RecipeError
from imagekit.plan import Input, Json
from imagekit.root.sources import clean, folder_members, is_tar, opened_tar, tar_members
from imagekit.root.tree import Member, digest_records, to_tarinfo

Content = Callable[[], IO[bytes]]


@dataclass
class _Tree:
    """The members by path, and how to read the bytes of those whose bytes go into the tar."""

    members: dict[str, Member] = field(default_factory=dict)
    contents: dict[str, Content] = field(default_factory=dict)
    ours: set[str] = field(default_factory=set)

    def add(self, member: Member, content: Content | None = None) -> None:
        before = self.members.get(member.path)
        if before is not None and (before.kind == "dir") != (member.kind == "dir"):
            raise RecipeError(
                f"/{member.path} would be a folder and something else at once",
                details=f"first {before.kind}, then {member.kind}",
            )
        if member.path in self.ours:
            raise RecipeError(
                f"the recipe's own /{member.path} would replace the one that imagekit writes",
                hint="leave it out of root.files",
            )
        self.members[member.path] = member
        self.contents.pop(member.path, None)
        if content is not None:
            self.contents[member.path] = content

    def finish(self, epoch: int) -> None:
        """Add the folders that were only implied; refuse what lies below anything but a folder."""
        for path in list(self.members):
            for parent in map(str, list(PurePosixPath(path).parents)[:-1]):
                above = self.members.setdefault(parent, Member(parent, "dir", 0o755, epoch))
                if above.kind != "dir":
                    raise RecipeError(
                        f"/{path} lies below /{parent}, which is no folder",
                        details=f"/{parent} is a {above.kind}{' to ' + above.target if above.target else ''}",
                    )
        for member in list(self.members.values()):
            if member.kind == "hard":
                self._check_link(member)

    def _check_link(self, member: Member) -> None:
        target = self.members.get(member.target)
        if target is None or target.kind in {"dir", "hard"} or member.target == member.path:
            raise RecipeError(
                f"/{member.path} is a hard link to /{member.target}, which is no file of this tree",
                hint="was the tar made from a part of a tree?",
            )


def write_root(inputs: Mapping[str, Input], out: Path, options: Mapping[str, Json]) -> None:
    """Write the root tar. A step function.

    Inputs: `kernel`, `ramdisk` and whatever `trees` names. Options: `kernel`, `ramdisk` (paths in the image),
    `files` (path -> text), `trees` (list of {input, to}; later ones replace files of earlier ones), `epoch`
    (seconds: no time is later than this).
    """
    epoch = cast("int", options["epoch"])
    tree = _Tree()
    with ExitStack() as stack:
        for number, item in enumerate(cast("list[dict[str, str]]", options["trees"])):
            source = inputs[item["input"]]
            if is_tar(source.path) and not source.path.is_dir():
                scratch = out.with_name(f"unpacked-{number}")
                tar = stack.enter_context(opened_tar(source.path, scratch))
                _add_tar(tree, tar, source.path, item["to"], epoch)
            else:
                _add_source(tree, source.path, item, epoch)
        for name in ("kernel", "ramdisk"):
            if options.get(name):
                _add_file(tree, inputs[name].path, cast("str", options[name]), epoch, ours=True)
        for path, text in cast("dict[str, str]", options["files"]).items():
            data = text.encode()
            member = Member(clean(path, "boot"), "file", 0o644, epoch, size=len(data))
            tree.add(member, partial(io.BytesIO, data))
        tree.finish(epoch)
        folders = {name: source.digest for name, source in inputs.items() if source.path.is_dir()}
        _write(tree, out, folders)


def _add_tar(tree: _Tree, tar: tarfile.TarFile, source: Path, to: str, epoch: int) -> None:
    for member, info in tar_members(tar, str(source), to, epoch):
        tree.add(member, partial(_extracted, tar, info) if info.isreg() else None)


def _extracted(tar: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    return cast("IO[bytes]", tar.extractfile(info))


def _add_source(tree: _Tree, source: Path, item: Mapping[str, str], epoch: int) -> None:
    if source.is_dir():
        for member in folder_members(source, item["input"], item["to"], epoch):
            tree.add(member)
    else:
        to = item["to"] + source.name if item["to"].endswith("/") else item["to"]
        _add_file(tree, source, to, epoch, ours=False)


def _add_file(tree: _Tree, source: Path, to: str, epoch: int, *, ours: bool) -> None:
    status = source.stat()
    mode = 0o755 if status.st_mode & 0o100 and not ours else 0o644
    path = clean(to, str(source))
    tree.add(Member(path, "file", mode, epoch, size=status.st_size), lambda: source.open("rb"))
    if ours:
        tree.ours.add(path)


def _write(tree: _Tree, out: Path, digests: Mapping[str, str]) -> None:
    with tarfile.open(out, "w", format=tarfile.PAX_FORMAT, pax_headers=digest_records(digests)) as tar:
        # A hard link follows the file that it names, so links come last.
        order = sorted(tree.members.values(), key=lambda member: (member.kind == "hard", os.fsencode(member.path)))
        for member in order:
            if member.path in tree.contents:
                with tree.contents[member.path]() as content:
                    tar.addfile(to_tarinfo(member), content)
            else:
                tar.addfile(to_tarinfo(member))
            tar.members = []  # type: ignore[attr-defined]  # tarfile keeps all that it has written
