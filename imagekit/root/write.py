"""The root step: kernel, boot files and the user's own, merged into one tar."""

import io
import os
import tarfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import IO, cast

from imagekit.boot import shadowing
from imagekit.errors import RecipeError, TryAgainError
from imagekit.plan import Input, Json
from imagekit.root.sources import clean, folder_members, is_tar, opened_tar, tar_members
from imagekit.root.tree import Member, first_entry, to_tarinfo

Content = Callable[[], IO[bytes]]


@dataclass
class _Tree:
    """The members by path, how to read those whose bytes go into the tar, and what hard links named."""

    members: dict[str, Member] = field(default_factory=dict)
    contents: dict[str, Content] = field(default_factory=dict)
    named: dict[str, tuple[Member, Content | None]] = field(default_factory=dict)

    def add(self, member: Member, content: Content | None = None, *, ours: bool = False) -> None:
        """Add a member, in place of one that is there; RecipeError where one of `ours` is there already."""
        before = self.members.get(member.path)
        if before is not None and (before.kind == "dir") != (member.kind == "dir"):
            raise RecipeError(
                f"/{member.path} would be a folder and something else at once",
                details=f"first {before.kind}, then {member.kind}",
            )
        if ours and before is not None:
            raise RecipeError(
                f"the recipe's own /{member.path} is where imagekit writes a file",
                hint="leave it out of root.files, or give root.kernel another path",
            )
        if member.kind == "hard":
            self.named[member.path] = self._original(member)
        self.members[member.path] = member
        self.contents.pop(member.path, None)
        if content is not None:
            self.contents[member.path] = content

    def finish(self, epoch: int) -> None:
        """Add the folders that were only implied; refuse what lies below anything but a folder."""
        for path in list(self.members):
            below, parent = path, path.rpartition("/")[0]
            while parent and parent not in self.members:
                self.members[parent] = Member(parent, "dir", 0o755, epoch)
                below, parent = parent, parent.rpartition("/")[0]
            above = self.members.get(parent)
            if above is not None and above.kind != "dir":
                raise RecipeError(
                    f"/{below} lies below /{parent}, which is no folder",
                    details=f"/{parent} is a {above.kind}{' to ' + above.target if above.target else ''}",
                )
        self._settle_links()

    def _original(self, link: Member) -> tuple[Member, Content | None]:
        target = self.members.get(link.target)
        if target is None or target.kind == "dir" or link.target == link.path:
            raise RecipeError(
                f"/{link.path} is a hard link to /{link.target}, which is no file of this tree",
                hint="was the tar made from a part of a tree?",
            )
        return self.named[link.target] if target.kind == "hard" else (target, self.contents.get(link.target))

    def _settle_links(self) -> None:
        """Give each hard link the file that it named, which a later tree has perhaps replaced under its name."""
        heirs: dict[int, str] = {}
        for path, (original, content) in self.named.items():
            link = self.members[path]
            if link.kind != "hard":
                continue
            first = original.path if self.members[original.path] is original else heirs.get(id(original))
            if first is not None:
                self.members[path] = replace(link, target=first)
                continue
            heirs[id(original)] = path
            self.members[path] = replace(original, path=path)
            if content is not None:
                self.contents[path] = content


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
            tree.add(member, partial(io.BytesIO, data), ours=True)
        _check_shadows(tree, cast("dict[str, str]", options["files"]))
        tree.finish(epoch)
        folders = {name: source.digest for name, source in inputs.items() if source.path.is_dir()}
        _write(tree, out, folders)


def _check_shadows(tree: _Tree, ours: Mapping[str, str]) -> None:
    for path in shadowing(ours):
        if path[1:] in tree.members:
            raise RecipeError(
                f"pygrub would read the recipe's own {path} in place of imagekit's boot menu",
                hint="leave it out of root.files",
            )


def _add_tar(tree: _Tree, tar: tarfile.TarFile, source: Path, to: str, epoch: int) -> None:
    for member, info in tar_members(tar, source, to, epoch):
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
    if not path:
        raise RecipeError(f"{source}: {to!r} names no file in the image", hint='to = "/etc/app.conf", or "/etc/"')
    tree.add(Member(path, "file", mode, epoch, size=status.st_size), lambda: source.open("rb"), ours=ours)


def _write(tree: _Tree, out: Path, digests: Mapping[str, str]) -> None:
    # A hard link follows the file that it names, so links come last.
    order = sorted(tree.members.values(), key=lambda member: (member.kind == "hard", os.fsencode(member.path)))
    with tarfile.open(out, "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(first_entry(order, digests))
        for member in order:
            if member.reference is None:
                _write_member(tar, member, tree.contents.get(member.path))
                tar.members = []  # type: ignore[attr-defined]  # tarfile keeps all that it has written


def _write_member(tar: tarfile.TarFile, member: Member, content: Content | None) -> None:
    if content is None:
        tar.addfile(to_tarinfo(member))
        return
    with content() as file:
        try:
            tar.addfile(to_tarinfo(member), file)
        except tarfile.TarError as error:
            raise RecipeError(f"/{member.path} is not whole in its tar", details=str(error)) from error
        except OSError as error:
            if error.errno is not None:
                raise
            raise TryAgainError(f"/{member.path} became shorter while it was read", details=str(error)) from error
